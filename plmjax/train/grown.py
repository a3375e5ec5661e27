"""Parameters of a run whose vocabulary has fewer entries than this run's."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from plmjax.parallel.rules import VOCAB


def as_stored(like: Any, boxed: Any, size: int, multiple: int) -> Any:
    """The tree `like` with the shapes that another vocabulary gives it.

    Args:
      like: parameters, ShapeDtypeStructs with shardings.
      boxed: the same with the logical names of their axes.
      size: entries of the other vocabulary.
      multiple: what its padding fills it up to.
    """
    rows = -(-size // multiple) * multiple

    def changed(x: jax.ShapeDtypeStruct, axis: int) -> jax.ShapeDtypeStruct:
        if axis < 0:
            return x
        shape = (*x.shape[:axis], rows, *x.shape[axis + 1 :])
        return jax.ShapeDtypeStruct(shape, x.dtype, sharding=x.sharding)

    return jax.tree.map(changed, like, _vocabulary_axes(boxed))


def grown(known: Any, fresh: Any, boxed: Any, size: int) -> Any:
    """Known parameters with as many entries as `fresh`, whose entries follow the first `size`.

    Args:
      known: of the other run, shaped as by `as_stored`.
      fresh: of this run, on its devices.
      boxed: this run's shapes with the logical names of their axes; all three of one structure.
      size: entries of the other vocabulary.
    """

    def joined(known: jax.Array, fresh: jax.Array, axis: int) -> jax.Array:
        if axis < 0:
            return known
        first = jax.lax.slice_in_dim(known, 0, size, axis=axis)
        rest = jax.lax.slice_in_dim(fresh, size, None, axis=axis)
        return jnp.concatenate([first, rest], axis)

    axes = _vocabulary_axes(boxed)
    shardings = jax.tree.map(lambda x: x.sharding, fresh)
    made = jax.jit(lambda a, b: jax.tree.map(joined, a, b, axes), out_shardings=shardings)
    return made(known, fresh)


def _vocabulary_axes(boxed: Any) -> Any:
    """Which axis of each parameter counts the vocabulary's entries; -1 for none."""

    def axis(spec: PartitionSpec) -> int:
        names = tuple(spec)
        return names.index(VOCAB) if VOCAB in names else -1

    specs = nn.get_partition_spec(boxed)
    return jax.tree.map(axis, specs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
