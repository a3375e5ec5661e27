"""Where the mesh has queries, keys and values while attention is computed.

Outside of attention every device has a part of each row (LENGTH) and some heads (HEADS).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from plmjax.parallel.rules import BATCH, HEAD_WIDTH, HEADS, LENGTH, constrain, layout, ways

SEQUENCE_ATTENTIONS = ("all_to_all", "ring", "gather")
"""What is done about rows that the mesh splits."""


def split_rows() -> PartitionSpec:
    """The layout of [B, L, H, K] with rows split as they are outside of attention."""
    batch, length, heads, _ = layout(BATCH, LENGTH, HEADS, HEAD_WIDTH)
    return PartitionSpec(batch or None, length or None, heads or None)


def whole_rows() -> PartitionSpec:
    """The layout of [B, L, H, K] with whole rows: the axes that split them split heads instead."""
    batch, length, heads, _ = layout(BATCH, LENGTH, HEADS, HEAD_WIDTH)
    return PartitionSpec(batch or None, None, (*heads, *length) or None)


def gathered_rows() -> PartitionSpec:
    """The layout of [B, L, H, K] with whole rows on every device that had a part of them."""
    batch, _, heads, _ = layout(BATCH, LENGTH, HEADS, HEAD_WIDTH)
    return PartitionSpec(batch or None, None, heads or None)


def ready(
    way: str, query_BLHK: jax.Array, key_BMHK: jax.Array, value_BMHK: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values, laid out as a way of SEQUENCE_ATTENTIONS has them.

    `all_to_all` (DeepSpeed-Ulysses, Jacobs et al. 2023) moves the split from the row to the heads,
    after which every kind of attention is computed as on one device. `gather` leaves the queries
    where they are and gives all keys and values to everybody. `ring` moves nothing yet.
    """
    if ways(LENGTH) == 1 or way == "ring":
        return query_BLHK, key_BMHK, value_BMHK
    moved = jax.lax.with_sharding_constraint
    if way == "gather":
        keys = gathered_rows()
        return query_BLHK, moved(key_BMHK, keys), moved(value_BMHK, keys)
    rows = whole_rows()
    return moved(query_BLHK, rows), moved(key_BMHK, rows), moved(value_BMHK, rows)


def back(mixed_BLHK: jax.Array) -> jax.Array:
    """What attention has made, laid out as the queries were before `ready`.

    Its gradient too: left to itself, XLA splits it as the residual and moves kernels instead.
    """
    return constrain(mixed_BLHK, BATCH, LENGTH, HEADS, HEAD_WIDTH)


def on_each_device(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """`function` of what each device has, in `jax.shard_map`; itself where there is one device.

    What is not jax.numpy, such as a Pallas kernel, cannot be partitioned otherwise. All axes of the
    mesh are manual in it, those of a `shard_map` around it already are.
    """
    mesh = jax.sharding.get_abstract_mesh()
    free = frozenset(mesh.axis_names) - frozenset(mesh.manual_axes)
    if math.prod(mesh.shape[axis] for axis in free) == 1:
        return function
    return jax.shard_map(
        function, in_specs=in_specs, out_specs=out_specs, axis_names=free, check_vma=False
    )
