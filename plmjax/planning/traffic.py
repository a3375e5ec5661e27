"""Bytes that devices send each other: read from a compiled program, or counted by mesh axis."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from plmjax.parallel.mesh import AXES
from plmjax.planning.memory import Leaf, local_elements
from plmjax.planning.topology import Topology

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
    "collective-broadcast",
)


class Collective(NamedTuple):
    """One instruction of a program.

    dtype, shape: of the result, the first where there are several. bytes: of all results.
    group: how many devices talk. times: how often it is run. members: of the first group.
    """

    kind: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    group: int
    times: int = 1
    members: tuple[int, ...] = ()

    @property
    def sent(self) -> float:
        """Bytes each device sends in all its runs, in a ring of the group."""
        return self.times * ring_bytes(self.kind, self.bytes, self.group)


def ring_bytes(kind: str, result: float, group: int) -> float:
    """Bytes each device of a group sends for a collective whose result has so many bytes."""
    if group < 2:
        return 0.0
    others = (group - 1) / group
    factor = {"all-reduce": 2 * others, "reduce-scatter": group - 1.0, "collective-permute": 1.0}
    return result * factor.get(kind, others)


@dataclasses.dataclass(frozen=True)
class Traffic:
    """All collectives of a kind in groups of a size.

    count: devices of a group. spans: among how many slices or nodes. sent: bytes each device sends
    in a step. operations: how many there are in a step; 0 where they were not counted.
    """

    kind: str
    count: int
    spans: int
    sent: float
    operations: int = 0

    def seconds(self, topology: Topology) -> float:
        """At the peak of what joins the group."""
        return self.sent / topology.rate(self.count, self.spans)


def of_program(text: str, topology: Topology) -> tuple[Traffic, ...]:
    """What a compiled program sends in a run; `text` is its HLO."""
    found: dict[tuple, list[float]] = collections.defaultdict(lambda: [0.0, 0])
    for one in collectives(text):
        if one.group > 1:
            spans = topology.spans(one.members) if one.members else 1
            total = found[one.kind, one.group, spans]
            total[0] += one.sent
            total[1] += one.times
    return tuple(Traffic(*key, sent, int(count)) for key, (sent, count) in sorted(found.items()))


_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_TRIPS = re.compile(r'known_trip_count"?\s*:\s*\{\s*"?n"?\s*:\s*"?(\d+)')
_BOUND = re.compile(r"= [su](?:32|64)\[\]\S* constant\((\d+)\)")
_COLLECTIVE = re.compile(rf" ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\dm\d\w*)?)\[([\d,]*)\]")
_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128}


def collectives(text: str) -> list[Collective]:
    """The collectives of an optimised HLO module, each with how often a run of it comes there.

    What a loop's body does counts as often as the loop turns: as the compiler has noted, or by the
    constant that its condition compares with; once where neither is there.
    """
    entry, lines_of = _computations(text)
    times: dict[str, int] = collections.Counter()

    def visit(name: str, count: int) -> None:
        times[name] += count
        for line in lines_of.get(name, ()):
            turns = 1
            if " while(" in line:
                turns = _turns(line, lines_of)
            for one, several in _CALLED.findall(line):
                for called in [one] if one else re.findall(r"[\w.\-]+", several):
                    visit(called, count * turns)

    visit(entry, 1)
    found = []
    for name, count in times.items():
        for line in lines_of.get(name, ()):
            match = _COLLECTIVE.search(line)
            if match:
                found.append(_collective(line, match, name, count))
    return found


def _turns(line: str, lines_of: Mapping[str, list[str]]) -> int:
    """How often a while loop turns."""
    if noted := _TRIPS.search(line):
        return int(noted[1])
    condition = re.search(r"condition=%?([\w.\-]+)", line)
    lines = lines_of.get(condition[1], []) if condition else []
    bounds = [int(found[1]) for found in map(_BOUND.search, lines) if found]
    return max(bounds, default=1)


def _computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the entry, and the lines of each computation that call others or communicate."""
    entry, name, lines_of = "", "", {}
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head and not line.startswith("HloModule"):
            name = head[2]
            entry = name if head[1] else entry
            lines_of[name] = []
        elif name and any(find.search(line) for find in (_CALLED, _COLLECTIVE, _BOUND)):
            lines_of[name].append(line)
    return entry, lines_of


