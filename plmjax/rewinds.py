"""Going back to a checkpoint, and which batches a run passes over after that.

Batches are a function of the step and of the rewinds until then. `run.json` has the rewinds, each
written before the first update after it, so a run that is killed then, or goes on from whichever
checkpoint on whichever machines, reads the same batches.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from plmjax.data.pipeline import passed_at
from plmjax.errors import UserError
from plmjax.phases import PhasePlan
from plmjax.train.guard import BadUpdate, GuardConfig


@dataclasses.dataclass(frozen=True)
class Rewind:
    """One time that a run went back.

    bad_step: the update for which it did, counted from 1. loss, gradient_norm: what was measured;
      text, since JSON has no NaN.
    back_to: the step of the checkpoint, 0 for the beginning.
    passed: examples that the run has passed over in all, from `back_to` on.
    """

    bad_step: int
    loss: str
    gradient_norm: str
    back_to: int
    passed: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Rewind":
        """From `run.json`."""
        return cls(**record)


def passed_over(rewinds: Sequence[Rewind]) -> tuple[tuple[int, int], ...]:
    """What `Input.passing_over` takes, for a run that went back so often, in order of time.

    A rewind undoes those to later steps, and the last to a step counts.
    """
    table: dict[int, int] = {}
    for rewind in rewinds:
        table = {step: count for step, count in table.items() if step < rewind.back_to}
        table[rewind.back_to] = rewind.passed
    return tuple(sorted(table.items()))


def next_rewind(
    bad: BadUpdate,
    back_to: int,
    phases: Sequence[PhasePlan],
    before: Sequence[Rewind],
    config: GuardConfig,
) -> Rewind:
    """The rewind that a bad update asks for.

    It passes over the batches from `back_to` to the bad one, and `rewind_margin` more of its size.

    Args:
      bad: the update.
      back_to: the step of the last checkpoint, 0 for the beginning.
      phases: of the run.
      before: its rewinds until now.
      config: the policy.

    Raises:
      UserError: if the run went back there `max_rewinds` times since it last saved a checkpoint.
    """
    same = 0
    while same < len(before) and before[-1 - same].back_to == back_to:
        same += 1
    if same >= config.max_rewinds:
        raise UserError(
            f"{bad}; the run went back to step {back_to} {same} times already"
            f" (config.guard.max_rewinds={config.max_rewinds}) and each time found another before"
            " the next checkpoint; lower config.optimizer.learning_rate, raise"
            " config.guard.rewind_margin, or lower config.checkpoint.every"
        )
    table = passed_over(before)
    spoilt = _phase_at(phases, bad.step - 1)
    end = _first_example(phases, bad.step - 1) + passed_at(table, bad.step - 1)
    end += (1 + config.rewind_margin) * spoilt.rows.of(bad.step - 1)
    passed = end - _first_example(phases, back_to)
    return Rewind(bad.step, f"{bad.loss:.6g}", f"{bad.gradient_norm:.6g}", back_to, passed)


def _phase_at(phases: Sequence[PhasePlan], step: int) -> PhasePlan:
    return next(phase for phase in phases if phase.first <= step < phase.last)


def _first_example(phases: Sequence[PhasePlan], step: int) -> int:
    """The first example of a step's batch, if none is passed over."""
    return _phase_at(phases, step).rows.before(step)
