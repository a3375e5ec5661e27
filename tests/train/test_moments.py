"""Moments that are kept in bfloat16, the bytes that states take, and that they resume exactly."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from plmjax.families import FAMILIES
from plmjax.parallel.rules import layer_axes, matrix_axes
from plmjax.train.adam import stochastically_rounded
from plmjax.train.checkpoints import CheckpointConfig, Checkpoints
from plmjax.train.optimizers import VARIANTS, OptimizerConfig, build
from plmjax.train.state import boxed_parameters
from tests.train.trajectories import each_axis, stack, stack_axes, stack_gradients
from tests.training import objective_of, spec_of

ADAMS = [name for name, variant in VARIANTS.items() if not variant.factors]


def test_rounding_is_to_a_neighbour_and_right_on_average():
    rng = np.random.default_rng(0)
    values = (rng.normal(0, 1, 64) * 10.0 ** rng.integers(-30, 30, 64)).astype(np.float32)
    exact = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    many = np.broadcast_to(values[:, None], (64, 40_000))
    found = np.asarray(jax.jit(stochastically_rounded)(many, 3)).astype(np.float64)
    for value, rounded in zip(values, found, strict=True):
        below, above = rounded.min(), rounded.max()
        assert below < value < above
        assert (above - below) / abs(value) <= 2**-7
        assert set(rounded) == {below, above}
        # The mean of 40,000 is within 4 of its standard deviations.
        share = (value - below) / (above - below)
        deviation = np.sqrt(share * (1 - share) / 40_000)
        assert abs((rounded.mean() - below) / (above - below) - share) < 4 * deviation
    kept = np.concatenate([exact, [0, -0.0, np.inf, -np.inf]]).astype(np.float32)
    same = np.asarray(stochastically_rounded(kept, 3)).astype(np.float32)
    np.testing.assert_array_equal(same, kept)
    assert np.isnan(np.asarray(stochastically_rounded(np.float32("nan"), 3), np.float32))


def test_every_step_and_every_array_draws_its_own():
    tree = {name: np.full(1000, 1.001, np.float32) for name in "ab"}
    one, again, other = (stochastically_rounded(tree, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one["a"], again["a"])
    assert (one["a"] != other["a"]).any()
    assert (one["a"] != one["b"]).any()


def second_moments(dtype, squares):
    """v after gradients of the square roots of `squares`, for 4096 parameters, as float64."""
    config = OptimizerConfig("adamw", 1.0, schedule="constant", clip_norm=0.0, moments_dtype=dtype)
    params = {"w": jnp.ones(4096)}
    optimizer = build(config, len(squares), {"w": ()})

    def step(state, square):
        grads = {"w": jnp.full(4096, jnp.sqrt(square))}
        return optimizer.update(grads, state, params)[1], None

    state, _ = jax.jit(functools.partial(jax.lax.scan, step))(optimizer.init(params), squares)
    return np.asarray(optax.tree.get(state, "nu")["w"], np.float64)


def test_the_second_moment_follows_as_float32_would_and_to_nearest_it_would_not():
    """A large gradient at first, then small ones: v comes down by a thousandth of itself a step."""
    squares = np.concatenate([np.full(1, 100.0), np.full(3000, 0.01)]).astype(np.float32)
    exact = second_moments("float32", squares)
    found = second_moments("bfloat16", squares)
    print(f"v {exact[0]:.5f}, mean {found.mean():.5f}, spread {found.std() / exact[0]:.3f}")
    assert abs(found.mean() / exact[0] - 1) < 0.01
    assert found.std() / exact[0] < 0.1
    v = np.float32(0)
    for square in squares:
        v = np.float32(0.999 * v + 0.001 * square).astype(ml_dtypes.bfloat16).astype(np.float32)
    print(f"to nearest {v:.5f}")
    assert v > 5 * exact[0], "the control: to nearest it stands still"


@pytest.mark.parametrize("name", ADAMS)
def test_bfloat16_moments_are_kept_narrow_and_step_nearly_as_float32(name):
    params, updates = stack(), {}
    for dtype in ("float32", "bfloat16_first", "bfloat16"):
        config = OptimizerConfig(name, 1e-2, schedule="constant", moments_dtype=dtype)
        optimizer = build(config, 20, stack_axes(params))
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        structure = jax.tree.map(lambda x: (x.shape, x.dtype), state)
        for t in range(20):
            updates[dtype], state = update(stack_gradients(params, t), state, params)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == structure
        kept = [{x.dtype.name for x in jax.tree.leaves(optax.tree.get(state, n))} for n in MOMENTS]
        assert kept == KEPT[dtype]
        assert {x.dtype.name for x in jax.tree.leaves(updates[dtype])} == {"float32"}
    largest = [np.abs(x).max() for x in jax.tree.leaves(updates["float32"])]
    for dtype, limit in (("bfloat16_first", 0.02), ("bfloat16", 0.05)):
        gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), updates[dtype], updates["float32"])
        worst = max(gap / size for gap, size in zip(jax.tree.leaves(gaps), largest, strict=True))
        print(f"{name} {dtype}: update 20 differs by {worst:.4f} of its largest element")
        assert 0 < worst < limit


MOMENTS = ("mu", "nu")
KEPT = {
    "float32": [{"float32"}, {"float32"}],
    "bfloat16_first": [{"bfloat16"}, {"float32"}],
    "bfloat16": [{"bfloat16"}, {"bfloat16"}],
}


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        *(({"name": name}, 8, 8) for name in ADAMS),
        *(({"name": name, "moments_dtype": "bfloat16_first"}, 6, 6) for name in ADAMS),
        *(({"name": name, "moments_dtype": "bfloat16"}, 4, 4) for name in ADAMS),
        ({"name": "adafactor"}, 0.0099, 0.0101),
        ({"name": "adafactor", "momentum": 0.9}, 4.0099, 4.0101),
        ({"name": "adafactor", "momentum": 0.9, "moments_dtype": "bfloat16_first"}, 2.0099, 2.0101),
    ],
)
def test_bytes_of_state_a_parameter_are_those_of_the_docstring(settings, low, high):
    bytes_a_parameter = state_bytes(OptimizerConfig(**settings))
    print(settings, f"{bytes_a_parameter:.4f}")
    assert low - 1e-6 <= bytes_a_parameter <= high + 1e-6


@functools.cache
def bert_large():
    config = FAMILIES["bert"].presets["large"]
    return boxed_parameters(objective_of("bert", config), spec_of("bert", config, 2, 128, 20))


def state_bytes(config: OptimizerConfig) -> float:
    boxed = bert_large()
    params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), nn.meta.unbox(boxed))
    optimizer = build(config, 10, layer_axes(boxed), matrix_axes(boxed))
    arrays = [x for x in jax.tree.leaves(jax.eval_shape(optimizer.init, params)) if x.ndim]
    count = sum(x.size for x in jax.tree.leaves(params))
    return sum(x.size * x.dtype.itemsize for x in arrays) / count


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "lamb", "moments_dtype": "bfloat16"},
        {"name": "adamw_google", "moments_dtype": "bfloat16_first"},
        {"name": "adafactor", "min_dim_size_to_factor": 2, "momentum": 0.5},
        {"name": "adafactor", "min_dim_size_to_factor": 2, "weight_decay": 0.0},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_run_that_stops_and_resumes_is_bit_for_bit_the_same(tmp_path, settings):
    params = jax.tree.map(jnp.asarray, stack())
    axes = stack_axes(params)
    optimizer = build(OptimizerConfig(**settings), 10, axes, each_axis(params, axes))

    @jax.jit
    def step(state, grads):
        updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}

    state = {"params": params, "opt_state": optimizer.init(params)}
    for t in range(3):
        state = step(state, stack_gradients(params, t))
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(3, state, None)
    checkpoints.close()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), state)
    resumed = Checkpoints(tmp_path, CheckpointConfig()).restore(3, like)
    for t in range(3, 6):
        state, resumed = (step(s, stack_gradients(params, t)) for s in (state, resumed))
    assert jax.tree.structure(state) == jax.tree.structure(resumed)
    for mine, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(resumed), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
