"""Has programs compiled by another process, and says what the compiler said of them."""

import dataclasses
import importlib.util
import json
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from plmjax.errors import UserError
from plmjax.experiment import Settings
from plmjax.planning.programs import Program
from plmjax.planning.topology import Topology
from plmjax.planning.traffic import Traffic

COMMAND = (sys.executable, "-m", "plmjax.planning.child")
"""The process that compiles."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A program to be compiled for a config on a topology."""

    settings: Settings
    topology: Topology
    program: Program


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of a program; sizes are bytes a device.

    arguments, outputs, donated, temporary, code: as of `memory_analysis`; 0 where it failed.
    used, limit: where it found no room: what it would use, or its temporaries alone where the
      compiler says no more, and what it may.
    traffic: of a run of it; None where the program could not be read.
    failure: in a line, why there is no program; empty where there is, or where it is too large.
    refused: in a line, why the model cannot do this at all; empty where it can.
    trace_seconds, compile_seconds: of this machine. host_bytes: of its memory.
    """

    program: Program
    arguments: float = 0
    outputs: float = 0
    donated: float = 0
    temporary: float = 0
    code: float = 0
    used: float = 0
    limit: float = 0
    traffic: tuple[Traffic, ...] | None = None
    failure: str = ""
    refused: str = ""
    trace_seconds: float = 0
    compile_seconds: float = 0
    host_bytes: float = 0

    @property
    def peak(self) -> float:
        """Bytes a device needs for it."""
        if self.used:
            return self.used
        return self.arguments + self.outputs - self.donated + self.temporary + self.code

    def fits(self, memory: float) -> bool:
        """Whether it runs on devices with so many bytes."""
        return not self.failure and not self.used and self.peak <= memory


def compile_all(
    jobs: Sequence[Job], say: Callable[[str], None], seconds: float = 0.0
) -> list[Compiled]:
    """Compiles each job; a crash or the end of the time is a failure of the job it happens in.

    Args:
      jobs: what to compile, in this order.
      say: is told what is begun.
      seconds: for all of it; jobs that it does not reach are failures. 0 for no limit.

    Raises:
      UserError: without a compiler, or from the first job where the config is at fault.
    """
    check_compiler()
    end = time.monotonic() + seconds if seconds else None
    found: list[Compiled] = []
    while len(found) < len(jobs):
        if end is not None and time.monotonic() >= end:
            found.append(Compiled(jobs[len(found)].program, failure="not tried, for want of time"))
            continue
        found += _compiled_by_one(jobs[len(found) :], say, end)
    return found


def check_compiler() -> None:
    """Raises a UserError where the TPU compiler is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the TPU compiler, libtpu, is not installed; it needs no TPU:"
            f' pip install "jax[tpu]=={jax.__version__}"'
        )


def _compiled_by_one(
    jobs: Sequence[Job], say: Callable[[str], None], end: float | None
) -> list[Compiled]:
    """What one process compiles before it ends: at least one job's fate."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        timer = threading.Timer(max(0.1, (end or 1e9) - time.monotonic()), child.kill)
        timer.daemon = True
        if end is not None:
            timer.start()
        try:
            pickle.dump(list(jobs), child.stdin)
            child.stdin.close()
            found = _read(jobs, child.stdout, say)
        except BrokenPipeError:
            found = {}
        except UserError:
            child.kill()
            raise
        finally:
            timer.cancel()
            child.stdout.close()
            code = child.wait()
        done = [found[number] for number in sorted(found)]
        if len(done) < len(jobs):
            is_late = end is not None and time.monotonic() >= end
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            why = "not done in time" if is_late else _why(code, said)
            done.append(Compiled(jobs[len(done)].program, failure=why))
        return done


def _read(jobs: Sequence[Job], lines: Any, say: Callable[[str], None]) -> dict[int, Compiled]:
    """What a process says of each job, by its number, as far as it comes."""
    found: dict[int, Compiled] = {}
    for line in lines:
        answer = json.loads(line)
        number, event = answer.pop("job"), answer.pop("event")
        program = jobs[number].program
        if event == "started":
            say(_name(program))
        elif event == "compiled":
            found[number] = Compiled(program, **answer)
        elif event == "read":
            traffic = tuple(Traffic(*one) for one in answer["traffic"])
            found[number] = dataclasses.replace(found[number], traffic=traffic)
        elif event == "too large":
            found[number] = Compiled(program, **answer)
        elif event == "refused" and number == 0 and program.kind == "train":
            raise UserError(answer["message"])
        elif event == "refused":
            found[number] = Compiled(program, refused=answer["message"])
        elif event == "failed":
            found[number] = Compiled(program, failure=answer["message"])
    return found


def _name(program: Program) -> str:
    if program.kind == "decode":
        return f"compiling the decode step, {program.rows} x {program.length}"
    return f"compiling the {program.kind} step of phase {program.phase + 1}"


def _why(code: int, said: str) -> str:
    """A line about a process that ended early."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = f": {lines[-1][:200]}" if lines else ""
    if code < 0:
        return f"the compiler crashed ({signal.Signals(-code).name}){last}"
    return f"the compiling process ended with exit code {code}{last}"
