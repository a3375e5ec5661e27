"""The one train loop."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np

from plmjax.train.hooks import Event, Hook
from plmjax.train.state import TrainState
from plmjax.types import Batch

RUN_AHEAD = 2
"""How many steps may be dispatched and not finished; bounds memory and the wait for a save."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a run in which the shape of the batch does not change.

    first, last: the phase makes the updates from `first` to `last` updates done.
    step: the jitted train step for this shape.
    batches: of two counts of the run's updates, the host batches between them.
    tokens: positions of a global batch, padding included.
    """

    name: str
    first: int
    last: int
    step: Callable
    batches: Callable[[int, int], Iterable[Mapping[str, np.ndarray]]]
    tokens: int


def train(
    state: TrainState,
    phases: Sequence[Phase],
    hooks: Sequence[Hook],
    place: Callable[[Mapping[str, np.ndarray]], Batch],
) -> TrainState:
    """Makes the updates that `state` lacks.

    The loop never waits for the step it has just dispatched, and nothing moves between host and
    device but what `place` puts there.

    Args:
      state: where to begin; it is given up.
      phases: in order, covering the run.
      hooks: called in order after each dispatch; they may raise to end the run.
      place: puts a host batch on the devices.

    Returns:
      The state after the last phase.
    """
    done = int(jax.device_get(state.step))
    in_flight = collections.deque()
    for phase in phases:
        if done >= phase.last:
            continue
        batches = phase.batches(done, phase.last)
        for batch in map(place, batches):
            with jax.transfer_guard("disallow"):
                state, metrics = phase.step(state, batch)
            done += 1
            for hook in hooks:
                hook.after_step(Event(done, state, metrics, phase.tokens))
            in_flight.append(metrics)
            if len(in_flight) > RUN_AHEAD:
                jax.block_until_ready(in_flight.popleft())
    for hook in hooks:
        hook.finish()
    return state
