"""Efficient attention against NumPy in float64, and against slower forms of the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.models import bert
from plmjax.nn.attention import Attention
from plmjax.nn.blocks import ATTENTIONS
from plmjax.nn.efficient import kernels
from plmjax.nn.efficient.bigbird import random_blocks
from plmjax.nn.efficient.kinds import Fastformer, Full, Linear, Linformer, Performer
from plmjax.nn.efficient.performer import orthogonal_features
from plmjax.nn.implementations import xla
from plmjax.nn.visible import Visible
from tests.compare import deviation, deviations
from tests.models import efficient_numpy as reference

TOLERANCE = 1e-4
SHAPES = {"tiny": (2, 40, 2, 8), "odd": (3, 67, 5, 7), "wide": (1, 150, 1, 33)}
"""B, L, H, K."""


def arrays(name: str) -> tuple[np.ndarray, ...]:
    """Queries, keys, values and a mask with padding behind and, in the last row, in front."""
    size, length, heads, width = SHAPES[name]
    rng = np.random.default_rng(0)
    made = [rng.normal(size=(size, length, heads, width)).astype(np.float32) for _ in range(3)]
    mask = np.ones((size, length), np.int32)
    mask[-1, : length // 5] = 0
    mask[0, length - length // 4 :] = 0
    return *made, mask


def mix(name, kind, causal=False, layer=1):
    """The kind's mix, of queries, keys and values; those arrays; and the mask."""
    *made, mask = arrays(name)
    settings = layer_settings(name, kind)
    visible = Visible(jnp.asarray(mask), causal=causal, layer=layer)

    def run(*made):
        module = ATTENTIONS[type(kind)](settings)
        return module.apply({}, *made, visible, False, method="mix")

    return jax.jit(run), made, mask


def layer_settings(name, kind):
    heads, width = SHAPES[name][2:]
    config = bert.Config(num_heads=heads, head_size=width, attention=kind)
    return config.layer(attention_dropout=0.0)


def whole(name, kind, params, shared=None):
    """What the whole layer makes of those arrays, with projections that only pick them out."""
    *made, mask = arrays(name)
    size, length, heads, width = SHAPES[name]
    total = heads * width
    x = np.concatenate([part.reshape(size, length, total) for part in made], axis=-1)
    pick = np.eye(3 * total, dtype=np.float32).reshape(3 * total, 3, heads, width)
    names = ("query", "key", "value")[: 3 if ATTENTIONS[type(kind)].projects_values else 2]
    zeros = np.zeros((heads, width), np.float32)
    picked = {part: {"kernel": pick[:, i], "bias": zeros} for i, part in enumerate(names)}
    back = np.eye(total, 3 * total, dtype=np.float32).reshape(heads, width, 3 * total)
    picked["output"] = {"kernel": back, "bias": np.zeros(3 * total, np.float32)}
    visible = Visible(jnp.asarray(mask), shared=None if shared is None else jnp.asarray(shared))
    module = ATTENTIONS[type(kind)](layer_settings(name, kind))
    found = jax.jit(lambda params: module.apply({"params": params}, x, visible, False))
    return np.asarray(found(picked | params))[..., :total].reshape(made[0].shape), mask


def check(found, expected, mask, what):
    worst = deviation(np.asarray(found)[mask == 1], expected[mask == 1])
    print(what, f"{worst:.1e}")
    assert worst <= TOLERANCE


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
def test_kernels_equal_numpy(name, causal):
    width, layer = SHAPES[name][3], 3
    doubles = [x.astype(np.float64) for x in arrays(name)]
    for kind, expected in (
        (Linear(), reference.linear),
        (Performer(features=50, seed=2), reference.favor),
        (Performer(features=16, seed=2, kernel="relu"), reference.generalised),
    ):
        run, made, mask = mix(name, kind, causal=causal, layer=layer)
        directions = {}
        if isinstance(kind, Performer):
            drawn = orthogonal_features(kind.seed, layer, kind.features, width)
            directions = {"directions": np.asarray(drawn, np.float64)}
        outcome = expected(*doubles, causal=causal, **directions)
        check(run(*made), outcome, mask, f"{kind} {name}")


def test_chunks_of_any_size_are_the_same_sum():
    query, key, value, mask = arrays("odd")
    query, key = np.abs(query), np.abs(key) * mask[..., None, None]
    allowed = np.tril(np.ones((67, 67), bool))[None]
    expected = kernels.quadratic(query, key, value, allowed)
    for chunk in (1, 8, 66, 67, 128):
        for found, wanted in zip(
            kernels.keys_before(query, key, value, chunk), expected, strict=True
        ):
            assert deviation(found, wanted) <= 1e-5


def test_features_are_orthogonal_and_follow_from_seed_and_layer():
    rows = np.asarray(orthogonal_features(3, 2, 20, 8))
    inner = rows[:8] @ rows[:8].T
    assert np.abs(inner - np.diag(np.diag(inner))).max() <= 1e-5
    assert np.array_equal(rows, jax.jit(lambda layer: orthogonal_features(3, layer, 20, 8))(2))
    assert not np.allclose(rows, orthogonal_features(3, 1, 20, 8))
    assert not np.allclose(rows, orthogonal_features(4, 2, 20, 8))
    many = np.asarray(orthogonal_features(0, 0, 8000, 16))
    assert abs((many**2).sum(1).mean() / 16 - 1) < 0.02
    assert np.abs(many.T @ many / 8000 - np.eye(16)).max() < 0.05


