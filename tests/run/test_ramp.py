"""A run whose batch grows, killed while it does, ends with the same bits."""

import functools
import itertools
import os

import numpy as np
import pytest

from plmjax.data.pipeline import Input
from tests.run import tiny, verb

RAMP = (
    "--config.ramp.rows=2",
    "--config.ramp.tokens=2000",
    "--config.optimizer.warmup_steps=0",
    "--config.optimizer.warmup_tokens=1500",
)
_plain = Input.batches


def die_at(fatal: int) -> None:
    """Ends the process when this step's batch is asked for."""

    def batches(self, start_step=0, stop_step=None):
        for step, batch in zip(itertools.count(start_step), _plain(self, start_step, stop_step)):
            if step == fatal:
                os._exit(9)
            yield batch

    Input.batches = batches


def run(config, workdir, *more, before=None):
    return verb.forked(config, f"--workdir={workdir}", *RAMP, *more, before=before)


@pytest.mark.slow
def test_killed_in_the_ramp(tmp_path):
    config = tiny.write_run(tmp_path)
    multiple = "--config.ramp.multiple_of=4"
    whole = run(config, tmp_path / "whole", multiple)
    assert whole.code == 0, whole.err
    for moment in (5, 10):  # in shapes of 4 and of 8 rows; checkpoints are of steps 3 and 9
        died = run(config, tmp_path / "killed", multiple, before=functools.partial(die_at, moment))
        assert died.code == 9, died.err
        assert tiny.saved_steps(tmp_path / "killed")[-1] <= moment
    again = run(config, tmp_path / "killed", multiple)
    assert again.code == 0 and "Resuming at step" in again.out, again.err
    tiny.assert_same_run(tmp_path / "killed", tmp_path / "whole")

    # Idle rows change nothing: those of one shape for the whole ramp.
    one = run(config, tmp_path / "one", "--config.ramp.multiple_of=8")
    assert one.code == 0, one.err
    ours, theirs = (tiny.metric_records(tmp_path / name) for name in ("one", "whole"))
    for a, b in zip(ours, theirs, strict=True):
        names = [name for name in a if name.endswith(("loss", "learning_rate"))]
        np.testing.assert_allclose([a[n] for n in names], [b[n] for n in names], rtol=2e-4)
