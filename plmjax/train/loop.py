"""The one train loop."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np

from plmjax.errors import UserError
from plmjax.train.hooks import Event, Hook
from plmjax.train.state import TrainState
from plmjax.types import Batch

RUN_AHEAD = 2
"""How many steps may be dispatched and not finished; bounds memory and the wait for a save."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a run.

    first, last: the phase makes the updates from `first` to `last` updates done.
    step: the jitted train step.
    batches: of two counts of the run's updates, the host batches between them.
    """

    name: str
    first: int
    last: int
    step: Callable
    batches: Callable[[int, int], Iterable[Mapping[str, np.ndarray]]]


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

    Raises:
      UserError: where the batches of a phase end before it.
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
                hook.after_step(Event(done, state, metrics, batch["tokens"].size))
            in_flight.append(metrics)
            if len(in_flight) > RUN_AHEAD:
                jax.block_until_ready(in_flight.popleft())
        if done < phase.last:
            raise UserError(
                f"the data of phase '{phase.name}' ended after step {done} of {phase.last}; the"
                " source must not change under a run"
            )
    for hook in hooks:
        hook.finish()
    return state
