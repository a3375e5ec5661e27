"""ModernBERT against transformers with the same random weights, in float32."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.huggingface.modernbert import FAMILY
from plmjax.models.modernbert import PRESETS, Config, ModernBert
from plmjax.nn.stack import repetition
from plmjax.nn.visible import Visible
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.train.state import boxed_parameters
from tests.batches import padded_in_front, spec
from tests.compare import deviation, deviations, leaves
from tests.parity import encoders as oracle

torch, transformers = oracle.torch, oracle.transformers

TOLERANCE = 1e-4
_TINY = {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 24}
_ODD = {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 37}


def _case(num_layers: int, **fields) -> Config:
    return Config(num_layers=num_layers, hidden_dropout=0.0, **fields)


CASES = {
    # The published pattern and the published window, which the rows are longer than.
    "tiny": (_case(4, **_TINY), (3, 90, 4)),
    "periods": (_case(7, **_TINY, window=8), (4, 33, 4)),
    "odd": (
        _case(6, **_ODD, global_every=2, window=7, layer_norm_epsilon=1e-3, global_base=500.0),
        (5, 29, 6),
    ),
    # After the first layer the rest is no whole number of periods.
    "rest": (
        _case(6, **_TINY, window=4, activation="gelu_tanh", initializer_range=0.1, local_base=50.0),
        (4, 21, 4),
    ),
    "global": (_case(3, **_TINY, global_every=1, max_positions=64, activation="relu"), (4, 21, 4)),
}
ENDS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


def batch_of(name: str) -> dict[str, np.ndarray]:
    """A batch in which every other row is padded in front."""
    config, sizes = CASES[name]
    return padded_in_front(oracle.batch(config, *sizes), slice(1, None, 2))


def their_config(config: Config):
    settings = FAMILY.to_settings(config)
    ids = ENDS | {"pad_token_id": oracle.PAD}
    return transformers.ModernBertConfig(**settings, **ids, attn_implementation="eager")


def objective(config: Config) -> BertPretraining:
    return BertPretraining(ModernBert(config), labels=0)


def tree(tensors, config: Config):
    arrays = {name: x.detach().numpy() for name, x in tensors.items()}
    return to_ours(arrays, FAMILY.table(config, "language_model"), shape_of(config))


def tensors_of(params, config: Config) -> dict[str, np.ndarray]:
    return to_theirs(params, FAMILY.table(config, "language_model"), shape_of(config))


@functools.cache
def theirs(name: str):
    config, made = CASES[name][0], batch_of(name)
    model = oracle.randomized(transformers.ModernBertForMaskedLM(their_config(config)))
    tensors = {
        "input_ids": made["tokens"],
        "attention_mask": made["attention_mask"],
        "labels": oracle.labels(made),
    }
    tensors = {key: torch.from_numpy(np.asarray(x, np.int64)) for key, x in tensors.items()}
    parameters = {key: p.detach().clone() for key, p in model.named_parameters()}
    values, grads = oracle.run(model, tensors, made)
    return tree(parameters, config), tree(grads, config), values


@functools.cache
def ours(name: str, scan: bool = True):
    config = dataclasses.replace(CASES[name][0], scan=scan)
    params = tensors_of(theirs(name)[0], CASES[name][0])
    params = to_ours(params, FAMILY.table(config, "language_model"), shape_of(config))
    return oracle.compute(objective(config), params, batch_of(name))


@pytest.mark.parametrize("name", CASES)
def test_values_equal_transformers(name):
    found = deviations(ours(name)[0], theirs(name)[2])
    print(name, max(found.values()))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_transformers(name):
    found = deviations(ours(name)[1], theirs(name)[1])
    worst = max(found, key=found.get)
    print(name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst
    assert all(leaf.any() for leaf in leaves(theirs(name)[1]).values())


@pytest.mark.parametrize("name", ["periods", "odd"])
def test_scanned_equals_unscanned(name):
    config, _ = CASES[name]
    (values, grads), (plain, plain_grads) = ours(name), ours(name, scan=False)
    unscanned = dataclasses.replace(config, scan=False)
    by_name = tensors_of(grads, config), tensors_of(plain_grads, unscanned)
    assert max(deviations(values, plain).values()) <= 1e-5
    assert max(deviations(*by_name).values()) <= 5e-5


@pytest.mark.parametrize("name", CASES)
def test_the_key_table_has_every_parameter_and_goes_both_ways(name):
    config, made = CASES[name][0], spec(batch_of(name))
    tensors = tensors_of(theirs(name)[0], config)
    with torch.device("meta"):
        model = transformers.ModernBertForMaskedLM(their_config(config))
    assert {key: x.shape for key, x in tensors.items()} == {
        key: tuple(p.shape) for key, p in model.named_parameters()
    }
    for scan in (True, False):
        config = dataclasses.replace(config, scan=scan)
        for which in FAMILY.classes:
            table = FAMILY.table(config, which)
            some = {
                key: x
                for key, x in tensors.items()
                if which == "language_model" or key.startswith(FAMILY.prefix)
            }
            params = to_ours(some, table, shape_of(config))
            fresh = nn.meta.unbox(boxed_parameters(objective(config), made))
            if which == "model":
                fresh = {"backbone": fresh["backbone"]}
            shapes = {path: leaf.shape for path, leaf in leaves(fresh).items()}
            assert {path: leaf.shape for path, leaf in leaves(params).items()} == shapes
            back = to_theirs(params, table, shape_of(config))
            assert {k: x.tobytes() for k, x in back.items()} == {
                k: x.tobytes() for k, x in some.items()
            }


@pytest.mark.parametrize("config", [config for config, _ in CASES.values()], ids=CASES.keys())
def test_settings_go_both_ways(config):
    assert FAMILY.from_settings(FAMILY.to_settings(config)) == config
    # As the newer versions write them, with a list of kinds and bases by kind.
    written = their_config(config).to_dict()
    assert written["layer_types"] and written["rope_parameters"]
    del written["global_attn_every_n_layers"]
    assert FAMILY.from_settings(written) == config


def test_defaults_of_transformers_are_the_base_preset():
    found = FAMILY.from_settings(transformers.ModernBertConfig().to_dict())
    assert found == dataclasses.replace(PRESETS["base"], hidden_dropout=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("norm_bias", True),
        ("hidden_activation", "silu"),
        ("classifier_activation", "relu"),
        ("layer_types", ["sliding_attention", "full_attention"] * 2),
        ("rope_parameters", {"full_attention": {"rope_type": "yarn"}}),
    ],
)
def test_settings_that_are_not_known_are_refused(name, value):
    settings = FAMILY.to_settings(CASES["tiny"][0]) | {name: value}
    with pytest.raises(UserError):
        FAMILY.from_settings(settings)


@pytest.mark.parametrize(
    "fields",
    [{"global_every": 0}, {"window": 1}, {"hidden_size": 15, "num_heads": 3}, {"num_heads": 7}],
)
def test_configs_that_make_no_sense_are_refused(fields):
    with pytest.raises(UserError, match=r"config\.model\."):
        Config(**fields)


@pytest.mark.parametrize(
    ("preset", "backbone", "whole"),
    [("base", 149_014_272, 149_655_232), ("large", 394_781_696, 395_881_664)],
)
def test_parameter_counts_equal_transformers(preset, backbone, whole):
    config = dataclasses.replace(PRESETS[preset], vocab_multiple=1)
    boxed = boxed_parameters(objective(config), spec(oracle.batch(config, 2, 8, 2)))
    sizes = [sum(x.size for x in jax.tree.leaves(part)) for part in (boxed["backbone"], boxed)]
    with torch.device("meta"):
        model = transformers.ModernBertForMaskedLM(
            transformers.ModernBertConfig(**FAMILY.to_settings(config))
        )
    theirs = [sum(p.numel() for p in part.parameters()) for part in (model.model, model)]
    assert sizes == theirs == [backbone, whole]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_published_layers_scan_by_threes(preset):
    layers = PRESETS[preset].layers
    assert repetition(layers) == (1, 3)
    assert [layer.reach for layer in layers[:5]] == [0, 64, 64, 0, 64]
    assert [layer.rotary_base for layer in layers[:4]] == [160_000, 10_000, 10_000, 160_000]
    assert [layer.attention_norm for layer in layers[:3]] == [False, True, True]


def test_packed_documents_are_as_if_alone():
    config, params = CASES["odd"][0], theirs("odd")[0]["backbone"]
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, 30))
    segments = np.array([[1] * 12 + [2] * 18])
    positions = np.concatenate([np.arange(12), np.arange(18)])[None]

    @jax.jit
    def encode(params, tokens, **fields):
        ones = jnp.ones_like(tokens)
        output = ModernBert(config).apply(
            {"params": params}, tokens, None, ones, train=False, **fields
        )
        return output.hidden_BLD

    def together(params, tokens):
        return encode(params, tokens, segment_ids_BL=segments, positions_BL=positions)

    packed = together(params, tokens)
    for part in (slice(0, 12), slice(12, 30)):
        assert deviation(packed[:, part], encode(params, tokens[:, part])) <= 1e-5
    # And it matters: as one text it is another.
    assert deviation(encode(params, tokens), packed) > 1e-2

    @jax.grad
    def gradient(table):
        changed = params | {"token_table": {"embedding": table}}
        return (together(changed, np.arange(30)[None])[:, 12:] ** 3).sum()

    norms = np.abs(gradient(jnp.asarray(params["token_table"]["embedding"]))).sum(1)
    assert (norms[:12] == 0).all() and (norms[12:30] > 0).all()


def test_dropout_is_of_the_attentions_output():
    """At a rate of almost 1 attention adds nothing, and the feed-forward what it always does."""
    config, made = CASES["tiny"][0], batch_of("tiny")
    params = jax.tree.map(np.copy, theirs("tiny")[0]["backbone"])
    arguments = made["tokens"][:, :20], None, np.ones_like(made["tokens"][:, :20])

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def run(params, rate: float, train: bool):
        module = ModernBert(dataclasses.replace(config, hidden_dropout=rate))
        rngs = {"dropout": jax.random.key(0)}
        return module.apply({"params": params}, *arguments, train=train, rngs=rngs).hidden_BLD

    dropped = run(params, 1.0 - 2.0**-40, True)
    for path, leaf in leaves(params).items():
        if path.endswith("attention/output/kernel"):
            leaf[:] = 0.0
    np.testing.assert_allclose(dropped, run(params, 0.0, False), rtol=1e-5, atol=1e-6)


def test_bfloat16_runs():
    config = dataclasses.replace(CASES["periods"][0], dtype="bfloat16", remat="dots")
    made = batch_of("periods")
    run = jax.jit(functools.partial(objective(config).apply, train=False))
    loss = run({"params": theirs("periods")[0]}, made)
    expected = theirs("periods")[2]["loss"]
    assert abs(float(loss.terms["mlm"].value()) / expected - 1) < 0.1


@pytest.mark.parametrize(("length", "window"), [(20, 8), (3, 8), (9, 5)])
def test_operations_are_counted_by_what_is_seen(length, window):
    config = dataclasses.replace(CASES["periods"][0], window=window)
    visible = Visible(np.ones((1, length), np.int32))
    pairs = 0
    for layer in config.layers:
        allowed = visible.allowed(length, layer.reach)
        pairs += int(np.broadcast_to(allowed, (1, length, length)).sum())
    D, F = config.hidden_size, config.mlp_size
    products = length * config.num_layers * (4 * D * D + 3 * D * F) + 2 * pairs * D
    assert ModernBert(config).forward_flops(5, length) == 2.0 * 5 * products
