"""The encoders that are BERT by other values, against transformers with the same random weights."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from plmjax.huggingface.encoders import FAMILIES, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.models import albert, bert, distilbert, electra, ernie, nezha, roberta, roformer
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.train.state import boxed_parameters
from tests.batches import padded_in_front, spec
from tests.compare import deviations, gradient_deviations, leaves
from tests.parity import encoders as oracle

torch = oracle.torch

TOLERANCE = 1e-4

_SMALL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2}
_TINY = _SMALL | {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 64}
_ODD = _SMALL | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 100}
_DEEP = _TINY | {"num_layers": 5, "num_heads": 4, "mlp_size": 32, "vocab_size": 130}
SIZES = (5, 21, 4)
ELECTRA_GENERATOR = electra.PRESETS["base"].narrower(electra.GENERATOR_FRACTIONS["base"])


def _cases() -> dict[tuple[str, str], bert.Config]:
    bases = {
        "bert": (bert.PRESETS["base"], {"max_positions": 32}),
        "roberta": (roberta.PRESETS["base"], {"max_positions": 40}),
        "ernie": (ernie.PRESETS["1.0-base-zh"], {"max_positions": 33}),
        "albert": (albert.PRESETS["base"], {"max_positions": 32, "embedding_size": 12}),
        "electra": (electra.PRESETS["small"], {"max_positions": 32, "embedding_size": 24}),
        "distilbert": (distilbert.PRESETS["base"], {"max_positions": 32}),
        "roformer": (roformer.PRESETS["base-zh"], {"max_positions": 32, "embedding_size": 36}),
    }
    deep = {
        "bert": {"layer_norm_epsilon": 1e-3, "token_types": 3, "activation": "relu"},
        "albert": {"groups": 2},
        "ernie": {"task_types": 3, "token_types": 4, "activation": "gelu"},
        "electra": {"embedding_size": 0},
        "roberta": {"layer_norm_epsilon": 1e-3, "token_types": 3},
        "distilbert": {"activation": "relu"},
        "roformer": {"embedding_size": 0, "token_types": 3, "layer_norm_epsilon": 1e-3},
    }
    cases = {}
    for family, (base, fields) in bases.items():
        for name, values in (("tiny", _TINY), ("odd", _ODD)):
            cases[family, name] = dataclasses.replace(base, **fields, **values)
        changed = fields | _DEEP | deep[family]
        cases[family, "deep"] = dataclasses.replace(base, **changed)
        cases[family, "front"] = cases[family, "odd"]
    return cases


CASES = _cases()
"""In `front` every other row is padded in front of the text, in the others behind it."""


def batch_of(family: str, name: str) -> dict[str, np.ndarray]:
    made = oracle.batch(CASES[family, name], *SIZES)
    return padded_in_front(made, slice(1, None, 2)) if name == "front" else made


@functools.cache
def theirs(family: str, name: str):
    config, made = CASES[family, name], batch_of(family, name)
    model = oracle.build(family, config)
    parameters = {k: p.detach().clone() for k, p in oracle.trainable(model).items()}
    values, grads = oracle.run(model, oracle.inputs(family, config, made), made)
    return oracle.tree(family, parameters, config), oracle.tree(family, grads, config), values


def table_of(family: str, config: bert.Config) -> list:
    pairs = bool(oracle.ORACLES[family].pair_key)
    return masked_lm_table(FAMILIES[family], config, pairs)


def objective(config: bert.Config, pairs: bool) -> BertPretraining:
    return BertPretraining(bert.Bert(config), 2 if pairs else 0)


@functools.cache
def ours(family: str, name: str):
    module = objective(CASES[family, name], bool(oracle.ORACLES[family].pair_key))
    return oracle.compute(module, theirs(family, name)[0], batch_of(family, name))


@pytest.mark.parametrize(("family", "name"), CASES)
def test_hidden_states_logits_and_loss_equal_transformers(family, name):
    values, _ = ours(family, name)
    found = deviations(values, theirs(family, name)[2])
    print(family, name, max(found.values()))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize(("family", "name"), CASES)
def test_every_gradient_equals_transformers(family, name):
    _, grads = ours(family, name)
    expected = theirs(family, name)[1]
    found = gradient_deviations(grads, expected)
    worst = max(found, key=found.get)
    print(family, name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst


@pytest.mark.parametrize(("family", "name"), CASES)
def test_the_key_table_has_every_parameter_and_goes_both_ways(family, name):
    config, pairs = CASES[family, name], bool(oracle.ORACLES[family].pair_key)
    weights, made = theirs(family, name)[0], spec(oracle.batch(config, *SIZES))
    tensors = to_theirs(weights, table_of(family, config), shape_of(config))
    for scan in (True, False):
        config = dataclasses.replace(config, scan=scan)
        tree = to_ours(tensors, table_of(family, config), shape_of(config))
        fresh = nn.meta.unbox(boxed_parameters(objective(config, pairs), made))
        shapes = {path: leaf.shape for path, leaf in leaves(fresh).items()}
        assert {path: leaf.shape for path, leaf in leaves(tree).items()} == shapes
        back = to_theirs(tree, table_of(family, config), shape_of(config))
        assert all(back[name].tobytes() == x.tobytes() for name, x in tensors.items())


@pytest.mark.parametrize("groups", [1, 2])
def test_shared_layers_scanned_and_unscanned_are_equal(groups):
    config = dataclasses.replace(CASES["albert", "deep"], groups=groups)
    made = oracle.batch(config, *SIZES)
    module = objective(config, True)
    params = module.init(jax.random.key(0), made, train=False)
    losses = [
        objective(dataclasses.replace(config, scan=scan), True).apply(params, made, train=False)
        for scan in (True, False)
    ]
    np.testing.assert_allclose(*(loss.terms["mlm"].value() for loss in losses), rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "head", "count"),
    [
        (roberta.PRESETS["base"], True, 124_697_433),
        (roberta.PRESETS["large"], True, 355_412_057),
        (roberta.PRESETS["xlm-r-base"], True, 278_295_186),
        (roberta.PRESETS["xlm-r-large"], True, 560_142_482),
        (albert.PRESETS["base"], False, 11_683_584),
        (albert.PRESETS["large"], False, 17_683_968),
        (albert.PRESETS["xlarge"], False, 58_724_864),
        (albert.PRESETS["xxlarge"], False, 222_595_584),
        (albert.PRESETS["base-v2"], False, 11_683_584),
        (ernie.PRESETS["1.0-base-zh"], False, 99_866_112),
        (ernie.PRESETS["2.0-base"], False, 109_496_064),
        (ernie.PRESETS["2.0-large"], False, 335_160_320),
        (distilbert.PRESETS["base"], False, 66_362_880),
        (distilbert.PRESETS["base"], True, 66_985_530),
        (nezha.PRESETS["base-zh"], False, 101_874_432),
        (roformer.PRESETS["base-zh"], True, 124_099_664),
        (roformer.PRESETS["small-zh"], True, 30_046_928),
        (roformer.PRESETS["char-base-zh"], True, 94_877_664),
        (roformer.PRESETS["char-small-zh"], True, 15_416_928),
        (ELECTRA_GENERATOR, False, 33_511_168),
        (ELECTRA_GENERATOR, True, 33_740_602),
    ],
)
def test_parameter_counts_are_the_published_ones(config, head, count):
    config = dataclasses.replace(config, vocab_multiple=1)
    typed = dataclasses.replace(config, token_types=max(config.token_types, 2))
    boxed = boxed_parameters(objective(config, False), spec(oracle.batch(typed, 2, 8, 2)))
    part = boxed if head else boxed["backbone"]
    assert sum(leaf.size for leaf in jax.tree.leaves(part)) == count
