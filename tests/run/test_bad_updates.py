"""Runs that meet bad batches: they stop, skip them, or go back and pass them over.

Real processes; the batches that are bad are chosen by the examples in them, so that a run that
reads another batch at a step does not meet them there.
"""

import functools
import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from plmjax import cli
from plmjax.data.pipeline import Input
from plmjax.train.workdir import Workdir
from tests.run import tiny, verb

B = 8
BAD = (1, 11, 29, 33)
"""Which batches are bad, in the order of a run without rewinds."""
SHIFTS = ((0, 4), (6, 8), (21, 15))
"""From which step on a run that goes back to every third, with a margin of 2, is how many batches
further. Update 2 has batch 1: back to 0, without 0 to 3. Update 8 has batch 11: back to 6, without
10 to 13. Update 22 has batch 29: back to 21, without 29 to 31. Update 23 then has batch 33: back to
21 again, without 32 to 35."""
REWIND = ("--config.guard.on_nan=rewind", "--config.guard.rewind_margin=2")
_plain = Input.batches


def poison(numbers: Sequence[int], die_at: int = 0) -> None:
    """Makes a batch with the first example of one of these bad; dies after so many rewinds."""

    def batches(self, start_step=0, stop_step=None):
        made = _plain(self, start_step, stop_step)
        for step, batch in zip(itertools.count(start_step), made):
            if self.first_example_of(step) in [B * number for number in numbers]:
                weights = batch["masked_weights"].copy()
                weights[3, 0] = np.nan
                batch = {**batch, "masked_weights": weights}
            yield batch

    plain_add, calls = Workdir.add_rewind, itertools.count(1)

    def add_rewind(self, rewind):
        plain_add(self, rewind)
        if next(calls) == die_at:
            os._exit(9)

    Input.batches, Workdir.add_rewind = batches, add_rewind


def feed(shifts: Sequence[tuple[int, int]]) -> None:
    """Makes the input read other batches, one at a time, by a table."""

    def batches(self, start_step, stop_step):
        for step in range(start_step, stop_step):
            shift = max((count for first, count in shifts if first <= step), default=0)
            yield from _plain(self, step + shift, step + shift + 1)

    Input.batches = batches


def started(
    config: str, workdir: Path, *flags: str, before: Callable[[], None], code: int = 0
) -> verb.Ended:
    ended = verb.forked(config, f"--workdir={workdir}", *flags, before=before)
    assert ended.code == code, (ended.out, ended.err)
    return ended


def rewinds(workdir: Path) -> list[tuple[int, int, int]]:
    """Bad update, where the run went back to, and batches passed over until then, in order."""
    records = json.loads((workdir / "run.json").read_text())["rewinds"]
    assert all(record["loss"] == "nan" for record in records)
    return [(r["bad_step"], r["back_to"], r["passed"] // B) for r in records]


@pytest.mark.slow
def test_a_run_goes_back_and_passes_over_what_spoilt_it(reference, tmp_path):
    """It dies after the third rewind, is started again, and equals a run fed the other batches."""
    start, workdir = functools.partial(started, reference.config), tmp_path / "workdir"
    expected = [(2, 0, 4), (8, 6, 8), (22, 21, 11), (23, 21, 15)]
    ended = start(workdir, *REWIND, before=functools.partial(poison, BAD, die_at=3), code=9)
    assert rewinds(workdir) == expected[:3]
    said = [line for line in ended.out.splitlines() if "going back" in line]
    assert said[1].startswith("the update of step 8 is bad: the loss is nan, the gradient's norm")
    # What is passed over is known from run.json: it is bad no more, and would be read.
    ended = start(workdir, *REWIND, before=functools.partial(poison, BAD[3:]))
    assert rewinds(workdir) == expected
    assert "rewinds 4" in ended.out

    fed = tmp_path / "fed"
    start(fed, *REWIND, before=functools.partial(feed, SHIFTS))
    assert rewinds(fed) == []
    records = tiny.metric_records(workdir)
    assert [r.pop("train/rewinds", 0) for r in records if "train/loss" in r] == [
        1 if step <= 6 else 2 if step <= 21 else 4 for step in range(2, tiny.STEPS + 1, 2)
    ]
    assert records == tiny.metric_records(fed)
    assert not any(r.get("train/bad_steps") for r in records)
    ours, theirs, plain = (tiny.last_state(run) for run in (workdir, fed, reference.workdir))
    assert sorted(ours) == sorted(theirs)
    assert [path for path in ours if ours[path].tobytes() != theirs[path].tobytes()] == []
    assert [path for path in ours if ours[path].tobytes() != plain[path].tobytes()]


@pytest.mark.slow
def test_a_run_ends_at_once_and_goes_on_with_another_policy(reference, tmp_path):
    start, workdir = functools.partial(started, reference.config), tmp_path / "workdir"
    ended = start(workdir, before=functools.partial(poison, [7]), code=cli.USER_ERROR)
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "the update of step 8 is bad: the loss is nan" in errors[0]
    assert "config.guard.on_nan" in errors[0]
    assert tiny.saved_steps(workdir) == [3, 6]
    ended = start(workdir, "--config.guard.on_nan=skip", before=functools.partial(poison, [7]))
    assert "Resuming at step 6" in ended.out
    assert "bad steps 1" in ended.out
    records = {r["step"]: r for r in tiny.metric_records(workdir) if "train/loss" in r}
    assert [records[step]["train/bad_steps"] for step in (6, 8, tiny.STEPS)] == [0, 1, 1]
    assert int(tiny.last_state(workdir)["['guard']['bad_steps']"]) == 1


@pytest.mark.slow
def test_a_run_does_not_go_back_forever(reference, tmp_path):
    ended = started(
        reference.config,
        tmp_path / "workdir",
        *REWIND,
        "--config.guard.max_rewinds=2",
        before=functools.partial(poison, range(7, 40)),
        code=cli.USER_ERROR,
    )
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "went back to step 6 2 times already (config.guard.max_rewinds=2)" in errors[0]
    assert [back for _, back, _ in rewinds(tmp_path / "workdir")] == [6, 6]