def test_many_features_come_close_to_softmax():
    *made, mask = arrays("tiny")
    made = [x * scale for x, scale in zip(made, (0.6, 0.6, 1.0), strict=True)]
    expected = reference.full(*(x.astype(np.float64) for x in made), mask)
    errors = []
    for features in (16, 256, 4096, 65536):
        found = np.asarray(mix("tiny", Performer(features=features))[0](*made), np.float64)
        errors.append(np.sqrt(((found - expected)[mask == 1] ** 2).mean() / (expected**2).mean()))
    print("Performer's error", errors)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("share", ["none", "heads", "key_value", "layers"])
def test_linformer_equals_numpy(name, share):
    _, length, heads, _ = SHAPES[name]
    kind = Linformer(length=length + 3, rank=9, share=share)
    rng = np.random.default_rng(1)
    shape = (heads,) * (share == "none") + (9, length + 3)
    e, f = rng.normal(size=(2, *shape)).astype(np.float32) / 3
    params, shared = {"key_projection": e, "value_projection": f}, None
    if share in ("key_value", "layers"):
        params, f = {"key_projection": e}, e
    if share == "layers":
        params, shared = {}, e
    found, mask = whole(name, kind, params, shared)
    doubles = [x.astype(np.float64) for x in arrays(name)]
    of_heads = [np.broadcast_to(x, (heads, 9, length + 3)).astype(np.float64) for x in (e, f)]
    check(found, reference.linformer(*doubles, *of_heads), mask, f"{share} {name}")


@pytest.mark.parametrize("name", SHAPES)
def test_fastformer_equals_numpy(name):
    _, _, heads, width = SHAPES[name]
    rng, total = np.random.default_rng(1), heads * width

    def projection(out):
        kernel = rng.normal(size=(total, out)).astype(np.float32) / total**0.5
        return kernel, rng.normal(size=out).astype(np.float32)

    made_of = {"query_score": projection(heads), "key_score": projection(heads)}
    made_of["transform"] = projection(total)
    params = {
        key: {"kernel": kernel.reshape(heads, width, -1), "bias": bias}
        for key, (kernel, bias) in made_of.items()
    }
    doubles = [x.astype(np.float64) for x in arrays(name)]
    weights = [tuple(x.astype(np.float64) for x in pair) for pair in made_of.values()]
    expected = reference.fastformer(doubles[0], doubles[1], doubles[3], *weights)
    found, mask = whole(name, Fastformer(), params)
    check(found, expected, mask, f"fastformer {name}")


class ByMask(Attention):
    """Full attention under the mask, however short the reach."""

    def mix(self, *arguments) -> jax.Array:
        return xla.every_pair(self, *arguments)


@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
@pytest.mark.parametrize("packed", [False, True], ids=["alone", "packed"])
@pytest.mark.parametrize(("length", "reach"), [(64, 1), (67, 5), (90, 16), (131, 20), (200, 33)])
def test_a_window_in_blocks_is_the_mask(length, reach, causal, packed):
    """Values, and the gradients of queries, keys and values."""
    rng = np.random.default_rng(length)
    made = [rng.normal(size=(3, length, 2, 6)).astype(np.float32) for _ in range(3)]
    mask = np.ones((3, length), np.int32)
    mask[1, length // 2 :] = mask[2, : length // 3] = 0
    segments = jnp.asarray(np.sort(rng.integers(1, 4, (3, length)))) if packed else None
    visible = Visible(jnp.asarray(mask), segments, causal=causal)
    config = bert.Config(num_heads=2, head_size=6, attention=Full(reach=reach))
    settings = config.layer(attention_dropout=0.0)
    target = rng.normal(size=made[0].shape) * mask[..., None, None]

    def outcome(kind):
        def total(*made):
            mixed = kind(settings).apply({}, *made, visible, False, method="mix")
            return (mixed * target).sum(), mixed

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(*made)

    (_, found), grads = outcome(Attention)
    (_, expected), expected_grads = outcome(ByMask)
    check(found, np.asarray(expected), mask, "values")
    assert max(deviations(grads, expected_grads).values()) <= TOLERANCE
    assert xla.is_near(settings, False, length, visible)
    assert not xla.is_near(settings, False, 4 * max(16, reach) - 1, visible)


@pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
@pytest.mark.parametrize("kind", [Linear(), Performer(features=24)], ids=["linear", "performer"])
def test_gradients_are_those_of_the_quadratic_form(kind, causal, monkeypatch):
    _, made, mask = mix("odd", kind)
    target = np.random.default_rng(5).normal(size=made[0].shape) * mask[..., None, None]

    def grads():
        run, made, _ = mix("odd", kind, causal=causal)
        return jax.grad(lambda *made: (run(*made) * target).sum(), argnums=(0, 1, 2))(*made)

    found = grads()
    order = np.tri(67, dtype=bool)[None] if causal else np.ones((1, 67, 67), bool)
    for name in ("all_keys", "keys_before"):
        quadratic = functools.partial(kernels.quadratic, allowed_BLM=order)
        monkeypatch.setattr(f"plmjax.nn.efficient.linear.{name}", quadratic)
    assert max(deviations(found, grads()).values()) <= TOLERANCE


def test_random_blocks_are_others_and_follow_from_seed_and_layer():
    blocks = np.asarray(random_blocks(1, 2, 3, 14, 4))
    assert blocks.shape == (3, 12, 4)
    for inner in range(12):
        for chosen in blocks[:, inner]:
            assert len(set(chosen)) == 4
            assert not set(chosen) & {0, 13, inner, inner + 1, inner + 2}
    assert np.array_equal(blocks, jax.jit(lambda layer: random_blocks(1, layer, 3, 14, 4))(2))
    assert not np.array_equal(blocks, random_blocks(1, 3, 3, 14, 4))
    counts = np.bincount(np.asarray(random_blocks(0, 0, 500, 12, 2))[:, 5].ravel(), minlength=12)
    assert (counts[[0, 5, 6, 7, 11]] == 0).all() and counts[1:5].min() > 100
