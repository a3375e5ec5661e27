"""What a compiled program moves between devices, read from the text of its HLO.

Nothing is measured: `jax.stages.Compiled.as_text()` is enough, for devices that are there or not.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator

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
    """

    kind: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    group: int
    times: int
    source: str

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
        n = self.group
        share = {
            "all-reduce": 2 * (n - 1) / n,
            "reduce-scatter": n - 1,
            "collective-permute": 1,
        }.get(self.kind, (n - 1) / n)
        return round(self.times * share * self.size)


def collectives(text: str) -> tuple[Collective, ...]:
    """The collectives of a compiled program, in the order of the text of each computation.

    One that is called from several places comes several times. Where a program takes one of
    several branches, all of them count.

    Args:
      text: `compiled.as_text()`.
    """
    computations, entry = _computations(text)
    devices = math.prod(
        int(count) for count in re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", text)
    )

    @functools.cache
    def of(name: str) -> tuple[Collective, ...]:
        found = []
        for line in computations.get(name, ()):
            if match := _COLLECTIVE.search(line):
                found.append(_collective(line, match, devices))
            for called, times in _calls(line):
                found.extend(
                    dataclasses.replace(inner, times=inner.times * times) for inner in of(called)
                )
        return tuple(found)

    return of(entry)


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


def _calls(line: str) -> Iterator[tuple[str, int]]:
    """Which computations an instruction runs, and how often."""
    if "-done(" in line or "-update(" in line:
        return  # they name what their -start has called
    trips = _TRIPS.search(line)
    for match in _CALLED.finditer(line):
        is_loop = match["how"] in ("condition", "body")
        for name in match["names"].split(","):
            yield name.strip().lstrip("%"), int(trips[1]) if is_loop and trips else 1


def _collective(line: str, match: re.Match, devices: int) -> Collective:
    arrays = tuple(
        (array["dtype"], tuple(int(size) for size in array["shape"].split(",") if size))
        for array in _ARRAY.finditer(match["result"])
    )
    if match["start"] and match["kind"] != "all-reduce":
        # What is in flight is operands, results and, for a permutation, two numbers.
        arrays = tuple(array for array in arrays if array != ("u32", ()))
        arrays = arrays[len(arrays) // 2 :]
    source = re.search(r'op_name="([^"]*)"', line)
    return Collective(match["kind"], arrays, _group(line, devices), 1, source[1] if source else "")


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


def _bits(dtype: str) -> int:
    if dtype in _BITS:
        return _BITS[dtype]
    digits = re.match(r"[a-z]+(\d+)", dtype)  # f8e4m3fn has eight
    return int(digits[1]) if digits else 0
