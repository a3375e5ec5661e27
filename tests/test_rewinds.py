"""Which examples a run reads after it went back, beside a list of them that is cut by hand."""

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig
from plmjax.data.pipeline import passed_at
from plmjax.errors import UserError
from plmjax.phases import plan_phases
from plmjax.rewinds import next_rewind, passed_over
from plmjax.train.guard import NAN, BadUpdate, GuardConfig

STEPS = 60
PHASES = plan_phases(
    DataConfig(batch_size=4),
    {"ramp": {"start": 20, "batch_size": 8}, "large": {"start": 40, "batch_size": 16}},
    STEPS,
)


def bad(step: int) -> BadUpdate:
    return BadUpdate(step, NAN, float("nan"), float("inf"))


def read(table) -> list[range]:
    """The examples of each step's batch."""
    batches = []
    for phase in PHASES:
        for step in range(phase.first, phase.last):
            first = phase.first_example + (step - phase.first) * phase.data.batch_size
            first += passed_at(table, step)
            batches.append(range(first, first + phase.data.batch_size))
    return batches


def test_batches_after_any_rewinds_follow_each_other():
    """What a run has made its updates with, in a list that rewinds cut."""
    rng = np.random.default_rng(0)
    sizes = [phase.data.batch_size for phase in PHASES for _ in range(phase.last - phase.first)]
    total = 0
    for _ in range(20):
        config = GuardConfig(rewind_margin=int(rng.integers(0, 5)), max_rewinds=100)
        made, rewinds, upcoming = [], [], 0
        moments = iter(sorted(rng.choice(np.arange(1, 200), 8, replace=False)))
        moment, count = next(moments), 0
        while len(made) < STEPS:
            size = sizes[len(made)]
            made.append(range(upcoming, upcoming + size))
            upcoming += size
            count += 1
            if count == moment:
                moment = next(moments, None)
                step = len(made)
                # Mostly the last checkpoint, but an older one where that is damaged.
                back = max(0, (step - 1) // 5 * 5 - 5 * int(rng.integers(0, 2)))
                rewinds.append(next_rewind(bad(step), back, PHASES, rewinds, config))
                made = made[:back]
                upcoming += config.rewind_margin * size
        assert read(passed_over(rewinds)) == made
        total += len(rewinds)
    print("rewinds:", total)
    assert total >= 40


def test_the_same_place_is_tried_so_often_and_no_more():
    config, rewinds = GuardConfig(max_rewinds=2), []
    for step in (33, 35):
        rewinds.append(next_rewind(bad(step), 30, PHASES, rewinds, config))
    with pytest.raises(UserError, match=r"step 31 is bad.* went back to step 30 2 times already"):
        next_rewind(bad(31), 30, PHASES, rewinds, config)
    rewinds.append(next_rewind(bad(38), 35, PHASES, rewinds, config))
    next_rewind(bad(36), 35, PHASES, rewinds, config)
