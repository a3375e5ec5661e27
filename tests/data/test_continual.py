"""Stages of continual multi-task learning, against the paper's example."""

import pytest

from plmjax.data.continual import stages, weights_of
from plmjax.errors import UserError

FOUR = dict.fromkeys("abcd", 50_000)


def test_four_tasks_have_the_steps_of_the_paper():
    found = stages([("a",), ("b",), ("c",), ("d",)], FOUR)
    thousands = [[steps / 1000 for steps in stage.steps.values()] for stage in found]
    assert thousands == [[20, 0, 0, 0], [10, 30, 0, 0], [10, 10, 40, 0], [10, 10, 10, 50]]
    assert [stage.start for stage in found] == pytest.approx([0, 0.1, 0.3, 0.6])
    assert weights_of(found[1]) == "a:10000,b:30000,c:0,d:0"


def test_budgets_are_spent_and_no_task_is_dropped():
    joining, budgets = [("a", "b"), ("c",), ("d",)], {"a": 3, "b": 5, "c": 2, "d": 7}
    found = stages(joining, budgets)
    for name, budget in budgets.items():
        steps = [stage.steps[name] for stage in found]
        assert sum(steps) == pytest.approx(budget)
        joined = next(n for n, group in enumerate(joining) if name in group)
        assert not any(steps[:joined]) and all(steps[joined:])
    total = sum(budgets.values())
    lengths = [sum(stage.steps.values()) / total for stage in found]
    ends = [stage.start for stage in found[1:]] + [1.0]
    for stage, length, end in zip(found, lengths, ends, strict=True):
        assert stage.start + length == pytest.approx(end)


@pytest.mark.parametrize(
    ("joining", "budgets"),
    [
        ([("a",), ()], {"a": 1}),
        ([("a",), ("a",)], {"a": 1}),
        ([("a",)], {"a": 1, "b": 1}),
        ([("a", "b")], {"a": 1}),
        ([("a",)], {"a": 0}),
    ],
)
def test_what_cannot_be_is_one_line(joining, budgets):
    with pytest.raises(UserError, match="give every task a number of steps above 0"):
        stages(joining, budgets)
