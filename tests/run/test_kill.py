"""Runs that are killed, asked to stop, or find their checkpoints damaged end with the same bits.

Real processes of `python -m plmjax.main`, on a config with dropout, accumulation and two phases;
kills hit forks of a process that has imported it, so none of them falls into an import.
"""

import collections
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from etils import epath

from plmjax import cli
from plmjax.train.checkpoints import find_damage
from tests.run import tiny, verb

TIMEOUT = 240


class Run:
    """A run that is started again and again in one workdir."""

    def __init__(self, config: str, folder: Path, start: Callable = verb.start):
        folder.mkdir(exist_ok=True)
        self.workdir = folder / "workdir"
        self._config = config
        self._log = folder / "log"
        self._start = start
        self._process: subprocess.Popen | verb.Forked | None = None
        self._begin = 0
        self._saves_before: set[tuple[str, int]] = set()

    def start(self) -> None:
        self._begin = self._log.stat().st_size if self._log.exists() else 0
        self._saves_before = self._unfinished_saves()
        arguments = (self._config, f"--workdir={self.workdir}")
        self._process = self._start(*arguments, log=self._log)

    def said(self) -> str:
        """What the process has printed since it was started."""
        return self._log.read_bytes()[self._begin :].decode()

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Waits for it; False if the process ended before."""
        end = time.monotonic() + TIMEOUT
        while not condition():
            if self._process.poll() is not None:
                return False
            assert time.monotonic() < end, self.said()
            time.sleep(0.001)
        return True

    def trains(self) -> bool:
        return f" of {tiny.STEPS} steps" in self.said() or "Training for" in self.said()

    def saves(self) -> bool:
        return bool(self._unfinished_saves() - self._saves_before)

    def has_last_checkpoint(self) -> bool:
        return (self.workdir / "checkpoints" / str(tiny.STEPS)).exists()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> str:
        """Kills it; returns what it was doing."""
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL, self.said()
        if self.saves():
            return "a save"
        if self.has_last_checkpoint():
            return "the final evaluation"
        return "training" if self.trains() else "start-up"

    def stop(self, number: signal.Signals) -> int:
        """Sends a signal; returns the exit code."""
        self._process.send_signal(number)
        return self._process.wait(TIMEOUT)

    def finish(self) -> None:
        """Waits until it ends by itself, and well."""
        assert self._process.wait(TIMEOUT) == 0, self.said()

    def _unfinished_saves(self) -> set[tuple[str, int]]:
        found = (self.workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")
        saves = set()
        for path in found:
            try:
                saves.add((path.name, path.stat().st_ino))
            except FileNotFoundError:
                continue  # it has just got its final name
        return saves


def kill_during(run: Run, phase: str, rng: random.Random) -> str | None:
    """Starts the run and kills it when it is about in `phase`.

    Returns:
      What it was doing when it died; None if it ended before.
    """
    run.start()
    if phase == "start-up":
        alive = run.wait_for(lambda: True)
        time.sleep(rng.uniform(0.0, 2.0))
    elif phase == "training":
        alive = run.wait_for(run.trains)
        time.sleep(rng.uniform(0.0, 3.0))
    elif phase == "a save":
        alive = run.wait_for(run.saves)
        time.sleep(rng.choice([0.0, 0.0, rng.uniform(0.0, 0.02)]))
    else:
        alive = run.wait_for(run.has_last_checkpoint)
        time.sleep(rng.uniform(0.0, 0.5))
    if not alive or run.has_ended():
        run.finish()
        return None
    return run.kill()


def kill_and_finish(run: Run, phases: list[str], rng: random.Random) -> collections.Counter[str]:
    """Kills the run once for each of `phases`, lets it end, and counts what the kills hit."""
    hit = collections.Counter()
    for phase in phases:
        doing = kill_during(run, phase, rng)
        if doing is None:
            return hit
        hit[doing] += 1
    run.start()
    run.finish()
    return hit


@pytest.mark.slow
def test_killed_at_two_moments(reference, tmp_path, record_property):
    run = Run(reference.config, tmp_path / "run", verb.start_forked)
    phases = ["a save", "training"]
    hit = kill_and_finish(run, phases, random.Random(7))
    record_property("kills", dict(hit))
    print(f"kills: {dict(hit)}")
    assert hit.total() >= 1  # the second may come after its end
    tiny.assert_same_run(run.workdir, reference.workdir)


@pytest.mark.slow
def test_killed_at_twenty_moments(reference, tmp_path, record_property):
    rng = random.Random(11)
    hit = collections.Counter()
    runs = 0
    while hit.total() < 20:
        run = Run(reference.config, tmp_path / f"run{runs}", verb.start_forked)
        phases = rng.choices(["start-up", "training", "a save"], weights=[1, 2, 3], k=5)
        hit += kill_and_finish(run, [*phases, "the final evaluation"], rng)
        tiny.assert_same_run(run.workdir, reference.workdir)
        runs += 1
    record_property("kills", dict(hit))
    print(f"kills: {dict(hit)} in {runs} runs")
    assert set(hit) == {"start-up", "training", "a save", "the final evaluation"}


SIGTERM = pytest.param(signal.SIGTERM, verb.start_forked, id="SIGTERM")
SIGINT = pytest.param(signal.SIGINT, verb.start, id="SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "start"), [SIGTERM, SIGINT])
def test_a_signal_saves_the_very_step_and_the_run_goes_on(reference, tmp_path, number, start):
    run = Run(reference.config, tmp_path / "run", start)
    run.start()
    # Near a step that is neither saved nor logged, and before the phase changes.
    assert run.wait_for(lambda: f"step  8/{tiny.STEPS}" in run.said()), run.said()
    assert run.stop(number) == cli.PREEMPTED, run.said()
    saved = tiny.saved_steps(run.workdir)[-1]
    assert saved < tiny.STEPS
    last_words = run.said().splitlines()[-2:]
    assert last_words[0] == f"Stopped by signal {number:d} after step {saved}, which is saved;"
    assert "same command resumes" in last_words[1]
    assert int(tiny.last_state(run.workdir)["['step']"]) == saved
    run.start()
    run.finish()
    assert f"Resuming at step {saved} of" in run.said()
    tiny.assert_same_run(run.workdir, reference.workdir)


def largest_file(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda path: path.stat().st_size)


def flip_a_bit(checkpoint: Path) -> None:
    path = largest_file(checkpoint / "state")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(checkpoint: Path) -> None:
    path = largest_file(checkpoint / "state")
    os.truncate(path, path.stat().st_size - 1)


def delete_a_file(checkpoint: Path) -> None:
    largest_file(checkpoint / "state").unlink()


def break_the_seal(checkpoint: Path) -> None:
    (checkpoint / "checksums.json").write_text("{")


def empty_the_folder(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


DAMAGES = (flip_a_bit, truncate, delete_a_file, break_the_seal, empty_the_folder)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_is_found(reference, tmp_path, damage):
    checkpoint = tmp_path / str(tiny.STEPS)
    shutil.copytree(reference.workdir / "checkpoints" / str(tiny.STEPS), checkpoint)
    assert find_damage(epath.Path(checkpoint)) is None
    damage(checkpoint)
    assert find_damage(epath.Path(checkpoint))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip_a_bit, id="flip_a_bit"),
        pytest.param(empty_the_folder, id="empty_the_folder", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(reference, tmp_path, damage):
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir, workdir)
    before, newest = tiny.saved_steps(workdir)[-2:]
    damage(workdir / "checkpoints" / str(newest))
    ended = verb.forked(reference.config, f"--workdir={workdir}")
    assert ended.code == 0, ended.err
    assert f"checkpoint {newest} is damaged (" in ended.out
    assert f"set aside as {newest}.damaged" in ended.out
    assert f"Resuming at step {before} of" in ended.out
    tiny.assert_same_run(workdir, reference.workdir)


@pytest.mark.slow
def test_a_checkpoint_damaged_for_the_second_time_is_set_aside_too(reference, tmp_path):
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir, workdir)
    before, newest = tiny.saved_steps(workdir)[-2:]
    (workdir / "checkpoints" / f"{newest}.damaged").mkdir()
    for step in (before, newest):
        truncate(workdir / "checkpoints" / str(step))
    oldest = tiny.saved_steps(workdir)[0]
    assert oldest < before
    ended = verb.forked(reference.config, f"--workdir={workdir}")
    assert ended.code == 0, ended.err
    assert f"set aside as {newest}.damaged-2" in ended.out
    assert f"set aside as {before}.damaged" in ended.out
    assert f"Resuming at step {oldest} of" in ended.out
    tiny.assert_same_run(workdir, reference.workdir)


def test_when_all_checkpoints_are_damaged_nothing_is_touched(reference, tmp_path):
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir, workdir)
    for step in tiny.saved_steps(workdir):
        truncate(workdir / "checkpoints" / str(step))
    before = tiny.files(workdir)
    for _ in range(2):  # the second start must not take the run for a fresh one
        ended = verb.forked(reference.config, f"--workdir={workdir}")
        assert ended.code == cli.USER_ERROR
        errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "every checkpoint in" in errors[0]
        assert "start again in another --workdir" in errors[0]
        assert tiny.files(workdir) == before


def test_a_finished_run_says_so_and_changes_nothing(reference, tmp_path):
    workdir = tmp_path / "workdir"
    shutil.copytree(reference.workdir, workdir)
    before = tiny.files(workdir)
    ended = verb.forked(reference.config, f"--workdir={workdir}")
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"This run is complete: {tiny.STEPS} steps, in {workdir}.")
    table = reference.out[reference.out.index("On held-out documents:") :]
    assert ended.out.split("\n\n", 1)[1] == table.replace(str(reference.workdir), str(workdir))
    assert tiny.files(workdir) == before
