"""What must have been written before a checkpoint counts, without which a resumed run lacks it."""

import types

import jax.numpy as jnp
import pytest

from plmjax.errors import UserError
from plmjax.train import hooks
from plmjax.train.metrics import FILE, MetricsWriter, read_records
from plmjax.types import Mean


def event(step: int, loss: float = 1.0) -> hooks.Event:
    state = types.SimpleNamespace(params=None)
    return hooks.Event(step, state, {"loss": Mean(jnp.float32(loss), jnp.float32(1))}, tokens=8)


class Recorder:
    """Stands for Checkpoints; keeps what the metrics file held when each save began."""

    def __init__(self, folder):
        self._file = folder / FILE
        self.saves: dict[int, list[int]] = {}
        self.monitored: dict[int, float | None] = {}

    def save(self, step, state, monitor):
        self.saves[step] = [record["step"] for record in read_records(self._file)]
        self.monitored[step] = monitor

    def wait(self):
        pass


@pytest.fixture
def run(tmp_path):
    """Hooks of a run that logs every 2, evaluates every 4 and saves every 3 steps."""
    writer, checkpoints = MetricsWriter(tmp_path, 0), Recorder(tmp_path)
    say = dict(say=lambda line: None, last_step=13)
    log = hooks.Log(writer, every=2, first_step=0, learning_rate=lambda step: 0.1, **say)
    evaluate = hooks.Evaluate(lambda params: {"mlm_loss": 2.5}, writer, every=4, **say)
    stop = hooks.StopSignal()
    save = hooks.Save(
        checkpoints, writer, log, evaluate, stop, every=3, last_step=13, monitor="mlm_loss"
    )
    yield types.SimpleNamespace(
        hooks=[log, evaluate, save], checkpoints=checkpoints, stop=stop, file=tmp_path / FILE
    )
    writer.close()


def step_through(run, steps) -> None:
    for step in steps:
        for hook in run.hooks:
            hook.after_step(event(step))


def test_a_checkpoint_begins_when_its_records_are_written(run):
    step_through(run, range(1, 14))
    saves = run.checkpoints.saves
    assert list(saves) == [3, 6, 9, 12, 13]
    assert saves[6] == [2, 4, 4, 6]  # 4 has a record of training and one of evaluation
    assert saves[12] == [2, 4, 4, 6, 8, 8, 10, 12, 12]
    assert saves[13] == [*saves[12], 13, 13]
    assert run.checkpoints.monitored == {3: None, 6: None, 9: None, 12: 2.5, 13: 2.5}


def test_a_signal_saves_after_the_step_that_was_made(run):
    step_through(run, range(1, 5))
    run.stop.received = 15
    with pytest.raises(hooks.Preempted) as stopped:
        step_through(run, [5])
    assert (stopped.value.step, stopped.value.signal_number) == (5, 15)
    assert run.checkpoints.saves[5] == [2, 4, 4]


def test_a_loss_that_is_not_a_number_is_not_saved(run):
    step_through(run, range(1, 6))
    for hook in run.hooks[:2]:
        hook.after_step(event(6, float("nan")))
    with pytest.raises(UserError, match="the loss is nan at step 6"):
        run.hooks[2].after_step(event(6, float("nan")))
    assert list(run.checkpoints.saves) == [3]


def test_a_resumed_run_drops_later_records_and_half_a_line(tmp_path):
    (tmp_path / FILE).write_text('{"step": 2, "a": 1}\n{"step": 4, "a": 1}\n{"step": 6, "a')
    with_more = MetricsWriter(tmp_path, 3)
    with_more.write(4, {"a": 2.0})
    with_more.close()
    assert read_records(tmp_path / FILE) == [{"step": 2, "a": 1}, {"step": 4, "a": 2.0}]


@pytest.mark.parametrize("text", ["0:3", "3:3", "5:3", "a:b", "3", "3:99", "-1:3"])
def test_a_range_that_cannot_be_profiled(text):
    with pytest.raises(UserError, match=f"--profile_steps={text}; expected A:B"):
        hooks.profiled_range(text, 13)


def test_a_range_that_can():
    assert hooks.profiled_range("3:13", 13) == (3, 13)
    assert hooks.profiled_range("", 13) is None
