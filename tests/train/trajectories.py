"""Small models without layers of Flax, and what an optimizer makes of them step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from plmjax.train.optimizers import build

STEPS, LAYERS = 50, 3


def nested(flat):
    """{"a/b": x} as {"a": {"b": x}}, as Flax has it."""
    tree = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def flattened(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return {jax.tree_util.keystr(k, simple=True, separator="/"): leaf for k, leaf in leaves}


def unstacked(params):
    return jax.tree.map(lambda _: (), params)


def each_axis(params, axes):
    """Every axis that stacks no layers as an axis of a matrix."""

    def alone(layers, param):
        return tuple((axis,) for axis in range(np.ndim(param)) if axis not in layers)

    return jax.tree.map(alone, axes, params, is_leaf=lambda leaf: isinstance(leaf, tuple))


def trajectory(config, params, grads_at, axes, steps=STEPS, matrix_axes=None):
    """The parameters after each of `steps` updates with plmjax's optimizer."""
    optimizer = build(config, steps, axes, matrix_axes or each_axis(params, axes))

    @jax.jit
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)
    for t in range(steps):
        params, state = step(params, state, grads_at(t))
        yield jax.tree.map(np.asarray, params)


def deviation(ours, theirs):
    """The largest error of any element of any leaf, relative to the leaf's largest element."""
    ours, theirs = flattened(ours), flattened(theirs)
    assert ours.keys() == theirs.keys()
    return max(
        np.abs(np.asarray(ours[name], np.float64) - theirs[name]).max()
        / max(np.abs(theirs[name]).max(), 1e-30)
        for name in ours
    )


def stack():
    """A scanned stack beside an embedding, and its layers' sizes a thousandfold apart."""
    rng = np.random.default_rng(2)
    sizes = 10.0 ** np.arange(LAYERS) / 10

    def leaf(*shape):
        values = rng.normal(0, 1, (LAYERS, *shape))
        return (values * sizes.reshape(-1, *[1] * len(shape))).astype(np.float32)

    layers = {
        "query": {"kernel": leaf(6, 2, 3), "bias": leaf(2, 3)},
        "norm": {"scale": leaf(6), "bias": leaf(6)},
        "gate": leaf() + 20,
    }
    return {"layers": layers, "table": rng.normal(0, 1, (9, 6)).astype(np.float32)}


def stack_gradients(params, step):
    rng = np.random.default_rng([3, step])
    return jax.tree.map(lambda w: rng.normal(0, 1, w.shape).astype(np.float32), params)


def unrolled(params):
    """The same without a scan: layers/0, layers/1, ..."""
    layers = {str(i): jax.tree.map(lambda w, i=i: w[i], params["layers"]) for i in range(LAYERS)}
    return {**params, "layers": layers}


def stack_axes(params):
    return {"layers": jax.tree.map(lambda _: (0,), params["layers"]), "table": ()}
