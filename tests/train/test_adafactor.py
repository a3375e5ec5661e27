"""Adafactor against its published arithmetic in float64, transformers' and optax's.

Run with -s to see the worst deviations.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.models.bert import Bert, Config
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.parallel.rules import matrix_axes
from plmjax.train.adafactor import factored_axes
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import boxed_parameters
from tests.batches import bert_batch, spec
from tests.requires import need
from tests.train.trajectories import (
    STEPS,
    deviation,
    each_axis,
    flattened,
    nested,
    stack,
    stack_axes,
    stack_gradients,
    trajectory,
    unrolled,
    unstacked,
)

RATE, SMALLEST = 1e-2, 3
KERNELS = {
    "dense/kernel": ((7, 5), ((0,), (1,))),
    "query/kernel": ((6, 2, 3), ((0,), (1, 2))),
    "output/kernel": ((2, 3, 7), ((0, 1), (2,))),
    "square/kernel": ((5, 5), ((0,), (1,))),
    "thin/kernel": ((9, 2), ((0,), (1,))),
    "zero/kernel": ((3, 5), ((0,), (1,))),
    "unused/kernel": ((4, 5), ((0,), (1,))),
}
VECTORS = {
    "query/bias": ((2, 3), ((0, 1),)),
    "norm/scale": ((5,), ((0,),)),
}
SHAPES = KERNELS | VECTORS


def weights(shapes):
    """Some large, one of zeros: the scale of parameters has a least value."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** (np.arange(len(shapes)) - 3)
    flat = {
        name: rng.normal(0, size, shape).astype(np.float32)
        for size, (name, (shape, _)) in zip(sizes, shapes.items(), strict=True)
    }
    flat["zero/kernel"] *= 0
    return flat


def gradients(shapes, step):
    """Of many sizes, some of them suddenly large, so that updates are clipped; one always 0."""
    rng = np.random.default_rng([1, step])
    grads = {}
    for index, (name, (shape, _)) in enumerate(shapes.items()):
        size = 10.0 ** (index - 4) * (30.0 if step % 7 == 3 else 1.0)
        rows = 10.0 ** rng.integers(-2, 2, (shape[0], *[1] * (len(shape) - 1)))
        grads[name] = (rng.normal(0, size, shape) * rows).astype(np.float32)
    grads["unused/kernel"] *= 0
    return grads


def as_matrix(array, groups):
    return array.reshape([math.prod(array.shape[axis] for axis in axes) for axes in groups])


def published(shapes, momentum=0.0, decay=0.0):
    """mesh_tensorflow/optimize.py in float64, on matrices; yields the weights after each update."""
    w = {name: as_matrix(x, shapes[name][1]) for name, x in weights(shapes).items()}
    w = {name: x.astype(np.float64) for name, x in w.items()}
    vr, vc, v, m = ({name: 0.0 for name in shapes} for _ in range(4))
    for t in range(STEPS):
        beta = 1 - (t + 1) ** -0.8
        for name, grad in gradients(shapes, t).items():
            g = as_matrix(grad.astype(np.float64), shapes[name][1])
            squared = g**2 + 1e-30
            if g.ndim == 2 and min(g.shape) >= SMALLEST:
                vr[name] = beta * vr[name] + (1 - beta) * squared.mean(1)
                vc[name] = beta * vc[name] + (1 - beta) * squared.mean(0)
                estimate = np.outer(vr[name] / vr[name].mean(), vc[name])
            else:
                v[name] = beta * v[name] + (1 - beta) * squared
                estimate = v[name]
            x = g / np.sqrt(estimate)
            x = x / max(1.0, rms(x))
            x = x * max(rms(w[name]), 1e-3) * RATE
            if momentum:
                m[name] = momentum * m[name] + (1 - momentum) * x
                x = m[name]
            w[name] = w[name] - x - RATE * decay * w[name]
        yield {name: x.reshape(shapes[name][0]) for name, x in w.items()}


def rms(x):
    return np.sqrt(np.mean(x**2))


def ours(shapes, steps=STEPS, **settings):
    params = nested(weights(shapes))
    settings = {"clip_norm": 0.0, "weight_decay": 0.0, **settings}
    return trajectory(
        OptimizerConfig("adafactor", RATE, schedule="constant", **settings),
        params,
        lambda t: nested(gradients(shapes, t)),
        unstacked(params),
        steps=steps,
        matrix_axes=nested({name: groups for name, (_, groups) in shapes.items()}),
    )


