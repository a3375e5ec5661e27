"""Every config file builds, for every argument it takes."""

import importlib.util
import inspect
from pathlib import Path

import pytest

from plmjax import experiment
from plmjax.families import FAMILIES
from plmjax.models import bert

CONFIGS = Path(__file__).parents[1] / "configs"
ARGUMENTS = {
    "bert.py": [*bert.PRESETS, "base,seq_len=512", "seq_len=64"],
    # XLNet has no masking yet; a WordPiece has no sentinels for T5's.
    "family.py": [
        *(family for family in FAMILIES if family not in ("xlnet", "t5")),
        "t5,masking=denoising,plan=doc_sentences",
        "gpt,size=gpt2-medium,seq_len=1024",
        "roberta,masking=whole_word",
    ],
    "imported.py": [],  # a workdir's: tests/huggingface/test_import.py
}
"""For each file that takes an argument, those to try."""

NEEDS_ARGUMENT = {"imported.py"}


def get_config(name: str):
    spec = importlib.util.spec_from_file_location("config", CONFIGS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def cases() -> list[tuple[str, str | None]]:
    files = sorted(path.name for path in CONFIGS.glob("*.py"))
    return [(name, None) for name in files if name not in NEEDS_ARGUMENT] + [
        (name, argument) for name, arguments in ARGUMENTS.items() for argument in arguments
    ]


def test_every_file_that_takes_an_argument_has_its_arguments_above():
    files = {path.name for path in CONFIGS.glob("*.py")}
    taking = {name for name in files if inspect.signature(get_config(name)).parameters}
    assert taking == set(ARGUMENTS)


@pytest.mark.parametrize("name, argument", cases())
def test_a_config_builds(name, argument):
    config = get_config(name)(*([] if argument is None else [argument]))
    settings = experiment.read_settings(config)
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
