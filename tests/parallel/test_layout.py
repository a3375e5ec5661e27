"""Sizes that a mesh cannot split, and axes that nobody knows: one line each."""

import dataclasses
import types

import pytest

from plmjax import checks, experiment
from plmjax.data.batch_form import DataConfig
from plmjax.errors import UserError
from plmjax.families import FAMILIES
from plmjax.parallel.layout import check_batch, check_parameters
from plmjax.parallel.mesh import AXES
from plmjax.parallel.rules import ShardingConfig
from plmjax.phases import plan_phases
from plmjax.train.state import boxed_parameters
from tests.training import objective_of, spec_of


def mesh(**sizes: int):
    """All that the checks read of a mesh: no devices are needed."""
    return types.SimpleNamespace(shape=dict.fromkeys(AXES, 1) | sizes)


def check(family, sizes, sharding=None, preset="base", **model):
    config = dataclasses.replace(FAMILIES[family].presets[preset], **model)
    boxed = boxed_parameters(objective_of(family, config), spec_of(family, config, 2, 8, 2))
    check_parameters(boxed, config, mesh(**sizes), ShardingConfig(**(sharding or {})).rules)


@pytest.mark.parametrize(
    ("family", "sizes", "words", "changes"),
    [
        ("bert", {"tensor": 8}, ("config.model.num_heads=12", "config.mesh.tensor=8"), {}),
        ("bert", {"tensor": 5}, ("num_heads=12", "config.sharding.heads='tensor'"), {}),
        (
            "bert",
            {"tensor": 8},
            ("config.model.mlp_size=3076", "config.mesh.fsdp=1 times config.mesh.tensor=8"),
            {"sharding": {"mlp": "fsdp,tensor", "embed": "", "heads": ""}, "mlp_size": 3076},
        ),
        (
            "bert",
            {"tensor": 3},
            ("config.model.vocab_size=30522", "vocab_multiple=128", "30592 rows", "tensor=3"),
            {},
        ),
        ("bert", {"fsdp": 9}, ("config.model.hidden_size=768", "config.mesh.fsdp=9"), {}),
        ("bert", {"pipeline": 5}, ("config.model.num_layers=12", "config.mesh.pipeline=5"), {}),
        (
            "bert",
            {"data": 5},
            ("config.model.max_positions=512", "config.sharding.positions='data'"),
            {"sharding": {"positions": "data"}},
        ),
        (
            "bart",
            {"tensor": 3},
            ("config.model.num_decoder_heads=16", "config.mesh.tensor=3"),
            {"num_decoder_heads": 16, "vocab_multiple": 384},
        ),
        (
            "modernbert",  # the first layer and 7 times three
            {"pipeline": 2},
            ("the axis 'layers' of backbone/encoder/layers/blocks_0", "whose size is 7"),
            {},
        ),
    ],
)
def test_a_parameter_that_cannot_be_split_is_one_line(family, sizes, words, changes):
    with pytest.raises(UserError) as caught:
        check(family, sizes, **changes)
    message = str(caught.value)
    print(message)
    assert "\n" not in message and message.endswith("change one of them")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("sizes", "sharding"),
    [
        ({"tensor": 4, "fsdp": 8, "pipeline": 3}, {}),
        ({"tensor": 64}, {"heads": "", "mlp": "", "vocab": ""}),
    ],
)
def test_what_the_rules_leave_whole_need_not_divide(sizes, sharding):
    check("bert", sizes, sharding)


@pytest.mark.parametrize(
    ("sizes", "sharding", "words"),
    [
        ({"data": 4, "fsdp": 2}, {}, ("config.data.batch_size=12", "8 batch shards", "=1")),
        ({"slice": 8}, {}, ("config.data.batch_size=12", "8 batch shards")),
        ({"data": 4}, {"accumulate": 2}, ("4 batch shards", "config.train.accumulate=2")),
        ({}, {"accumulate": 0}, ("config.train.accumulate=0",)),
        ({"sequence": 8}, {}, ("config.data.seq_len=20", "config.mesh.sequence=8")),
        (
            {"tensor": 3},
            {"length": "sequence,tensor"},
            ("config.data.seq_len=20", "config.sharding.length='sequence,tensor'"),
        ),
    ],
)
def test_a_batch_that_cannot_be_split_is_one_line(sizes, sharding, words):
    sharding = dict(sharding)
    accumulate = sharding.pop("accumulate", 1)
    rules = ShardingConfig(**sharding).rules
    with pytest.raises(UserError) as caught:
        check_batch(12, accumulate, 20, "config.data", mesh(**sizes), rules)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_residual_that_does_not_divide_is_no_mistake():
    check_batch(12, 1, 20, "config.data", mesh(data=4, sequence=2, tensor=8))


def test_a_phase_is_checked_with_the_rules_of_its_config():
    phase = plan_phases(DataConfig(seq_len=30, batch_size=8), {}, 10)[0]
    settings = experiment.Settings()
    model = FAMILIES["bert"].presets["tiny"]
    checks.check_phase(settings, phase, model, mesh(tensor=7, sequence=3))
    with pytest.raises(UserError, match=r"config\.mesh\.sequence=4"):
        checks.check_phase(settings, phase, model, mesh(sequence=4))
    changed = dataclasses.replace(settings, sharding=ShardingConfig(length=""))
    checks.check_phase(changed, phase, model, mesh(sequence=4))


def test_stages_do_not_add_gradients_in_bfloat16():
    phase = plan_phases(DataConfig(seq_len=32, batch_size=8), {}, 10)[0]
    settings = experiment.Settings(train=experiment.TrainConfig(parameters="bfloat16"))
    model = FAMILIES["bert"].presets["tiny"]
    checks.check_phase(settings, phase, model, mesh(data=2))
    with pytest.raises(UserError, match=r"^config\.train\.parameters='bfloat16' with "):
        checks.check_phase(settings, phase, model, mesh(pipeline=2))


@pytest.mark.parametrize(
    ("section", "field", "value", "words"),
    [
        ("sharding", "heads", "tensr", ("config.sharding.heads='tensr'", "did you mean 'tensor'?")),
        ("sharding", "batch", "data, fdsp", ("config.sharding.batch=", "did you mean 'fsdp'?")),
        ("sharding", "mlp", "model", ("config.sharding.mlp='model'", "model is not an axis")),
        ("sharding", "length", "tensor,tensor", ("config.sharding.length=", "twice")),
        ("sharding", "head", "tensor", ("config.sharding.head ", "did you mean 'heads'?")),
        ("mesh", "tensr", 2, ("config.mesh.tensr ", "did you mean 'tensor'?")),
        ("mesh", "tensor", "two", ("config.mesh.tensor='two'", "expected an int")),
    ],
)
def test_an_axis_that_nobody_knows_is_one_line(section, field, value, words):
    config = experiment.default_config("bert", "tiny").to_dict()
    config[section][field] = value
    with pytest.raises(UserError) as caught:
        experiment.read_settings(config)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
