"""What an objective hands on from one step to the next beside parameters: a memory, say.

An objective that does has a method `carried(rows)`: the collections that a call on a batch of so
many rows reads and leaves changed, as they are before the first step. Their arrays are boxed with
logical names of axes, of which one is BATCH: a step's row b sees what row b of the step before has
left. They are no parameters: no gradient goes through them, and a checkpoint has them.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.parallel.rules import BATCH
from plmjax.types import Batch, Loss, Spec, Train


def boxed_carried(objective: nn.Module, rows: int) -> Any:
    """Shapes of what is handed on, each with the logical names of its axes; {} for nothing."""
    return jax.eval_shape(lambda: _carried(objective, rows))


def fresh_carried(objective: nn.Module, spec: Spec) -> Any:
    """What is handed to the first step, for batches of `spec`; {} for nothing."""
    return nn.meta.unbox(_carried(objective, rows_of(spec)))


def rows_of(spec: Spec) -> int:
    """The rows of a batch."""
    return next(iter(spec.values()))[0][0]


def _carried(objective: nn.Module, rows: int) -> Any:
    # Most objectives hand nothing on, and need not say so.
    make = getattr(objective, "carried", None)
    return make(rows) if make else {}


def applied(
    objective: nn.Module, params: Any, carried: Any, batch: Batch, train: Train, rngs: dict
) -> tuple[Loss, Any]:
    """The loss of a batch, and what is handed on to the next.

    Args:
      objective, params: the model.
      carried: what the batch before has left; {} for nothing, which is then handed on.
      batch, train, rngs: as of a call of the objective.
    """
    variables = {"params": params, **carried}
    if not carried:
        return objective.apply(variables, batch, train=train, rngs=rngs), {}
    return objective.apply(variables, batch, train=train, rngs=rngs, mutable=list(carried))


def row_axes(objective: nn.Module) -> Any:
    """Which axis of each array runs over rows: a tree of int."""
    specs = nn.get_partition_spec(boxed_carried(objective, 1))
    return jax.tree.map(
        lambda spec: tuple(spec).index(BATCH),
        specs,
        is_leaf=lambda leaf: not isinstance(leaf, dict),
    )


def rows_first(carried: Any, axes: Any) -> Any:
    """The arrays with their rows on axis 0, as a batch has them; `axes` as of `row_axes`."""
    return jax.tree.map(lambda x, axis: jnp.moveaxis(x, axis, 0), carried, axes)


def rows_back(carried: Any, axes: Any) -> Any:
    """The inverse of `rows_first`."""
    return jax.tree.map(lambda x, axis: jnp.moveaxis(x, 0, axis), carried, axes)


def handing_on(
    step: Callable[[Any, Batch, Any], tuple[Loss, Any]], carried: Any
) -> Callable[[Any, Batch], Loss]:
    """`step` for one pass over batches in their order, each of which gets what the last has left.

    Args:
      step: as of `plmjax.train.step.evaluation_step`.
      carried: what the first batch gets.
    """

    def call(params: Any, batch: Batch) -> Loss:
        nonlocal carried
        loss, carried = step(params, batch, carried)
        return loss

    return call
