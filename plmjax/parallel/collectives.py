"""What a compiled program moves between devices, read from the text of its HLO.

Nothing is measured: `jax.stages.Compiled.as_text()` is enough, for devices that are there or not.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
"""XLA's names."""

_BITS = {"pred": 8, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128}
_COLLECTIVE = re.compile(rf" = (?P<result>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b(?P<dtype>[a-z]+\d*\w*)\[(?P<shape>[\d,]*)\]")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
_CALLED = re.compile(
    r"\b(?P<how>condition|body|calls|to_apply|branch_computations|true_computation"
    r"|false_computation|called_computations)=\{?(?P<names>%?[\w.\-]+(?:, ?%[\w.\-]+)*)"
)
_LIMIT = re.compile(r" = s32\[\]\S* constant\((\d+)\)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One instruction, as each device runs it.

    kind: one of KINDS.
    arrays: dtype (XLA's name: f32, bf16, s32) and shape of what a device has afterwards; several
      where XLA has joined several into one.
    group: how many devices exchange with one another; 2 for a permutation.
    times: how often it runs: once for every turn of the loops around it. A loop whose number of
      turns the compiler does not know counts as one turn.
    source: which operation of the program it comes from, as jax names it.
    members: the devices of the first group, where the text says them.
    """

    kind: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    group: int
    times: int
    source: str
    members: tuple[int, ...] = dataclasses.field(default=(), compare=False)

    @property
    def size(self) -> int:
        """Bytes of `arrays`."""
        return sum(_bits(dtype) * math.prod(shape) // 8 for dtype, shape in self.arrays)

    @property
    def elements(self) -> int:
        """How many numbers the largest of `arrays` has."""
        return max((math.prod(shape) for _, shape in self.arrays), default=0)

    @property
    def moved(self) -> int:
        """Bytes that each device sends, all times together, by a ring of its group.

        A group of n sends (n - 1) / n of what all-gather and all-to-all leave and n - 1 times what
        reduce-scatter leaves; an all-reduce is a reduce-scatter and an all-gather. Source:
        NVIDIA/nccl-tests doc/PERFORMANCE.md.
        """
        return round(self.times * ring_share(self.kind, self.group) * self.size)


def ring_share(kind: str, n: int) -> float:
    """Bytes that each of n devices sends, for a byte of what it has afterwards; see `moved`."""
    shares = {"all-reduce": 2 * (n - 1) / n, "reduce-scatter": n - 1.0, "collective-permute": 1.0}
    return shares.get(kind, (n - 1) / n) if n > 1 else 0.0


def collectives(text: str) -> tuple[Collective, ...]:
    """The collectives of a compiled program, in the order of the text of each computation.

    One that is called from several places comes several times. Where a program takes one of
    several branches, all of them count. Two of a TPU's ways are undone: a collective that goes on
    during several fusions is in the text of each, and counts once; an all-reduce of which a device
    keeps its part alone is a reduce-scatter.

    Args:
      text: `compiled.as_text()`.
    """
    computations, entry = _computations(text)
    devices = math.prod(
        int(count) for count in re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", text)
    )

    @functools.cache
    def of(name: str) -> tuple[tuple[Collective, str], ...]:
        """Those of a computation, each with the number of its chain of fusions, if it has one."""
        found = []
        for line in computations.get(name, ()):
            if match := _COLLECTIVE.search(line):
                found.append((_collective(line, match, devices), _chain(line)))
            for called, times in _calls(line, computations):
                inner = of(called)
                if "all-reduce-scatter" in called:
                    inner = [(_scattered(one, line), chain) for one, chain in inner]
                chains = {chain for _, chain in found if chain}
                found.extend(
                    (dataclasses.replace(one, times=one.times * times), chain)
                    for one, chain in inner
                    if chain not in chains
                )
        return tuple(found)

    return tuple(collective for collective, _ in of(entry))


def moved_by_kind(found: Iterable[Collective]) -> dict[str, int]:
    """Bytes that each device sends, by kind; kinds that do not occur are left out."""
    moved = collections.Counter()
    for collective in found:
        moved[collective.kind] += collective.moved
    return dict(moved)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation by its name, and the name of the one that is run."""
    found, entry, lines = {}, "", []
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            lines = found.setdefault(match["name"], [])
            entry = match["name"] if match["entry"] else entry
        else:
            lines.append(line)
    return found, entry


def _calls(line: str, computations: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """Which computations an instruction runs, and how often."""
    if "-done(" in line or "-update(" in line:
        return  # they name what their -start has called
    called = [
        (match["how"], name.strip().lstrip("%"))
        for match in _CALLED.finditer(line)
        for name in match["names"].split(",")
    ]
    conditions = [name for how, name in called if how == "condition"]
    times = _trips(line, computations.get(conditions[0], [])) if conditions else 1
    for _, name in called:
        yield name, times


def _trips(line: str, condition: list[str]) -> int:
    """How many turns a loop takes; where it is not said, jax's loops count up to one constant."""
    if known := _TRIPS.search(line):
        return int(known[1])
    limits = [match[1] for part in condition if (match := _LIMIT.search(part))]
    return int(limits[0]) if len(limits) == 1 else 1


def _chain(line: str) -> str:
    """The number that the fusions share in which a collective goes on; empty for no such."""
    match = re.search(r"\bchannel_id=(\d+)", line) if 'chain_id="' in line else None
    return match[1] if match else ""


def _scattered(collective: Collective, fusion: str) -> Collective:
    """The all-reduce in a fusion that keeps a part of it."""
    result = fusion.partition(" = ")[2].partition(" fusion(")[0]
    return dataclasses.replace(
        collective, kind="reduce-scatter", arrays=_arrays(result), source=_source(fusion)
    )


def _collective(line: str, match: re.Match, devices: int) -> Collective:
    arrays = _arrays(match["result"])
    if match["start"] and match["kind"] != "all-reduce":
        # What is in flight is operands, results and, for a permutation, two numbers.
        arrays = tuple(array for array in arrays if array != ("u32", ()))
        arrays = arrays[len(arrays) // 2 :]
    group, members = _group(line, devices), _members(line)
    members = members if len(members) == group else ()
    return Collective(match["kind"], arrays, group, 1, _source(line), members)


def _arrays(result: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(
        (array["dtype"], tuple(int(size) for size in array["shape"].split(",") if size))
        for array in _ARRAY.finditer(result)
    )


def _source(line: str) -> str:
    match = re.search(r'op_name="([^"]*)"', line)
    return match[1] if match else ""


def _group(line: str, devices: int) -> int:
    """How many devices a group has, in any of the forms that XLA writes groups in."""
    if "source_target_pairs=" in line:
        return 2
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=@?mesh\[(.*?)\].*?\{(.*?)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        # An axis, or a part of one: 'axis_0':(1)4.
        named = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2])
        return math.prod(int(part or sizes[name]) for name, part in named)
    return devices


def _members(line: str) -> tuple[int, ...]:
    """The devices of the first group; of a permute the first pair; empty where it is not said."""
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


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    digits = re.match(r"[a-z]+(\d+)", dtype)  # f8e4m3fn has eight
    return int(digits[1]) if digits else 0