@pytest.mark.parametrize(
    ("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.1), (0.9, 0.1)], ids=str
)
def test_equals_the_published_arithmetic_at_every_step(momentum, decay):
    settings = {"momentum": momentum, "weight_decay": decay, "min_dim_size_to_factor": SMALLEST}
    pairs = zip(ours(SHAPES, **settings), published(SHAPES, momentum, decay), strict=True)
    worst = max(deviation(mine, nested(theirs)) for mine, theirs in pairs)
    print(f"momentum {momentum}, decay {decay}: worst deviation over {STEPS} steps {worst:.1e}")
    assert worst < 3e-6


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_is_transformers_adafactor(momentum):
    """Which has the kernels of heads as matrices, as T5's authors had, and factors all of them."""
    torch = need("torch", "-r requirements-ci.txt")
    need("transformers", "-r requirements-ci.txt")
    from transformers.optimization import Adafactor

    flat = {name: as_matrix(x, SHAPES[name][1]) for name, x in weights(SHAPES).items()}
    theirs = {name: torch.nn.Parameter(torch.tensor(w)) for name, w in flat.items()}
    peer = Adafactor(
        theirs.values(),
        lr=RATE,
        scale_parameter=True,
        relative_step=False,
        beta1=momentum or None,
    )
    worst = 0.0
    for t, mine in enumerate(ours(SHAPES, momentum=momentum, min_dim_size_to_factor=1)):
        for name, grad in gradients(SHAPES, t).items():
            theirs[name].grad = torch.tensor(as_matrix(grad, SHAPES[name][1]))
        peer.step()
        now = {n: w.detach().numpy().reshape(SHAPES[n][0]) for n, w in theirs.items()}
        worst = max(worst, deviation(mine, nested(now)))
    print(f"momentum {momentum}: worst deviation from transformers over {STEPS} steps {worst:.1e}")
    assert worst < 1e-5


def test_is_optax_adafactor_where_nothing_is_stacked_and_nothing_is_joined():
    """Of three axes the largest two are factored, for each index of the third."""
    alone = {n: tuple((axis,) for axis in range(len(shape))) for n, (shape, _) in SHAPES.items()}
    shapes = {name: (shape, alone[name]) for name, (shape, _) in SHAPES.items()}
    peer = optax.adafactor(RATE, SMALLEST, momentum=0.9)
    theirs = jax.tree.map(jnp.asarray, nested(weights(shapes)))
    state = peer.init(theirs)
    mine = ours(shapes, momentum=0.9, min_dim_size_to_factor=SMALLEST)
    for t, after in enumerate(mine):
        updates, state = peer.update(nested(gradients(shapes, t)), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        assert deviation(after, jax.tree.map(np.asarray, theirs)) < 3e-6


@pytest.mark.parametrize(
    ("shape", "groups", "smallest", "expected"),
    [
        ((1024, 4096), ((0,), (1,)), 128, ((1,), (0,))),
        ((1024, 16, 64), ((0,), (1, 2)), 128, ((0,), (1, 2))),
        ((128, 128, 1024), ((0, 1), (2,)), 128, ((0, 1), (2,))),
        ((24, 1024, 16, 64), ((1,), (2, 3)), 128, ((1,), (2, 3))),
        ((24, 1024), ((1,),), 2, None),
        ((32, 12), ((0,), (1,)), 128, None),
        ((32, 12), ((0,), (1,)), 12, ((0,), (1,))),
        ((4, 9, 5), ((0,), (1,), (2,)), 5, ((1,), (2,))),
        ((7,), (), 1, None),
    ],
)
def test_which_axes_are_factored(shape, groups, smallest, expected):
    assert factored_axes(shape, groups, smallest) == expected


def joined(axes):
    """The axes of `stack` with those of its query's heads as one."""
    axes["layers"]["query"] = {"kernel": ((1,), (2, 3)), "bias": ((1, 2),)}
    return axes


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_scanned_stack_steps_as_separate_layers_do(momentum):
    """Factored, with heads, and layers whose sizes are a thousandfold apart."""
    params = stack()
    separate = unrolled(params)
    config = OptimizerConfig(
        "adafactor", RATE, clip_norm=0.0, momentum=momentum, min_dim_size_to_factor=2
    )
    stacked = joined(each_axis(params, stack_axes(params)))
    one = jax.tree.map(
        lambda groups: tuple(tuple(axis - 1 for axis in axes) for axes in groups),
        stacked["layers"],
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    apart = {"layers": {key: one for key in separate["layers"]}, "table": stacked["table"]}
    scanned = trajectory(
        *(config, params, lambda t: stack_gradients(params, t), stack_axes(params)),
        matrix_axes=stacked,
    )
    listed = trajectory(
        *(config, separate, lambda t: unrolled(stack_gradients(params, t)), unstacked(separate)),
        matrix_axes=apart,
    )
    worst = max(deviation(unrolled(a), b) for a, b in zip(scanned, listed, strict=True))
    print(f"momentum {momentum}: scanned and unscanned layers are at most {worst:.1e} apart")
    assert worst <= 1e-6


def test_without_layer_axes_a_scanned_stack_would_step_differently():
    """The control: statistics, clipping or scale over all layers at once are another step."""
    params = stack()
    config = OptimizerConfig("adafactor", RATE, min_dim_size_to_factor=2)
    right = each_axis(params, stack_axes(params))
    over_layers = each_axis(params, unstacked(params))
    ends = [
        list(
            trajectory(
                *(config, params, lambda t: stack_gradients(params, t), axes),
                steps=5,
                matrix_axes=matrices,
            )
        )[-1]
        for axes, matrices in (
            (stack_axes(params), right),
            (unstacked(params), right),
            (stack_axes(params), over_layers),
        )
    ]
    assert deviation(ends[1], ends[0]) > 1e-2
    assert deviation(ends[2], ends[0]) > 1e-3


def test_the_state_is_rows_and_columns_that_are_marked_as_of_parameters():
    params = jax.tree.map(jnp.asarray, nested(weights(SHAPES)))
    groups = nested({name: groups for name, (_, groups) in SHAPES.items()})
    config = OptimizerConfig("adafactor", RATE, momentum=0.5, min_dim_size_to_factor=SMALLEST)
    optimizer = build(config, STEPS, unstacked(params), groups)
    state = optimizer.init(params)
    rows, columns, whole = (flattened(optax.tree.get(state, f"v{n}")) for n in ("_row", "_col", ""))
    assert rows["query/kernel"].shape == (6, 1, 1)
    assert columns["query/kernel"].shape == (1, 2, 3)
    assert {rows["output/kernel"].shape, columns["output/kernel"].shape} == {(2, 3, 1), (1, 1, 7)}
    whole = {name for name, x in whole.items() if not isinstance(x, optax.MaskedNode)}
    assert whole == {"norm/scale", "query/bias", "thin/kernel"}
    marked = optax.tree_map_params(
        optimizer,
        lambda kept, param: kept if isinstance(kept, optax.MaskedNode) else kept.ndim == param.ndim,
        state,
        params,
        transform_non_params=lambda kept: kept.shape == (),
        is_leaf=lambda kept: isinstance(kept, optax.MaskedNode),
    )
    marks = jax.tree.leaves(marked)
    assert all(marks)
    assert len(marks) == len(jax.tree.leaves(state))


def test_the_axes_of_a_model_are_those_of_its_matrices():
    config = Config(
        vocab_size=64, max_positions=8, num_layers=2, hidden_size=16, num_heads=2, mlp_size=32
    )
    batch = bert_batch(config, 2, 8, 2, 0)
    found = flattened(matrix_axes(boxed_parameters(BertPretraining(Bert(config)), spec(batch))))
    layer = "backbone/encoder/layers"
    assert found[f"{layer}/attention/query/kernel"] == ((1,), (2, 3))
    assert found[f"{layer}/attention/query/bias"] == ((1, 2),)
    assert found[f"{layer}/attention/output/kernel"] == ((1, 2), (3,))
    assert found[f"{layer}/mlp/in/kernel"] == ((1,), (2,))
    assert found[f"{layer}/mlp_norm/scale"] == ((1,),)
    assert found["backbone/token_table/embedding"] == ((0,), (1,))
    assert found["mlm_head/output_bias"] == ((0,),)
