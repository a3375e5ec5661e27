"""Adafactor's arithmetic as optax transformations; `optimizers` puts them together.

Shazeer & Stern 2018 (arXiv 1804.04235), as T5 was trained: mesh_tensorflow/optimize.py. Optax has
the same for an array that is one matrix (`scale_by_factored_rms`, `clip_by_block_rms`,
`scale_by_param_block_rms`). Here an array may stack layers, each of which is a matrix of its own,
and may have heads and their width as two axes, which are one axis of the matrix.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from plmjax.train.adam import map_layers, within_layers

_EPSILON = 1e-30
"""Added to squared gradients."""
_POWER = 0.8
"""The second moments decay by 1 - t**-_POWER in update t = 1, 2, ..."""
_LARGEST_RMS = 1.0
"""Of an update, before it is scaled."""
_SMALLEST_SCALE = 1e-3
"""Of a parameter, so that what begins at zero leaves it."""


def scale_by_factored_rms(matrix_axes: Any, min_size: int) -> optax.GradientTransformation:
    """The gradient over the root of its second moments, which a matrix has by row and by column.

    The state is optax.FactoredState. A statistic has its parameter's shape with 1 for the axes that
    it is a mean over, so that it lies on the mesh as the parameter does; optax.MaskedNode stands
    where a parameter has no such statistic. Layers that an array stacks have their own.

    Args:
      matrix_axes: as in `optimizers.build`.
      min_size: see `factored_axes`.
    """
    by_path = dict(jax.tree_util.tree_leaves_with_path(matrix_axes, is_leaf=_is_tuple))

    def init(params: Any) -> optax.FactoredState:
        # Over `params` alone: to find parameters in its state, optax gives it a tree without any.
        zeros = jax.tree_util.tree_map_with_path(
            lambda path, p: _zeros(p, factored_axes(p.shape, by_path[path], min_size)), params
        )
        return optax.FactoredState(jnp.zeros((), jnp.int32), *_transposed(params, zeros, 3))

    def update(grads: Any, state: optax.FactoredState, params: Any = None) -> Any:
        del params
        count = optax.safe_increment(state.count)
        weight = count.astype(jnp.float32) ** -_POWER

        def step(groups, grad, *statistics):
            return _scaled(grad, statistics, factored_axes(grad.shape, groups, min_size), weight)

        stepped = map_layers(step, matrix_axes, grads, state.v_row, state.v_col, state.v)
        updates, *statistics = _transposed(grads, stepped, 4)
        return updates, optax.FactoredState(count, *statistics)

    return optax.GradientTransformation(init, update)


def factored_axes(
    shape: tuple[int, ...], groups: tuple[tuple[int, ...], ...], min_size: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The rows' and the columns' axes of an array whose second moments are factored.

    Args:
      shape: of the array.
      groups: its axes, each group of them one axis of a matrix; those of layers are in none.
      min_size: the smallest size of both axes of a matrix that is worth it.

    Returns:
      The two largest groups, the larger first; None if the second of them is below `min_size`.
    """
    sizes = {axes: math.prod(shape[axis] for axis in axes) for axes in groups}
    largest = sorted(groups, key=lambda axes: -sizes[axes])[:2]
    if len(largest) < 2 or sizes[largest[1]] < min_size:
        return None
    return largest[0], largest[1]


def clip_by_layer_rms(layer_axes: Any) -> optax.GradientTransformation:
    """Divides a layer's update by its root mean square where that is above 1."""

    def clip(axes, update):
        return update / jnp.maximum(1.0, _rms(update, axes) / _LARGEST_RMS)

    return optax.stateless(lambda updates, params: map_layers(clip, layer_axes, updates))


def scale_by_parameter_rms(layer_axes: Any) -> optax.GradientTransformation:
    """Multiplies a layer's update by the root mean square of its weights, at least 1e-3."""

    def scale(axes, update, param):
        return update * jnp.maximum(_rms(param, axes), _SMALLEST_SCALE)

    return optax.stateless(lambda updates, params: map_layers(scale, layer_axes, updates, params))


def _zeros(param: jax.Array, factored: Any) -> tuple[Any, Any, Any]:
    """The statistics of a parameter before its first update: of rows, of columns, of elements."""
    if factored is None:
        return optax.MaskedNode(), optax.MaskedNode(), jnp.zeros_like(param)
    rows, columns = factored
    by_row, by_column = (
        jnp.zeros([1 if axis in axes else size for axis, size in enumerate(param.shape)])
        for axes in (columns, rows)
    )
    return by_row, by_column, optax.MaskedNode()


def _scaled(
    grad: jax.Array, statistics: tuple[Any, Any, Any], factored: Any, weight: jax.Array
) -> tuple[jax.Array, Any, Any, Any]:
    """The scaled gradient, and its statistics with this gradient at `weight` in them."""
    by_row, by_column, of_element = statistics
    squared = jnp.square(grad) + _EPSILON
    if factored is None:
        of_element = (1 - weight) * of_element + weight * squared
        return grad * jax.lax.rsqrt(of_element), by_row, by_column, of_element
    rows, columns = factored
    by_row = (1 - weight) * by_row + weight * squared.mean(columns, keepdims=True)
    by_column = (1 - weight) * by_column + weight * squared.mean(rows, keepdims=True)
    # Not the root of by_row over its mean, which underflows for a row without gradients.
    mean = jnp.sqrt(by_row.mean(rows, keepdims=True))
    scaled = grad * (jax.lax.rsqrt(by_row) * mean) * jax.lax.rsqrt(by_column)
    return scaled, by_row, by_column, of_element


def _transposed(like: Any, tree: Any, count: int) -> list[Any]:
    """From a tree of tuples at the leaves of `like` to a tuple of trees."""
    return [jax.tree.map(lambda _, leaf, i=i: leaf[i], like, tree) for i in range(count)]


def _rms(array: jax.Array, layer_axes: tuple[int, ...]) -> jax.Array:
    """The root mean square of each layer, with size 1 on the axes averaged over."""
    axes = within_layers(array, layer_axes)
    return jnp.sqrt(jnp.mean(jnp.square(array), axis=axes, keepdims=True))


def _is_tuple(leaf: Any) -> bool:
    return isinstance(leaf, tuple)
