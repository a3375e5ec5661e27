"""Runs verbs for tests: as `python -m plmjax.main`, or forked from a warm process.

Both are processes of their own, with real exit codes and a real stderr. Starting Python and
importing jax and TensorFlow takes seconds, a fork of a process that has done so takes none.
"""

import dataclasses
import importlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]

# The modules are imported, and nothing is run, in the process that is forked: neither jax nor
# TensorFlow has started a thread by then, which a fork would lose.
_WARM = multiprocessing.get_context("forkserver")
_WARM.set_forkserver_preload(["plmjax.main", "tests.run.verb", "tensorflow"])


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended and what it said."""

    code: int
    out: str
    err: str


def forked(
    *arguments: str,
    verb: str = "main",
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    folder: Path = REPOSITORY,
    timeout: float = 300,
) -> Ended:
    """Runs the verb, in a fork of a process that has imported it.

    Args:
      arguments: of the command line.
      verb: the module of plmjax that is run, or one of the tests or of launch by its whole name.
      environment: variables that are added.
      before: called first in the fork.
      folder: where the command is typed.
      timeout: seconds after which it is killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = _fork(arguments, (out, err), verb, environment, before, folder)
        child.join(timeout)
        if child.is_alive():
            child.kill()
            raise TimeoutError(f"{arguments} took more than {timeout} s")
        for file in (out, err):
            file.seek(0)
        return Ended(child.exitcode, out.read().decode(), err.read().decode())


def reported(program: str, *arguments: str) -> Any:
    """The JSON that a program of the tests ends with, such as tests.parallel.eight_devices."""
    ended = forked(*arguments, verb=program, timeout=900)
    assert ended.code == 0, ended.err[-4000:]
    return json.loads(ended.out.splitlines()[-1])


def _fork(
    arguments: tuple[str, ...],
    files: tuple[IO, IO],
    verb: str = "main",
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    folder: Path = REPOSITORY,
) -> multiprocessing.process.BaseProcess:
    """Starts it; its stdout and stderr go to the files."""
    handles = [multiprocessing.reduction.DupFd(file.fileno()) for file in files]
    child = _WARM.Process(
        target=_main, args=(verb, arguments, dict(environment or {}), before, folder, handles)
    )
    child.start()
    return child


class Forked:
    """A started fork, with the methods of a Popen that the tests use."""

    def __init__(self, child: multiprocessing.process.BaseProcess):
        self._child = child

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._child.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended."""
        self._child.join(timeout)
        if self._child.exitcode is None:
            raise TimeoutError(f"process {self._child.pid} took more than {timeout} s")
        return self._child.exitcode

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._child.kill()

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self._child.pid, number)


def start_forked(*arguments: str, log: Path) -> Forked:
    """Starts `plmjax.main` in a fork of the warm process; what it says goes to `log`."""
    with log.open("ab") as file:
        return Forked(_fork(arguments, (file, file)))


def _main(
    verb: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    before: Callable[[], None] | None,
    folder: Path,
    handles: list,
) -> None:
    for number, handle in zip((1, 2), handles, strict=True):
        os.dup2(handle.detach(), number)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [f"{verb}.py", *arguments]
    if verb.startswith("tests."):
        runpy.run_module(verb, run_name="__main__")
        return
    from absl import flags

    from plmjax import cli

    if verb != "main":  # whose flags the warm process has, and another verb may have, too
        of_modules = flags.FLAGS.flags_by_module_dict()
        for flag in (*of_modules.get("plmjax.main", []), *of_modules.get("plmjax.cli", [])):
            delattr(flags.FLAGS, flag.name)
    module = importlib.import_module(verb if "." in verb else f"plmjax.{verb}")
    if before:
        before()
    if hasattr(module, "CONFIG"):
        cli.run(module.main, module.CONFIG, module.__doc__, getattr(module, "PROCESSES", None))
    computes = verb in ("evaluate", "generate")
    cli.run_without_config(module.main, module.__doc__, computes)


def start(
    *arguments: str,
    log: Path,
    verb: str = "main",
    environment: Mapping[str, str] | None = None,
):
    """Starts `python -m plmjax.main` with what it says going to `log`; returns the Popen."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", f"plmjax.{verb}", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
