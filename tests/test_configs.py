"""Every config file builds, for every argument it takes, and at published scale on its mesh."""

import dataclasses
import importlib.util
import inspect
import math
import re
from pathlib import Path

import pytest

from launch.published_plans import PLANS
from plmjax import experiment
from plmjax.errors import UserError
from plmjax.experiment import model_config
from plmjax.families import FAMILIES
from plmjax.models import albert, bart, bert, gpt, nezha, t5, xlnet
from plmjax.parallel.mesh import AXES, MeshConfig
from plmjax.phases import tokens_seen
from plmjax.train.optimizers import NORMS_AND_BIASES

CONFIGS = Path(__file__).parents[1] / "configs"
ARGUMENTS = {
    "albert.py": [*albert.PRESETS, "demo"],
    "bart.py": [*bart.PRESETS],
    "bert_lamb.py": ["large", "large,phase=2", "base,phase=1"],
    "bert_wwm.py": [
        *("bert-wwm", "bert-wwm-ext", "roberta-wwm-ext", "roberta-wwm-ext-large", "demo"),
        "demo,masking=ngram",
    ],
    "compare.py": ["tokens", "tokens,test=spans", "electra,tuned=next"],
    "ernie.py": ["base", "base,dialogues=true", "demo"],
    "ernie2.py": ["base-en", "large-en", "base-zh", "base-zh,relevance=true", "demo"],
    "electra.py": ["small", "base", "large", "demo"],
    "gpt_demo.py": ["english", "chinese"],
    "gpt.py": [*gpt.PRESETS, "megatron-8b", "cpm-2.6b", "gpt2-small,seq_len=512"],
    "macbert.py": ["base", "large", "large,masking=ngram", "demo", "demo,masking=whole_word"],
    "modernbert.py": [
        *("base", "base,stage=extension", "base,stage=decay", "large", "large,stage=extension"),
        *("demo", "demo,stage=extension", "demo,stage=decay"),
    ],
    "nezha.py": [
        *(*nezha.PRESETS, "large-zh,masking=whole_word", "large-zh-span", "demo", "demo-span")
    ],
    "pmlm.py": ["base-r", "base-a", "base-r,max_rate=0.5", "demo", "demo-a"],
    "roberta.py": ["base", "large", "demo"],
    "spanbert.py": ["base", "large", "demo"],
    "t5.py": [*t5.PRESETS],
    "xlm.py": [
        *("mlm-en", "mlm-15", "mlm-tlm-15", "mlm-17", "mlm-100", "clm-en-fr", "mlm-en-fr"),
        *("demo", "demo-clm"),
    ],
    "xlmr.py": ["base", "large", "demo"],
    "xlnet.py": [*xlnet.PRESETS, "demo"],
    "yuefu.py": [
        *("base", "base,stage=poems", "base,stage=acrostics", "base,stage=poems,seq_len=64"),
        *("demo", "demo,stage=acrostics"),
    ],
    "bert.py": [*bert.PRESETS, "base,seq_len=512", "seq_len=64"],
    # A WordPiece has no sentinels for T5's masking.
    "family.py": [
        *(family for family in FAMILIES if family != "t5"),
        "t5,masking=denoising,plan=doc_sentences",
        "gpt,size=gpt2-medium,seq_len=1024",
        "roberta,masking=whole_word",
    ],
    "continued.py": [],  # a workdir's: tests/huggingface/test_import.py
}
"""For each file that takes an argument, those to try."""

NEEDS_ARGUMENT = {"continued.py"}


