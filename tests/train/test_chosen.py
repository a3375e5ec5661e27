"""Which checkpoint of a run is read, and which are saved since they are the best."""

import json
import math
import operator

import jax.numpy as jnp
import pytest

from plmjax.errors import UserError
from plmjax.train import hooks
from plmjax.train.checkpoints import CheckpointConfig, Checkpoints, complete_steps
from plmjax.train.chosen import best_step, chosen_state, monitors
from plmjax.train.metrics import NoWriter

MONITORS = {1: 3.0, 2: 1.0, 3: None, 4: 1.0, 5: 2.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints after steps 1 to 5, of which the third was not measured."""
    path = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(path, CheckpointConfig(keep=9))
    for step, monitor in MONITORS.items():
        checkpoints.save(step, {"step": jnp.int32(step)}, monitor)
    checkpoints.close()
    return path


def test_the_last_is_read_unless_another_is_asked_for(folder):
    chosen = chosen_state(folder, "last", "")
    assert (chosen.step, chosen.state) == (5, folder / "5" / "state")
    assert chosen.told == "the last; the best is that of step 4: --checkpoint=best"
    assert chosen_state(folder, "best", "").told == "the best"
    assert chosen_state(folder, "2", "").state == folder / "2" / "state"


def test_the_best_has_the_least_and_of_equals_it_is_the_last(folder):
    assert monitors(folder) == {step: x for step, x in MONITORS.items() if x is not None}
    assert best_step(folder) == chosen_state(folder, "best", "").step == 4


def test_the_last_may_be_the_best_or_nothing_known(tmp_path):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(1, {"step": jnp.int32(1)}, None)
    checkpoints.close()
    assert chosen_state(tmp_path, "last", "").told == "the last"
    with pytest.raises(UserError, match=r"no checkpoint in .* was measured as it was saved"):
        chosen_state(tmp_path, "best", "")


WRONG = {
    "none": ("7", "--checkpoint=7: there is no such checkpoint in .*; there are: 1, 2, 3, 4, 5$"),
    "no choice": ("first", "--checkpoint=first is no checkpoint; give last, best or the number"),
    "damaged": ("1", "checkpoint .*1 is damaged .*; read another one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_checkpoint_that_cannot_be_read(folder, name):
    which, said = WRONG[name]
    if name == "damaged":
        (seal := folder / "1" / "checksums.json").write_text(
            json.dumps({file: "0" for file in json.loads(seal.read_text())})
        )
    with pytest.raises(UserError, match=said):
        chosen_state(folder, which, "")


class Recorded:
    """Stands for checkpoints: remembers what was saved."""

    def __init__(self):
        self.saved: dict[int, float | None] = {}

    def save(self, step, state, monitor):
        self.saved[step] = monitor

    def wait(self):
        pass


def saved(best: float | None, losses: list[float], first: int = 0) -> dict[int, float | None]:
    """What a run saves that measures every second step and has a time to save every sixth."""
    left, checkpoints = iter(losses), Recorded()
    last = first + 2 * len(losses)
    say = {"last_step": last, "say": lambda line: None}
    writer = NoWriter()
    log = hooks.Log(writer, every=100, first_step=first, learning_rate=lambda step: 0.1, **say)
    evaluate = hooks.Evaluate(lambda params: {"loss": next(left)}, writer, every=2, **say)
    given = checkpoints, writer, log, evaluate, hooks.StopSignal()
    monitor = operator.itemgetter("loss")
    save = hooks.Save(*given, every=6, last_step=last, monitor=monitor, best=best)
    state = type("State", (), {"params": None})()
    for step in range(first + 1, last + 1):
        for hook in (evaluate, save):
            hook.after_step(hooks.Event(step, state, {}, 1))
    return checkpoints.saved


def test_what_is_better_than_all_before_is_saved():
    losses = [5.0, 4.0, 6.0, 4.0, math.nan, 3.0, 9.0]
    assert list(saved(math.inf, losses)) == [2, 4, 6, 12, 14]
    assert list(saved(None, losses)) == [6, 12, 14]


def test_a_run_that_goes_on_knows_what_was_best():
    assert saved(4.0, [4.5, 3.5, 9.0], first=12) == {16: 3.5, 18: 9.0}


def test_the_best_stays_when_others_are_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(keep=1, keep_best=1))
    for step, monitor in {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5, 5: None}.items():
        checkpoints.save(step, {"step": jnp.int32(step)}, monitor)
    checkpoints.close()
    assert complete_steps(tmp_path) == [2, 5]
    assert chosen_state(tmp_path, "best", "").step == 2
