"""How much of a poem stands in the poems that were trained on."""

from collections.abc import Sequence

import numpy as np

_BASE, _SPREAD = np.uint64(1_000_003), np.uint64(0x9E3779B97F4A7C15)

Poems = Sequence[Sequence[str]]
"""Lines of each, without marks."""


class Copies:
    """What was trained on, to look poems up in."""

    def __init__(self, trained: Poems):
        self._lines = {line for lines in trained for line in lines}
        # Nothing reaches over the 0 between two poems.
        self._codes = _codes("\0".join("".join(lines) for lines in trained))

    def lines_taken(self, lines: Sequence[str]) -> int:
        """How many of these lines are lines of poems that were trained on."""
        return sum(line in self._lines for line in lines)

    def longest(self, poems: Poems) -> list[int]:
        """For each poem the most characters in a row, over the ends of lines, that stand in one.

        Rows are compared by numbers of 64 bits that are made of them.
        """
        bodies = [_codes("".join(lines)) for lines in poems]
        rows = [np.zeros(len(body), np.uint64) for body in bodies]
        places, sums = np.arange(len(self._codes)), np.zeros(len(self._codes), np.uint64)
        found, open_, size = [0] * len(poems), set(range(len(poems))), 0
        while open_:
            size += 1
            rows = [_longer(row, body, size) for row, body in zip(rows, bodies, strict=True)]
            wanted = np.unique(np.concatenate([rows[number] for number in open_]))
            # A row can only stand where the row without its last character does.
            inside = places + size <= len(self._codes)
            places, sums = places[inside], sums[inside]
            last = self._codes[places + size - 1]
            sums = _next(sums, last)
            there = _among(sums, wanted) & (last != 0)
            places, sums = places[there], sums[there]
            stand = np.unique(sums)
            open_ = {number for number in open_ if _among(rows[number], stand).any()}
            for number in open_:
                found[number] = size
        return found


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)


def _next(sums: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The numbers of rows that are longer by one character; uint64 wraps around."""
    return sums * _BASE + (codes + np.uint64(1)) * _SPREAD


def _longer(row: np.ndarray, body: np.ndarray, size: int) -> np.ndarray:
    """The numbers of a body's rows of `size` characters, from those of one less."""
    count = max(len(body) - size + 1, 0)
    return _next(row[:count], body[size - 1 :])


def _among(numbers: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Which numbers are among the ordered ones: bool."""
    if not len(ordered):
        return np.zeros(len(numbers), bool)
    at = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
    return ordered[at] == numbers
