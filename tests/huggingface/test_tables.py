"""Every family's table and settings, through real files, to bits."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from plmjax import experiment
from plmjax.errors import UserError
from plmjax.huggingface import (
    bart,
    gpt,
    mobilebert,
    modernbert,
    safetensors,
    streaming,
    t5,
    xlm,
    xlnet,
)
from plmjax.huggingface import bert as encoders
from plmjax.huggingface.families import FAMILIES, NO_PLACE, family_of
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.huggingface.weights import Weights, check_besides, in_family, open_weights
from plmjax.nn.efficient.kinds import Full, Longformer
from tests.compare import leaves
from tests.huggingface import small
from tests.requires import need

transformers = small.transformers
PRESETS = {name: experiment.FAMILIES[name].presets for name in FAMILIES}
NOT_THERE = {
    "gpt3": "attention.reach=255 has no place in Hugging Face's gpt2, which has 0",
    "pangu": "query_layer='before_norm' has no place in Hugging Face's gpt2, which has ''",
    "ib": "attention_inputs=residual has no place",
}
"""Published models that Hugging Face's classes cannot be, by how their names begin."""

SIZES = [
    (family, size, NOT_THERE.get(size.partition("-")[0]))
    for family, sizes in PRESETS.items()
    for size in sizes
]
WITH_DEFAULTS = (xlm, mobilebert, modernbert, xlnet, t5, bart)
CASES = [case for case in small.CONFIGS if case != "nezha"]  # which transformers 5 has not
CLASSES = [(case, key) for case in CASES for key in small.family_of_case(case).classes]


@pytest.mark.parametrize(
    ("family", "preset"), [(family, size) for family, size, says in SIZES if not says]
)
def test_published_sizes_go_there_and_back(family, preset):
    config = PRESETS[family][preset]
    theirs, _ = family_of(family, config)
    back = theirs.from_settings(theirs.to_settings(config))
    free = {field.name for field in dataclasses.fields(config)}
    free &= {*NO_PLACE, *theirs.lost, "pooler"}
    assert dataclasses.replace(back, **{name: getattr(config, name) for name in free}) == config


@pytest.mark.parametrize(
    ("family", "preset", "says"), [(family, size, says) for family, size, says in SIZES if says]
)
def test_published_sizes_that_have_no_place_there_are_refused(family, preset, says):
    with pytest.raises(UserError, match=says):
        family_of(family, PRESETS[family][preset])


@pytest.mark.parametrize("model_type", [kind for kind in encoders.KINDS if kind != "nezha"])
def test_encoders_defaults_are_those_of_transformers(model_type):
    theirs = transformers.AutoConfig.for_model(model_type).to_dict()
    defaults = encoders.KINDS[model_type].defaults
    assert {key: theirs[key] for key in defaults} == dict(defaults)


@pytest.mark.parametrize(
    ("model_type", "defaults"),
    [
        ("gpt2", gpt._GPT2_DEFAULTS),
        ("openai-gpt", gpt._GPT1_DEFAULTS),
        *((module.FAMILY.model_type, module.DEFAULTS) for module in WITH_DEFAULTS),
    ],
)
def test_defaults_are_those_of_transformers(model_type, defaults):
    theirs = transformers.AutoConfig.for_model(model_type).to_dict()
    assert {key: theirs[key] for key in defaults} == defaults
    (family,) = (f for some in FAMILIES.values() for f in some if f.model_type == model_type)
    assert family.from_settings({}) == family.from_settings(theirs)


@pytest.mark.parametrize("module", WITH_DEFAULTS)
def test_a_number_of_another_type_is_one_line(module):
    for name, value in module.DEFAULTS.items():
        if type(value) in (int, float):
            with pytest.raises(UserError, match=f"{name}='x', expected"):
                module.FAMILY.from_settings({name: "x"})


@functools.cache
def tensors(case: str, key: str) -> dict[str, np.ndarray]:
    """By the names of the table."""
    family, model = small.family_of_case(case), small.model(case, key)
    config = small.CONFIGS[case][1]
    state = {name: x.detach().numpy() for name, x in model.state_dict().items()}
    shapes = {name: x.shape for name, x in state.items()}
    named, besides = in_family(Weights(shapes, state.__getitem__), family, config)
    check_besides(named, family, besides)
    return {name: named.read(name) for name in named.shapes if name not in besides}


@pytest.mark.parametrize(("case", "key"), CLASSES)
def test_every_parameter_of_every_class_goes_both_ways_to_the_bit(case, key):
    family, (_, config) = small.family_of_case(case), small.CONFIGS[case]
    theirs = tensors(case, key)
    if case.startswith(("roberta", "xlm")) and key == "model":
        # Their bare class has a pooler that the published pretraining had not.
        theirs = {name: x for name, x in theirs.items() if "pooler" not in name}
    if (case, key) == ("t5-untied", "model"):
        del theirs["lm_head.weight"]  # the table, where a head is asked for and none is there
    for scan in (True, False):
        config = dataclasses.replace(config, scan=scan)
        table = family.table(config, key)
        tree = to_ours(theirs, table, shape_of(config))
        back = to_theirs(tree, table, shape_of(config))
        assert {name: x.tobytes() for name, x in back.items()} == {
            name: x.tobytes() for name, x in theirs.items()
        }