def get_config(name: str):
    spec = importlib.util.spec_from_file_location("config", CONFIGS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def demos() -> list[str]:
    """Every demo there is: `quickstart.py`, `albert.py:demo`, `gpt_demo.py:english`, ..."""
    return ["quickstart.py"] + [
        f"{name}:{argument}"
        for name, arguments in ARGUMENTS.items()
        for argument in arguments
        if name == "gpt_demo.py" or (argument.startswith("demo") and "masking=" not in argument)
    ]


def test_a_few_steps_of_every_demo_are_run():
    """In tests/run; most of them by test_demos.py."""
    files = [path.read_text() for path in (CONFIGS.parent / "tests" / "run").glob("test_*.py")]
    missing = [demo for demo in demos() if not any(f'{demo}"' in text for text in files)]
    assert not missing, "add them to DEMOS in tests/run/test_demos.py, or run them elsewhere there"


def test_every_file_that_has_a_demo_has_it_above():
    for path in sorted(CONFIGS.glob("*.py")):
        try:
            config = get_config(path.name)("demo")
        except (TypeError, UserError):
            continue  # it takes no argument, or no such
        assert config.train.steps < 50_000
        assert "demo" in ARGUMENTS[path.name], path.name


def cases() -> list:
    """Every file as it is; with its arguments among the slow tests."""
    files = sorted(path.name for path in CONFIGS.glob("*.py"))
    first = [pytest.param(name, None) for name in files if name not in NEEDS_ARGUMENT]
    others = [
        pytest.param(name, argument, marks=pytest.mark.slow)
        for name, arguments in ARGUMENTS.items()
        for argument in arguments
    ]
    return first + others


def test_every_file_that_takes_an_argument_has_its_arguments_above():
    files = {path.name for path in CONFIGS.glob("*.py")}
    taking = {name for name in files if inspect.signature(get_config(name)).parameters}
    assert taking == set(ARGUMENTS)


@pytest.mark.parametrize("name, argument", cases())
def test_a_config_builds(name, argument):
    config = get_config(name)(*([] if argument is None else [argument]))
    settings = experiment.read_settings(config)
    # One device is enough to build; which mesh a slice has is a test of its own.
    settings = dataclasses.replace(settings, mesh=MeshConfig())
    given = {"model": {"dtype": "float32"}}  # not measured anew for each
    plan = experiment.build(experiment.resolved(settings, None, given))
    assert plan.parameter_count() > 0
    ends = [phase.last for phase in plan.phases]
    assert [phase.first for phase in plan.phases] == [0, *ends[:-1]]
    assert ends[-1] == settings.train.steps
    assert plan.abstract_state.step.shape == ()


@pytest.mark.parametrize("preset", bert.PRESETS)
def test_the_sizes_are_those_of_the_preset(preset):
    model = get_config("bert.py")(preset).model
    assert model.num_layers == bert.PRESETS[preset].num_layers
    assert model.hidden_size == bert.PRESETS[preset].hidden_size


PARAMETERS = {
    "bert_lamb.py:large": 336_226_108,
    "roberta.py:large": 355_412_057,
    "modernbert.py:base": 149_655_232,
    "modernbert.py:large": 395_881_664,
    "albert.py:xxlarge": 223_158_450,
    "bart.py:large": 406_291_456,
    "xlm.py:mlm-tlm-15": 249_071_384,
    "xlmr.py:large": 560_142_482,
    "xlnet.py:large": 360_300_800,
    "ernie.py:base": 100_477_778,
    "t5.py:11b": 11_307_321_344 - 28 * 1024,  # its table is published with 28 rows of padding
    "gpt.py:gpt2-xl": 1_557_611_200,
    "gpt.py:cpm-large": 2_597_073_920,
}
"""Parameters of the published models, head included (computed from transformers' configs)."""


@pytest.mark.slow
@pytest.mark.parametrize("given", PARAMETERS)
def test_the_published_models_are_of_the_published_size(given):
    name, _, argument = given.partition(":")
    settings = experiment.read_settings(get_config(name)(argument))
    settings = dataclasses.replace(settings, mesh=MeshConfig())
    plan = experiment.build(experiment.drafted(settings, None))
    assert plan.parameter_count() == PARAMETERS[given]


def test_batches_and_steps_are_the_published_ones():
    """By tokens, as the papers count them."""
    for size, millions in {"125m": 0.5, "1.3b": 1, "13b": 2, "175b": 3.2}.items():
        config = get_config("gpt.py")(f"gpt3-{size}")
        tokens = config.data.batch_size * config.data.seq_len
        assert tokens == pytest.approx(millions * 1e6, rel=0.05)
        # Its batch grows from 32k tokens over the first 4 to 12 billion.
        phases = experiment.planned_phases(experiment.read_settings(config))
        steps, seen = tokens_seen(phases)
        assert seen[-1] - tokens < 300e9 <= seen[-1]
        assert seen[1] / steps[1] == 32 * 1024
        grown = next(phase for phase in phases if phase.growing is None)
        assert 4e9 <= grown.first_example * config.data.seq_len <= 12.01e9
        assert len(phases) <= 6
    first, second = (get_config("bert_lamb.py")(f"large,phase={phase}") for phase in (1, 2))
    assert first.data.batch_size == 2 * second.data.batch_size == 65_536
    assert abs(first.train.steps + second.train.steps - 8599) <= 2


def test_ernies_norms_and_biases_do_not_decay():
    """PaddlePaddle/ERNIE optimization.py, which has BERT's decay of the rate, too."""
    for name, size in (("ernie.py", "base"), ("ernie2.py", "base-en"), ("ernie2.py", "base-zh")):
        assert get_config(name)(size).optimizer.exclude_from_decay == NORMS_AND_BIASES
    assert get_config("ernie.py")("base").optimizer.schedule == "bert"


@pytest.mark.parametrize(("given", "topology"), PLANS)
def test_a_published_scale_fits_the_mesh_of_its_slice(given, topology):
    name, _, argument = given.removeprefix("configs/").partition(":")
    settings = experiment.read_settings(get_config(name)(argument))
    model = model_config(experiment.drafted(settings, None))
    assert f"TPU {topology}" in (CONFIGS / name).read_text(), "the docstring names the slice"
    chips = math.prod(int(size) for size in re.findall(r"\d+", topology.partition(":")[2]))
    sizes = {axis: getattr(settings.mesh, axis) for axis in AXES}
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    if open_axes:
        sizes[open_axes[0]] = chips // -math.prod(sizes.values())
    assert math.prod(sizes.values()) == chips
    rows = math.prod(sizes[axis] for axis in ("slice", "data", "fsdp"))
    for phase in experiment.planned_phases(settings):
        assert phase.data.batch_size % (rows * settings.train.accumulate) == 0
    assert model.num_heads % sizes["tensor"] == 0
    assert model.mlp_size % sizes["tensor"] == 0


def test_every_published_scale_is_planned():
    """Each size of GPT-3, and the largest of all other files."""
    planned = {given.removeprefix("configs/") for given, _ in PLANS}
    assert {f"gpt.py:{size}" for size in gpt.PRESETS if size.startswith("gpt3")} < planned
    others = {"bert.py", "compare.py", "family.py", "gpt_demo.py", "continued.py", "quickstart.py"}
    assert {name.partition(":")[0] for name in planned} == set(ARGUMENTS) - others | {"gpt.py"}
