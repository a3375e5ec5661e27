"""Bin packing of a histogram of sizes: best fit, largest sizes first."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Bins:
    """Bins of equal contents come together, as S shapes with M slots in all.

    Attributes:
      begins: int64 [S + 1], the number of the first bin of each shape, and of all bins.
      first_slots: int64 [S + 1], the first slot of each shape.
      sizes: int64 [M], what fits in the slot exactly.
      ranks: int64 [M], among the things of the slot's size, the one in the shape's first bin; the
        n-th bin of the shape has the n-th thing after it.
    """

    begins: np.ndarray
    first_slots: np.ndarray
    sizes: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return int(self.begins[-1])


def pack(counts: np.ndarray, capacity: int) -> Bins:
    """Packs `counts[s]` things of each size s into few bins of the capacity.

    Best-fit decreasing: each thing goes into the bin with the least room that is enough, or into a
    new one. Bins of equal contents are filled at once, so the time depends on the capacity and
    hardly on the number of things.

    Args:
      counts: int [capacity + 1]; counts[0] is 0.
      capacity: room of a bin.
    """
    # Bins by the room left: (how many, contents), where contents are (size, times, earlier ones).
    by_room: list[list[tuple[int, tuple | None]]] = [[] for _ in range(capacity + 1)]
    with_bins = 0  # bit r: there are bins with room r

    def put(room: int, bins: int, contents: tuple) -> None:
        nonlocal with_bins
        if bins:
            by_room[room].append((bins, contents))
            with_bins |= 1 << room

    for size in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[size])
        while left:
            fitting = with_bins >> size
            if fitting:
                room = size + (fitting & -fitting).bit_length() - 1
                bins, contents = by_room[room].pop()
                if not by_room[room]:
                    with_bins ^= 1 << room
            else:
                room, bins, contents = capacity, left, None
            times = room // size
            full, rest = divmod(min(left, bins * times), times)
            put(room - times * size, full, (size, times, contents))
            if rest:
                put(room - rest * size, 1, (size, rest, contents))
            if contents is not None:
                put(room, bins - full - (rest > 0), contents)
            left -= full * times + rest
    return _numbered([shape for shapes in by_room for shape in shapes], capacity)


def _numbered(shapes: list[tuple[int, tuple]], capacity: int) -> Bins:
    used = [0] * (capacity + 1)
    begins, first_slots, sizes, ranks = [0], [0], [], []
    for bins, contents in shapes:
        while contents is not None:
            size, times, contents = contents
            for _ in range(times):
                sizes.append(size)
                ranks.append(used[size])
                used[size] += bins
        begins.append(begins[-1] + bins)
        first_slots.append(len(sizes))
    return Bins(*(np.array(column, np.int64) for column in (begins, first_slots, sizes, ranks)))
