"""Pipeline parallelism: stages of layers, through which microbatches pass.

The schedule is GPipe's (Huang et al. 2019, https://arxiv.org/abs/1811.06965). With P stages and M
microbatches it takes M + P - 1 ticks; in each, every stage runs its layers on one microbatch and
hands it on. A stage has nothing to do in P - 1 of the ticks, the bubble, which so costs
(P - 1) / (M + P - 1) of the layers' time: a fifth with M = 4 P. The backward pass is the same
schedule from its end, as autodiff makes it, and the activations that are kept for it are those of
all microbatches, for the stage's own layers.

With fsdp beside it, a layer's weights are gathered, and their gradients scattered, once a
microbatch: split weights by the pipeline and tensor first. Copies (data, slice) cost no more than
without stages.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from plmjax.errors import UserError
from plmjax.parallel.rules import (
    BATCH,
    LAYERS,
    current_microbatches,
    current_rules,
    without_axes,
)

AXIS = "pipeline"


def stage_count(sizes: Mapping[str, int], rules: tuple) -> int:
    """Into how many stages a mesh with axes of these sizes cuts layers; 1 for none."""
    return sizes.get(AXIS, 1) if AXIS in (dict(rules)[LAYERS] or ()) else 1


def stages() -> int:
    """`stage_count` of the current mesh and rules; 1 without a mesh."""
    return stage_count(jax.sharding.get_abstract_mesh().shape, current_rules())


def row_shards(sizes: Mapping[str, int], rules: tuple) -> int:
    """Into how many parts a mesh cuts the rows that pass through its stages."""
    return math.prod(sizes.get(axis, 1) for axis in _row_axes(rules))


def microbatch_count(rows: int, shards: int, stages: int, asked: int) -> int:
    """How many microbatches a batch is cut into.

    Args:
      rows: of the batch.
      shards: as of `row_shards`.
      stages: P.
      asked: `config.mesh.microbatches`.

    Raises:
      UserError: if the rows are not divisible by that.
    """
    each, rest = divmod(rows, shards)
    if rest:
        raise UserError(
            f"{rows} rows do not divide among the {shards} batch shards that pass through the"
            f" stages of config.mesh.pipeline={stages}; give a batch size that {shards} divides"
        )
    divisors = [count for count in range(1, each + 1) if each % count == 0]
    if asked and asked not in divisors:
        raise UserError(
            f"config.mesh.microbatches={asked} does not divide {rows} rows in {shards} batch shards"
            f" for config.mesh.pipeline={stages}; set it to one of"
            f" {', '.join(map(str, divisors))}, or to 0 to choose one"
        )
    return asked or max(count for count in divisors if count <= 4 * stages)


def microbatches(rows: Any, count: int) -> Any:
    """Cuts arrays [B, ...] into [count, B / count, ...]: microbatch i has rows i, i + count, ...

    Strided, so that each device keeps the rows it has.
    """
    return jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 1, 0), rows
    )


def joined(parts: Any) -> Any:
    """The inverse of `microbatches`: arrays [count, B / count, ...] as [B, ...]."""
    return jax.tree.map(
        lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:]), parts
    )


def through_stages(
    run: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
    layers: Any,
    shared: Any,
    x: Any,
    rows: Any,
) -> tuple[Any, Any]:
    """Runs layers in stages, each on its devices.

    The region is manual over the pipeline, and over axes that split the batch and nothing else: so
    gradients of parameters are summed over copies of the model once, and not in every tick. All
    other axes are left to the partitioner, as outside.

    Args:
      run: what a stage does: from its part of `layers`, from `shared`, and from a microbatch of `x`
        and of `rows` to the next x and to outputs [n, B / M, ...] of its n layers, or None.
      layers: arrays [N, ...], of which every stage gets N / P.
      shared: arrays that all layers see.
      x: float arrays [B, ...], what passes from layer to layer.
      rows: arrays [B, ...], what layers see beside it.

    Returns:
      The last stage's x, and the outputs [N, B, ...] of all layers.

    Raises:
      UserError: if the batch cannot be cut.
    """
    rules, sizes = current_rules(), jax.sharding.get_abstract_mesh().shape
    copies, P = _copy_axes(rules), stage_count(sizes, rules)
    size = len(jax.tree.leaves(x)[0])
    M = microbatch_count(size, row_shards(sizes, rules), P, current_microbatches())
    manual = (AXIS, *copies)

    def of_device(stage_1: jax.Array, layers: Any, shared: Any, x: Any, rows: Any) -> Any:
        shared, x, rows = jax.tree.map(lambda copy: copy[0], (shared, x, rows))
        with without_axes(manual):
            return _ticks(run, stage_1[0], P, layers, shared, x, rows)

    parts = microbatches(_split((x, rows), _row_axes(rules)), M)
    # Copied here and not by the specs, whose backward pass would sum bfloat16 by a psum that XLA on
    # CPU cannot do in such a region. Each device holds one copy either way.
    x_PM, rows_PM = _copied(parts, P)
    everywhere = math.prod(sizes[axis] for axis in manual)
    of_rows = PartitionSpec(AXIS, None, copies or None)
    x_PM, outputs_NM = jax.shard_map(
        of_device,
        in_specs=(
            PartitionSpec(AXIS),
            PartitionSpec(AXIS),
            PartitionSpec(manual),
            of_rows,
            of_rows,
        ),
        out_specs=of_rows,
        axis_names=set(manual),
        check_vma=False,
    )(jnp.arange(P), layers, _copied(shared, everywhere), x_PM, rows_PM)
    # The last stage has what comes out and the others zeros: no sum rounds.
    x_M = jax.tree.map(lambda x: jax.lax.reduce_sum(x, (0,)), x_PM)
    return _split(_joined(x_M, 0), dict(rules)[BATCH]), _joined(outputs_NM, 1)


def _ticks(run: Callable, stage: jax.Array, P: int, layers: Any, shared: Any, x: Any, rows: Any):
    """What one stage does: its part of the result, [1, M, ...], and its outputs [n, M, ...]."""
    M = len(jax.tree.leaves(x)[0])
    arriving_T = jax.tree.map(lambda parts: _aligned(parts, stage, P), (x, rows))

    def tick(handed: Any, arriving: tuple[Any, Any]) -> tuple[Any, Any]:
        fresh, rows = arriving
        x = jax.tree.map(lambda a, b: jnp.where(stage == 0, a, b), fresh, handed)
        x, outputs = run(layers, shared, x, rows)
        onward = [(number, number + 1) for number in range(P - 1)]
        return jax.lax.ppermute(x, AXIS, onward), (x, outputs)

    # In the bubble, stages compute on rows that are real, whatever their layers make of zeros.
    first = jax.tree.map(lambda parts: parts[0], x)
    _, (x_T, outputs_T) = jax.lax.scan(tick, first, arriving_T)

    def of_last(x_T: jax.Array) -> jax.Array:
        return jnp.where(stage == P - 1, x_T[P - 1 :], jnp.zeros((), x_T.dtype))[None]

    def of_stage(outputs_T: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(outputs_T, stage, M).swapaxes(0, 1)

    return jax.tree.map(of_last, x_T), jax.tree.map(of_stage, outputs_T)


def _aligned(parts: jax.Array, stage: jax.Array, P: int) -> jax.Array:
    """Which microbatch [M, ...] a stage sees in each tick: [M + P - 1, ...]; in the bubble before
    its first that, and after its last that."""
    M = len(parts)
    before, after = (jnp.repeat(part, P - 1, axis=0) for part in (parts[:1], parts[-1:]))
    padded = jnp.concatenate([before, parts, after])
    return jax.lax.dynamic_slice_in_dim(padded, P - 1 - stage, M + P - 1)


def _row_axes(rules: tuple) -> tuple[str, ...]:
    return tuple(axis for axis in dict(rules)[BATCH] or () if axis != AXIS)


def _copy_axes(rules: tuple) -> tuple[str, ...]:
    """Axes that split the batch and nothing else."""
    others = {axis for name, axes in rules if name != BATCH for axis in axes or ()}
    return tuple(axis for axis in _row_axes(rules) if axis not in others)


def _split(rows: Any, axes: tuple[str, ...] | None) -> Any:
    """Asks for the rows of arrays [B, ...] to be split by these axes and no others."""

    def split(x: jax.Array) -> jax.Array:
        open_axes = [PartitionSpec.UNCONSTRAINED] * (x.ndim - 1)
        return jax.lax.with_sharding_constraint(x, PartitionSpec(axes or None, *open_axes))

    return jax.tree.map(split, rows)


def _copied(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), tree)


def _joined(parts: Any, axis: int) -> Any:
    """Arrays [..., M, B / M, ...] back to [..., B, ...]; M is at `axis`."""

    def joined(x: jax.Array) -> jax.Array:
        x = x.swapaxes(axis, axis + 1)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    return jax.tree.map(joined, parts)
