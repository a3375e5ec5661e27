"""Rows packed with whole documents, nearly without padding."""

import dataclasses

import numpy as np

from plmjax.data.counter_random import fold, key_of
from plmjax.data.permutation import permuted
from plmjax.data.plans.base import Plan, number_dtype
from plmjax.data.plans.bins import Bins, pack
from plmjax.data.plans.examples import Examples, Split, ranges
from plmjax.data.plans.layout import EACH, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer

_DOCUMENTS_AT_ONCE = 1 << 20  # bounds the memory of temporaries


@dataclasses.dataclass(frozen=True)
class Packed:
    """Several documents to a row, each in a frame of its own, which do not see each other.

    Segment ids tell them apart and positions restart, so that a row is worth as many sequences.
    Documents longer than a row are cut into pieces that fill rows and a rest that is packed.
    """

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, EACH, isolate=True)

    def bind(self, split: Split, layout: Layout, seed: int) -> "PackedPlan":
        """The plan over a split."""
        return PackedPlan(split, layout, seed)


class PackedPlan(Plan):
    """Which sizes share a row follows from the histogram of sizes alone, once for all epochs.

    Which documents of those sizes is drawn anew in every epoch: a permutation within each size
    that is computed for the documents of a batch alone. So there is no table of an epoch. What is
    kept is the documents in the order of their sizes, 4 bytes each (8 beyond 2**32 documents), and
    12 more for each document longer than a row.
    """

    def __init__(self, split: Split, layout: Layout, seed: int):
        super().__init__(split, seed)
        self._place_key = key_of(seed, split.name, "places")
        self._length = layout.seq_len
        self._overhead = len(layout.head_first) + len(layout.tail)
        self._last_room = layout.seq_len - self._overhead
        # A piece that does not end its document goes without the mark of the end.
        self._marks_documents = layout.marks_documents
        self._full_room = self._last_room + layout.marks_documents * len(layout.tail)
        self._by_size, self._size_begins, full = self._sorted()
        self._long, self._full_begins = full
        self._bins: Bins = pack(np.diff(self._size_begins), layout.seq_len)
        self._full_rows = int(self._full_begins[-1])

    @property
    def efficiency(self) -> float:
        """The share of places in an epoch's rows that is not padding."""
        sizes = np.diff(self._size_begins) @ np.arange(self._length + 1)
        full = self._full_rows * self._length
        return float((sizes + full) / (self._length * self._count(0)))

    def _count(self, cut: int) -> int:
        return self._full_rows + len(self._bins)

    def _cut(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many full rows documents of these lengths make, and the size of the rest."""
        full = -(-np.maximum(lengths - self._last_room, 0) // self._full_room)
        return full, lengths - full * self._full_room + self._overhead

    def _sorted(self) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Documents by the size of their rest, where each size begins, and who has full rows.

        The full rows are given as the documents that have some, and the number of the first of
        each, ending with their number in all.
        """
        split = self.split
        counts = np.zeros(self._length + 1, np.int64)
        long, full_counts, sizes = [], [], []
        for start in range(0, split.documents, _DOCUMENTS_AT_ONCE):
            offsets = split.document_offsets[start : start + _DOCUMENTS_AT_ONCE + 1]
            full, size = self._cut(np.diff(split.sentence_offsets[offsets]))
            counts += np.bincount(size, minlength=self._length + 1)
            sizes.append(size.astype(np.uint16))
            inside = np.flatnonzero(full)
            long.append((inside + start).astype(number_dtype(split.documents)))
            full_counts.append(full[inside])
        begins = np.append(0, np.cumsum(counts))
        free = begins[:-1].copy()
        by_size = np.empty(split.documents, number_dtype(split.documents))
        for number, size in enumerate(sizes):
            order = np.argsort(size, kind="stable")
            here = np.bincount(size, minlength=self._length + 1)
            shift = free - (np.cumsum(here) - here)
            places = np.arange(len(order)) + np.repeat(shift, here)
            by_size[places] = order + number * _DOCUMENTS_AT_ONCE
            free += here
        full_begins = np.append(0, np.cumsum(np.concatenate(full_counts)))
        return by_size, begins, (np.concatenate(long), full_begins)

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        is_full = numbers < self._full_rows
        parts, places = [], []
        for chosen, made in ((is_full, self._full), (~is_full, self._packed)):
            where = np.flatnonzero(chosen)
            if len(where):
                seeds = self._epoch_seeds(epoch, numbers[where])
                parts.append(made(epoch, numbers[where], seeds))
                places.append(where)
        return Examples.scattered(parts, places)

    def _full(self, epoch: int, numbers: np.ndarray, seeds: np.ndarray) -> Examples:
        place = np.searchsorted(self._full_begins, numbers, side="right") - 1
        piece = numbers - self._full_begins[place]
        first = self.split.document_offsets[self._long[place]]
        start = self.split.sentence_offsets[first] + piece * self._full_room
        rows, nought = np.arange(len(numbers)), np.zeros(len(numbers))
        closes = np.full(len(numbers), not self._marks_documents)
        return Examples.of(seeds, rows, start, nought + self._full_room, nought, closes=closes)

    def _packed(self, epoch: int, numbers: np.ndarray, seeds: np.ndarray) -> Examples:
        bins = self._bins
        numbers = numbers - self._full_rows
        shape = np.searchsorted(bins.begins, numbers, side="right") - 1
        counts = np.diff(bins.first_slots)[shape]
        rows = np.repeat(np.arange(len(numbers)), counts)
        slot = ranges(bins.first_slots[shape], counts)
        rank = bins.ranks[slot] + (numbers - bins.begins[shape])[rows]
        size = bins.sizes[slot]
        keys = fold(fold(self._place_key, np.array(epoch, np.uint64)), size.astype(np.uint64))
        begins = self._size_begins[size]
        rank = permuted(rank, self._size_begins[size + 1] - begins, keys)
        document = self._by_size[begins + rank].astype(np.int64)
        stop = self.split.sentence_offsets[self.split.document_offsets[document + 1]]
        length = size - self._overhead
        segments = ranges(np.zeros(len(counts), np.int64), counts)
        return Examples.of(seeds, rows, stop - length, length, segments)