@pytest.mark.parametrize(("case", "key"), CLASSES)
@pytest.mark.parametrize("limit", [10**9, 5000])
def test_tensors_are_streamed_to_files_that_their_own_reader_reads(case, key, limit, tmp_path):
    family, (_, config) = small.family_of_case(case), small.CONFIGS[case]
    theirs, table = tensors(case, key), family.table(config, key)
    theirs = {name: theirs[name] for entry in table for name in entry.names}
    shape = shape_of(config)
    flat = leaves(to_ours(theirs, table, shape))
    made_of = streaming.pieces(table)
    shapes = streaming.shapes(made_of, {path: x.shape for path, x in flat.items()}, shape)
    assert shapes == {name: x.shape for name, x in theirs.items()}
    slots = safetensors.lay_out(tmp_path, shapes, "F32", limit)

    def read(path, index):
        return flat[path] if index is None else flat[path][index]

    for name, some in made_of.items():
        slots[name].write(streaming.tensor(some, read, shape))
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 1 if limit > 5000 else len(files) > 1
    found = {}
    load = need("safetensors.numpy", "pip install -r requirements-ci.txt").load_file
    for file in files:
        found |= load(file)
    assert {name: x.tobytes() for name, x in found.items()} == {
        name: x.tobytes() for name, x in theirs.items()
    }
    opened, besides = in_family(open_weights(tmp_path), family, config)
    assert not besides
    assert all(opened.read(name).tobytes() == x.tobytes() for name, x in theirs.items())


def test_nezhas_table_is_that_of_the_golden_file():
    config = small.CONFIGS["nezha"][1]
    (family,) = FAMILIES["nezha"]
    names = {name for entry in family.table(config, "pretraining") for name in entry.names}
    assert "nezha.encoder.layer.1.attention.self.query.weight" in names
    assert "cls.seq_relationship.weight" in names
    assert family.to_settings(config)["max_relative_position"] == 5


@pytest.mark.parametrize(
    ("family", "config", "says"),
    [
        ("bert", {"max_relative": 4}, "max_relative=4 has no place in Hugging Face's bert"),
        ("bert", {"embedding_size": 12}, "embedding_size=12 has no place"),
        ("bert", {"token_types": 0}, "token_types=0"),
        ("bert", {"head_size": 4}, "head_size=4 has no place"),
        ("distilbert", {"layer_norm_epsilon": 1e-5}, "layer_norm_epsilon=1e-05 has no place"),
        ("distilbert", {"token_types": 2}, "token_types=2 has no place"),
        ("albert", {"groups": 0}, "groups=0, and"),
        ("roformer", {"max_positions": 0}, "max_positions=0, and"),
        ("roformer", {"rotary_base": 500.0}, "rotary_base=500.0 has no place"),
        ("bert", {"attention": Longformer()}, "attention.name='longformer' has no place"),
        ("bert", {"attention": Full(reach=3)}, "attention.reach=3 has no place"),
        ("xlm", {"mlp_size": 48}, "mlp_size=48 has no place in Hugging Face's xlm"),
        ("xlm", {"languages": 1}, "languages=1 has no place"),
        ("xlm", {"activation": "tanh"}, "activation='tanh' has no place"),
        ("xlm", {"token_types": 2}, "token_types=2 has no place"),
        ("mobilebert", {"head_size": 4}, "head_size=4 has no place"),
        ("modernbert", {"head_size": 4}, "head_size=4 has no place"),
        ("xlnet", {"untie_offsets": False}, "untie_offsets=False has no place"),
        ("xlnet", {"attention_dropout": 0.5}, "attention_dropout=0.5 has no place"),
        ("t5", {"num_decoder_heads": 4}, "num_decoder_heads=4 has no place"),
        ("t5", {"decoder_mlp_size": 8}, "decoder_mlp_size=8 has no place"),
        ("t5", {"gated": True, "activation": "gelu"}, "train with one of these"),
        ("bart", {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon=1e-06 has no place"),
        ("bart", {"first_position": 1}, "first_position=1 has no place"),
        ("bart", {"head_size": 7}, "head_size=7 has no place"),
        ("bart", {"head_size": 64, "num_decoder_heads": 6}, "head_size=64 has no place"),
    ],
)
def test_what_has_no_place_there_is_said(family, config, says):
    base = next(iter(PRESETS[family].values()))
    with pytest.raises(UserError, match=says):
        family_of(family, dataclasses.replace(base, **config))


def test_roformers_embeddings_are_as_wide_as_the_model_where_nothing_is_said():
    (family,) = FAMILIES["roformer"]
    config = family.from_settings({"hidden_size": 384, "num_attention_heads": 6})
    assert config.embedding_width == 384


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("t5", {"num_decoder_layers": 6, "decoder_mlp_size": 2048}),
        ("bart", {"num_decoder_heads": 12, "head_size": 64}),
    ],
)
def test_the_usual_number_may_be_said_as_a_number(family, fields):
    base = next(iter(PRESETS[family].values()))
    assert family_of(family, dataclasses.replace(base, **fields))


def test_a_tree_without_scan_has_the_same_tensors():
    config = small.CONFIGS["bert"][1]
    family = small.family_of_case("bert")
    theirs = tensors("bert", "pretraining")
    trees = [
        to_ours(theirs, family.table(c, "pretraining"), shape_of(c))
        for c in (config, dataclasses.replace(config, scan=False))
    ]
    assert jax.tree.structure(trees[0]) != jax.tree.structure(trees[1])