def _collective(line: str, match: re.Match, computation: str, times: int) -> Collective:
    kind, is_start = match[1], bool(match[2])
    results = _ARRAY.findall(line[line.index("=") : match.start()])
    arrays = [(dtype, tuple(map(int, filter(None, dims.split(","))))) for dtype, dims in results]
    if is_start and kind != "all-reduce" and len(arrays) > 1:
        # The result of a start is a tuple of operands and results, and of a permute's two flags.
        arrays = [arrays[1]] if kind == "collective-permute" else arrays[len(arrays) // 2 :]
    size = sum(_bits(dtype) * math.prod(shape) for dtype, shape in arrays) // 8
    members = _members(line)
    if kind == "all-reduce" and "reduce-scatter" in computation:
        # The TPU compiler's fused reduce-scatter: an all-reduce of which a part is taken.
        kind, size = "reduce-scatter", size // max(1, len(members))
    dtype, shape = arrays[0] if arrays else ("", ())
    return Collective(kind, dtype, shape, size, len(members), times, members)


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    digits = re.match(r"[a-z]+(\d+)", dtype)
    return int(digits[1]) if digits else 0


def _members(line: str) -> tuple[int, ...]:
    """The devices of the first group; of a permute the first pair."""
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", line):
        first = re.findall(r"(\d+),(\d+)", pairs[1])
        apart = [pair for pair in first if pair[0] != pair[1]]
        return tuple(map(int, apart[0])) if apart else ()
    if listed := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return tuple(map(int, filter(None, listed[1].split(","))))
    if iota := re.search(rf"replica_groups=\[([\d,]+)\]<={_IOTA}", line):
        return tuple(_iota(iota[2], iota[3]).reshape(_ints(iota[1]))[0].ravel().tolist())
    if named := _MESH.search(line):
        axes = dict(re.findall(r"('\w+')=(\d+)", named[1]))
        sizes = [int(size) for size in axes.values()]
        devices = _iota(named[2], named[3]) if named[2] else np.arange(math.prod(sizes))
        talking = re.findall(r"'\w+'", named[4])
        first = tuple(slice(None) if axis in talking else 0 for axis in axes)
        return tuple(devices.reshape(sizes)[first].ravel().tolist())
    return ()


_IOTA = r"\[([\d,]+)\](?:T\(([\d,]+)\))?"
_MESH = re.compile(rf"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({_IOTA}\))? \{{([^}}]*)\}}")


def _ints(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _iota(dims: str, order: str | None) -> np.ndarray:
    """Devices as HLO writes them: counted, shaped, and with axes in another order."""
    devices = np.arange(math.prod(_ints(dims))).reshape(_ints(dims))
    return devices.transpose(_ints(order)) if order else devices


def by_axis(
    topology: Topology,
    sizes: Mapping[str, int],
    parameters: Iterable[Leaf],
    tokens: float,
    width: int,
    layers: int,
    remat: str,
    accumulate: int,
    itemsize: int,
) -> tuple[Traffic, ...]:
    """The same by arithmetic, for programs that are not compiled or cannot be read.

    Weights split by fsdp are gathered for the forward and for the backward pass, gradients reduced
    once, each for every microbatch. Between the axes of tensor the residual is gathered and reduced
    around attention and feed-forward: four times in the forward pass, six in the backward pass, and
    with layers that are computed again four more. Keys and values are gathered along sequence.

    Args:
      topology: what joins the devices.
      sizes: of the mesh.
      parameters: of the state.
      tokens: of a microbatch that a device has, of all that sequence splits.
      width, layers: D and N.
      remat, accumulate: the policy, and the number of microbatches.
      itemsize: bytes of an element of activations, and of weights as they are sent.
    """
    parameters = tuple(parameters)
    whole = itemsize * local_elements(parameters, {**sizes, "fsdp": 1})
    local = itemsize * local_elements(parameters, sizes)
    residual = tokens * width * itemsize / sizes["sequence"]  # whole but for sequence
    turns = 10 + {"none": 0, "dots": 2}.get(remat, 4)
    heads = tokens * width * itemsize / sizes["tensor"]
    results = {
        "fsdp": [("all-gather", 2 * whole), ("reduce-scatter", whole / sizes["fsdp"])],
        "data": [("all-reduce", local)],
        "slice": [("all-reduce", local)],
        "tensor": [
            ("all-gather", layers * residual * turns / 2),
            ("reduce-scatter", layers * residual / sizes["tensor"] * turns / 2),
        ],
        "sequence": [
            ("all-gather", 2 * 2 * layers * heads),
            ("reduce-scatter", 2 * layers * heads / sizes["sequence"]),
        ],
        "pipeline": [("collective-permute", 2 * residual / sizes["tensor"])],
    }
    found = []
    for axis, kinds in results.items():
        if sizes[axis] > 1:
            stride = math.prod(sizes[later] for later in AXES[AXES.index(axis) + 1 :])
            spans = topology.spans(range(0, stride * sizes[axis], stride))
            for kind, result in kinds:
                sent = accumulate * ring_bytes(kind, result, sizes[axis])
                found.append(Traffic(kind, sizes[axis], spans, sent))
    return tuple(found)
