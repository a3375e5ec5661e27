"""Continual multi-task learning: when tasks join a run, and how its steps are shared out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plmjax.errors import UserError


class Stage(NamedTuple):
    """start: the fraction of the run at which the stage begins. steps: of each task in it, in the
    order of the tasks, 0 for one that has not joined yet."""

    start: float
    steps: dict[str, float]


def stages(joining: Sequence[Sequence[str]], budgets: Mapping[str, float]) -> tuple[Stage, ...]:
    """The stages of ERNIE 2.0's continual multi-task learning (Sun et al. 2020, sections 3.1, 4.4).

    In each stage tasks join, and all tasks of before go on beside them: none is dropped, and none
    is trained alone but the first. Each task has so many steps in the whole run. Of S stages every
    one after that in which it joined gets an (S + 1)th of them, and the one in which it joined gets
    the rest. For four stages and 50,000 steps a task that is the paper's example: 20,000 steps and
    three times 10,000 for the first task, then 30,000 and twice 10,000, then 40,000 and 10,000,
    then 50,000. How the steps of the released models were shared out is not published, nor which
    task joined when.

    Args:
      joining: the tasks that join in each stage.
      budgets: steps of each task in the whole run, in any unit.

    Raises:
      UserError: where a stage has no task, or a task is without a stage, without steps or twice.
    """
    names = [name for group in joining for name in group]
    wrong = {name for name in names if names.count(name) > 1 or not budgets.get(name, 0) > 0}
    if wrong or set(names) != set(budgets) or not all(joining):
        raise UserError(
            f"stages of {', '.join(map('+'.join, joining))} and steps for {', '.join(budgets)}:"
            " give every task a number of steps above 0 and one stage, and every stage a task"
        )
    count, total, found, before = len(joining), sum(budgets.values()), [], 0.0
    for stage in range(count):
        steps = dict.fromkeys(names, 0.0)
        for joined, group in enumerate(joining[: stage + 1]):
            for name in group:
                part = budgets[name] / (count + 1)
                rest = budgets[name] - (count - 1 - stage) * part
                steps[name] = rest if joined == stage else part
        found.append(Stage(before / total, steps))
        before += sum(steps.values())
    return tuple(found)


def weights_of(stage: Stage) -> str:
    """The stage's mixture as `config.data.plan.tasks` says it."""
    return ",".join(f"{name}:{steps:g}" for name, steps in stage.steps.items())
