"""A step that computes with its kernels in bfloat16, and a state that stays in float32."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.families import FAMILIES
from plmjax.models.bert import Bert, Config
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import layer_axes, on_mesh, parameter_shardings
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.precision import bfloat16_kernels
from plmjax.train.state import boxed_parameters, fresh_state
from plmjax.train.step import train_step
from tests.batches import bert_batch, spec
from tests.compare import deviation, leaves
from tests.training import objective_of, spec_of

CONFIG = Config(
    vocab_size=201,
    max_positions=24,
    num_layers=2,
    hidden_size=32,
    num_heads=4,
    mlp_size=64,
    hidden_dropout=0.0,
    attention_dropout=0.0,
)
OBJECTIVE = BertPretraining(Bert(CONFIG))
SGD = optax.sgd(1.0)


@functools.cache
def batch():
    return bert_batch(CONFIG, 8, 20, 6, 0)


@functools.cache
def boxed():
    return boxed_parameters(OBJECTIVE, spec(batch()))


@functools.cache
def start(optimizer=SGD):
    return jax.jit(lambda: fresh_state(OBJECTIVE, spec(batch()), optimizer, seed=0))()


def narrowing(of):
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    return functools.partial(bfloat16_kernels, shardings=parameter_shardings(of, mesh))


def stepper(optimizer=SGD, *, narrow=True, accumulate=1):
    options = {"narrowed": narrowing(boxed())} if narrow else {}
    return train_step(OBJECTIVE, optimizer, seed=0, accumulate=accumulate, log_every=1, **options)


def gradient_of(state, after):
    """What the step with a learning rate of 1 has subtracted."""
    return jax.tree.map(lambda a, b: np.asarray(a - b), state.params, after.params)


def test_kernels_are_narrowed_and_norms_biases_and_tables_are_not():
    narrow = leaves(jax.eval_shape(narrowing(boxed()), start().params))
    kinds = {path: leaf.dtype.name for path, leaf in narrow.items()}
    kernels = {path for path, kind in kinds.items() if kind == "bfloat16"}
    assert {kinds[path] for path in kinds.keys() - kernels} == {"float32"}
    ends = {path.split("/")[-1] for path in kinds.keys() - kernels}
    tables = {"embedding", "position_embedding", "type_embedding"}
    assert ends == {"scale", "bias", "output_bias"} | tables
    layer = "backbone/encoder/layers"
    assert {f"{layer}/attention/query/kernel", f"{layer}/mlp/in/kernel"} < kernels
    assert {leaf.dtype.name for leaf in leaves(start().params).values()} == {"float32"}


def test_a_step_is_within_rounding_of_float32s():
    state = start()
    wide, _ = jax.jit(stepper(narrow=False))(state, batch())
    after, metrics = jax.jit(stepper())(state, batch())
    assert {leaf.dtype.name for leaf in leaves(after.params).values()} == {"float32"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(metrics)} == {"float32"}
    found = leaves(gradient_of(state, after))
    gaps = {
        path: deviation(found[path], theirs)
        for path, theirs in leaves(gradient_of(state, wide)).items()
        if "key/bias" not in path  # its gradient is rounding noise
    }
    print("narrow against float32", max(gaps.items(), key=lambda item: item[1]))
    assert 1e-4 < max(gaps.values()) < 2e-2
    # The same gradient by another way: of the rounded weights, in float32, and then rounded.
    rounded = jax.tree.map(
        lambda x, kept: x.astype(kept.dtype).astype(jnp.float32),
        state.params,
        jax.eval_shape(narrowing(boxed()), state.params),
    )
    other, _ = jax.jit(stepper(narrow=False))(state.replace(params=rounded), batch())
    exact = leaves(jax.tree.map(lambda a, b: np.asarray(a - b), rounded, other.params))
    for path, theirs in exact.items():
        room = 2.0**-8 if path.endswith("kernel") else 0.0
        # Subtracting from the weight rounds too.
        assert np.all(np.abs(found[path] - theirs) <= room * np.abs(theirs) + 3e-7), path


def test_gradients_of_microbatches_are_added_in_float32():
    found = {}
    for narrow in (True, False):
        step = stepper(narrow=narrow, accumulate=4)
        traced = jax.make_jaxpr(step)(start(), batch())
        (scan,) = (
            eqn for eqn in traced.eqns if eqn.primitive.name == "scan" and eqn.params["length"] == 4
        )
        fixed, carried = scan.params["num_consts"], scan.params["num_carry"]
        carry = [var.aval for var in scan.invars[fixed : fixed + carried]]
        assert len(carry) > len(jax.tree.leaves(start().params))
        assert {x.dtype.name for x in carry} == {"float32"}
        found[narrow] = {var.aval.dtype.name for var in scan.invars[:fixed]}
    assert "bfloat16" in found[True], "the copy is made once, before the microbatches"
    assert "bfloat16" not in found[False]


def test_a_tiny_learning_rate_moves_the_master_and_would_not_move_a_bfloat16_one():
    rate, steps = 1e-6, 20  # bfloat16's steps are 6e-5 at 0.02, the size of the weights
    settings = OptimizerConfig("adamw", rate, schedule="constant", weight_decay=0.0, clip_norm=0.0)
    optimizer = build(settings, steps, layer_axes(boxed()))
    path = "backbone/encoder/layers/mlp/in/kernel"

    def moved(narrow_master: bool) -> np.ndarray:
        state = start(optimizer)
        if narrow_master:
            state = state.replace(params=optax.tree.cast(state.params, jnp.bfloat16))
        before = np.asarray(leaves(state.params)[path], np.float32)
        step = jax.jit(stepper(optimizer, narrow=not narrow_master))
        for _ in range(steps):
            state, _ = step(state, batch())
        large = np.abs(before) > 2e-3
        return np.abs(np.asarray(leaves(state.params)[path], np.float32) - before)[large]

    master, control = moved(narrow_master=False), moved(narrow_master=True)
    print(f"master {master.mean() / rate:.1f} rates, bfloat16 {np.mean(control > 0):.4f} moved")
    assert master.mean() > 0.5 * steps * rate
    assert np.mean(control > 0) < 0.02


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=[] if family in ("nezha", "t5") else pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_every_family_takes_narrow_kernels(family):
    """Traced only: the loss and gradients of the right dtypes, and a step that keeps its state."""
    config = next(iter(FAMILIES[family].presets.values()))
    shapes, objective = spec_of(family, config, 2, 32, 4), objective_of(family, config)
    of = boxed_parameters(objective, shapes)
    assert all(isinstance(x, nn.Partitioned) for x in jax.tree.leaves(of, is_leaf=_is_box))
    state = jax.eval_shape(lambda: fresh_state(objective, shapes, SGD, seed=0))
    batch = {name: jax.ShapeDtypeStruct(*form) for name, form in shapes.items()}
    step = train_step(objective, SGD, seed=0, accumulate=2, log_every=1, narrowed=narrowing(of))
    with on_mesh(make_mesh(MeshConfig(), jax.devices()[:1])):
        after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    assert {x.dtype.name for x in jax.tree.leaves(metrics)} == {"float32"}


def _is_box(leaf):
    return isinstance(leaf, nn.Partitioned)
