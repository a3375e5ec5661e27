"""Chains of commands that a script of measurements runs, several chains at a time."""

import concurrent.futures
import os
import queue
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """A command, and the file that is there when it is done: what it prints, if it is `printed`."""

    words: list[str]
    file: Path
    printed: bool = False


def plmjax(verb: str, *words: str) -> list[str]:
    """The command of a verb of plmjax, by this interpreter."""
    return [sys.executable, "-m", f"plmjax.{verb}", *words]


def run_all(chains: list[list[Step]], at_once: int) -> None:
    """Works through the chains, `at_once` of them at a time, each on a core of its own then."""
    cores: queue.Queue = queue.Queue()
    for core in range(at_once):
        cores.put(core)

    def work(chain: list[Step]) -> None:
        core = cores.get()
        try:
            for step in chain:
                do(step, core if at_once > 1 else None)
        finally:
            cores.put(core)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(work, chain) for chain in chains]:
            future.result()


def do(step: Step, core: int | None) -> None:
    """Runs a command to its end, on one core if that is given; what is done is not done again."""
    if step.file.exists():
        return
    home = step.file.parent
    log = home.parent / f"{home.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(shlex.join(step.words), flush=True)

    def settle() -> None:
        there = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {there[core % len(there)]})

    begin = settle if core is not None and hasattr(os, "sched_setaffinity") else None
    with log.open("w") as said:
        out = subprocess.PIPE if step.printed else said
        ended = subprocess.run(step.words, stdout=out, stderr=said, preexec_fn=begin)
    if ended.returncode:
        fail(f"{shlex.join(step.words)} failed; what it said is in {log}")
    if step.printed:
        home.mkdir()
        step.file.write_bytes(ended.stdout)


def spread(values: Iterable[float]) -> tuple[float, float, int]:
    """Mean, standard deviation (0 of one value), and how many there are."""
    values = list(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.mean(values), deviation, len(values)


def fail(message: str) -> None:
    """Ends the whole process with one line, from any thread."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(2)
