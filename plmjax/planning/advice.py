"""The cheapest change that makes a config fit."""

from collections.abc import Iterator

from plmjax.experiment import Experiment
from plmjax.nn.stack import REMAT_POLICIES
from plmjax.parallel.chips import GIB
from plmjax.parallel.mesh import AXES
from plmjax.planning.sketch import Choice, Sketch, choice_of, sketch
from plmjax.planning.topology import Topology


def advice(plan: Experiment, topology: Topology, phase: int, peak: float) -> str:
    """What to change of a config that does not fit, in words for the end of a line.

    Rematerialisation is tried first, then microbatches, then more fsdp, then several of them. What
    each would need is the analytic figure, made longer by as much as the real one is here.

    Args:
      plan: the config.
      topology: its devices.
      phase: the one that needs the most.
      peak: bytes a device that it needs.
    """
    found = sketch(plan, topology, phase, tuple(REMAT_POLICIES))
    now = choice_of(plan)
    guess = found.needed(now)
    state = guess.parameters + guess.optimizer
    longer = max(1.0, (peak - state) / guess.temporary)
    for choice in _changes(found, now):
        if not found.allows(choice):
            continue
        then = found.needed(choice)
        total = then.parameters + then.optimizer + longer * then.temporary
        if total <= 0.95 * topology.memory:
            return f"{choice.overrides(now)} would need {total / GIB:.2f} GiB by arithmetic"
    return "no rematerialisation, microbatches and fsdp would make it fit: take more devices"


def _changes(found: Sketch, now: Choice) -> Iterator[Choice]:
    """From the cheapest in time."""
    remats = [name for name in ("dots", "full") if name != now.remat and now.remat != "full"]
    remats += [name for name in REMAT_POLICIES if name not in ("none", "dots", "full", now.remat)]
    counts = [now.accumulate * 2**power for power in range(1, 12)]
    meshes = [mesh for mesh in _with_more_fsdp(now)]
    for remat in remats:
        yield Choice(now.sizes, remat, now.accumulate)
    for count in counts:
        yield Choice(now.sizes, now.remat, count)
    for sizes in meshes:
        yield Choice(sizes, now.remat, now.accumulate)
    for remat in remats[-1:]:
        for count in counts:
            yield Choice(now.sizes, remat, count)
        for sizes in meshes:
            yield Choice(sizes, remat, now.accumulate)
    for remat in remats[-1:] or [now.remat]:
        for sizes in meshes:
            for count in counts:
                yield Choice(sizes, remat, count)


def _with_more_fsdp(now: Choice) -> Iterator[tuple[int, ...]]:
    mesh = now.mesh
    for power in range(1, 16):
        if mesh["data"] % 2**power:
            return
        more = {**mesh, "data": mesh["data"] // 2**power, "fsdp": mesh["fsdp"] * 2**power}
        yield tuple(more[axis] for axis in AXES)
