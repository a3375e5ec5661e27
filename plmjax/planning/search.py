"""Which mesh, rematerialisation and number of microbatches a config runs fastest with."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from plmjax.experiment import Experiment
from plmjax.nn.stack import REMAT_POLICIES
from plmjax.parallel.chips import GIB
from plmjax.parallel.mesh import AXES
from plmjax.planning.compiling import Compiled, Job, compile_all
from plmjax.planning.programs import TRAIN, Program
from plmjax.planning.sketch import Choice, Estimate, Sketch, choice_of, sketch
from plmjax.planning.topology import Topology

COMPILED = 4
"""How many of the best are compiled."""

SLACK = 1.3
"""Choices that by arithmetic need up to so much of the memory are still tried: the compiler may
find room where arithmetic does not."""


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A choice with what is known of it.

    peak: bytes a device, the compiler's where `source` says so. fits: whether that is there.
    estimate: of a step of the longest phase, with the compiled program's traffic where it is known.
    """

    choice: Choice
    peak: float
    fits: bool
    estimate: Estimate
    source: str
    failure: str = ""


def search(
    plan: Experiment,
    topology: Topology,
    efficiency: float,
    seconds: float,
    say: Callable[[str], None],
) -> list[Ranked]:
    """The best choices, those that fit first, and of those the fastest.

    All are pruned by arithmetic; of TPUs the best few are compiled.

    Args:
      plan: the config, whose own choice is the one that others are compared with.
      topology: its devices.
      efficiency: as of `Sketch.estimate`.
      seconds: for compiling.
      say: is told what goes on.
    """
    phase = _longest(plan)
    found = sketch(plan, topology, phase, tuple(REMAT_POLICIES))
    start = time.monotonic()
    tried = [_by_arithmetic(found, choice, efficiency) for choice in choices(found, topology)]
    near = [one for one in tried if one.peak <= SLACK * topology.memory]
    near.sort(key=lambda one: (one.estimate.step * (1 if one.fits else 1.5), one.peak))
    say(
        f"{len(tried)} meshes, policies and microbatches, {sum(one.fits for one in tried)} of them"
        f" fit by arithmetic ({time.monotonic() - start:.0f} s)"
    )
    best = _different(near or sorted(tried, key=lambda one: one.peak))
    if not topology.is_tpu:
        return best
    jobs = [Job(one.choice.applied(plan.settings), topology, Program(TRAIN, phase)) for one in best]
    now = choice_of(plan)
    done: list[Ranked] = []
    end = start + seconds
    for one, job in zip(best, jobs, strict=True):
        say(f"compiling {one.choice.overrides(now) or 'the config as it is'}")
        left = max(1.0, end - time.monotonic())
        done.append(_compiled(found, one, compile_all([job], lambda _: None, left)[0], efficiency))
        say(f"  {describe(done[-1])}")
        if time.monotonic() >= end:
            break
    rest = best[len(done) :]
    return sorted(done, key=lambda one: (not one.fits, one.estimate.step)) + rest


def choices(found: Sketch, topology: Topology) -> Iterator[Choice]:
    """All that the shapes allow: data, fsdp, tensor and sequence; pipeline as the config has it.

    Tensor and sequence stay within 16 devices, where links are short.
    """
    settings = found.settings
    pipeline = max(1, settings.mesh.pipeline)
    outer = topology.mesh_slices if pipeline == 1 else max(1, settings.mesh.slice)
    inner = topology.devices // (pipeline * outer)
    length = found.spec["tokens"][0][1]
    sequences = [1, 2, 4, 8] if length >= 2048 else [1]
    for tensor, sequence in itertools.product(_divisors(inner), sequences):
        if tensor * sequence > 16 or inner % (tensor * sequence):
            continue
        batch = inner // (tensor * sequence)
        for fsdp in _divisors(batch):
            mesh = {"slice": outer, "pipeline": pipeline, "data": batch // fsdp, "fsdp": fsdp}
            mesh |= {"sequence": sequence, "tensor": tensor}
            sizes = tuple(mesh[axis] for axis in AXES)
            yield from _of_mesh(found, sizes)


def _of_mesh(found: Sketch, sizes: tuple[int, ...]) -> Iterator[Choice]:
    for count in (2**power for power in range(12)):
        if not found.allows(Choice(sizes, found.settings.model["remat"], count)):
            return
        for remat in REMAT_POLICIES:
            yield Choice(sizes, remat, count)


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def tokens_of(plan: Experiment) -> int:
    """Places of a batch of the phase that is searched for."""
    data = plan.phases[_longest(plan)].data
    return data.batch_size * data.seq_len


def _longest(plan: Experiment) -> int:
    """The phase whose batch has the most places; of equal ones the one of the longest rows."""

    def places(index: int) -> tuple[int, int]:
        data = plan.phases[index].data
        return data.batch_size * data.seq_len, data.seq_len

    return max(range(len(plan.phases)), key=places)


def _by_arithmetic(found: Sketch, choice: Choice, efficiency: float) -> Ranked:
    peak = found.needed(choice).total
    fits = peak <= found.topology.memory
    return Ranked(choice, peak, fits, found.estimate(choice, efficiency), "analytic")


def _different(ranked: list[Ranked]) -> list[Ranked]:
    """The best, no two of which have the same mesh and policy."""
    seen: set[tuple] = set()
    kept = []
    for one in ranked:
        key = one.choice.sizes, one.choice.remat
        if key not in seen:
            seen.add(key)
            kept.append(one)
    return kept[:COMPILED]


def _compiled(found: Sketch, one: Ranked, program: Compiled, efficiency: float) -> Ranked:
    if program.failure:
        return dataclasses.replace(one, fits=False, failure=program.failure)
    estimate = found.estimate(one.choice, efficiency, program.traffic)
    fits = program.fits(found.topology.memory)
    return Ranked(one.choice, program.peak, fits, estimate, "compiled")


def describe(one: Ranked) -> str:
    """In a line."""
    if one.failure:
        return one.failure
    verdict = "fits" if one.fits else "does not fit"
    return f"{verdict}, {one.peak / GIB:.2f} GiB, {one.estimate.step:.4g} s a step (estimate)"


def as_dict(one: Ranked, now: Choice, tokens: int) -> dict[str, Any]:
    """For JSON."""
    return {
        "override": one.choice.overrides(now),
        "mesh": {axis: size for axis, size in one.choice.mesh.items() if size > 1},
        "remat": one.choice.remat,
        "accumulate": one.choice.accumulate,
        "peak_bytes": one.peak,
        "fits": one.fits,
        "source": one.source,
        "failure": one.failure,
        "estimated_step_seconds": one.estimate.step,
        "estimated_tokens_per_second": tokens / one.estimate.step,
        "binds": one.estimate.binds,
    }


def print_table(ranked: list[Ranked], now: Choice, tokens: int, console: Console) -> None:
    """For a person: the best first, each with what to type."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "GiB a device", "step (estimate)", "tokens/s (estimate)", "binds", "by"):
        table.add_column(name, justify="right")
    for number, one in enumerate(ranked, 1):
        size = f"{one.peak / GIB:.2f}" + ("" if one.fits else " too much")
        step, rate = f"{one.estimate.step:.4g} s", f"{tokens / one.estimate.step:,.0f}"
        table.add_row(str(number), size, step, rate, one.estimate.binds, one.source)
    console.print(table)
    for number, one in enumerate(ranked, 1):
        line = one.choice.overrides(now) or "the config as it is"
        console.print(f"{number}  {line}{': ' if one.failure else ''}{one.failure}", markup=False)
