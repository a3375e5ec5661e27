"""ELECTRA's segments: chunks of a document split in two, without a label.

Follows `ExampleBuilder` of google-research/electra (build_pretraining_dataset.py).
"""

import dataclasses

import numpy as np

from plmjax.data.counter_random import below, fold, key_of, uniform
from plmjax.data.plans.chunks import ChunkPlan, Chunks
from plmjax.data.plans.examples import Examples, Split, ranges
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

_SHORTEST = 5


@dataclasses.dataclass(frozen=True)
class ElectraSegments:
    """Sentences are gathered up to the row's length; about half of them become the second segment.

    As in the original, a chunk stops at the sentence that fills the target length, specials not
    counted, and what sticks out of a segment is cut at its end; and a short sentence may still
    join the first segment after a long one has opened the second.

    Attributes:
      single_prob: how often all is one segment.
      short_prob: how often the target is a random shorter length, at least 5.
      dupe_factor: 0 to draw segments and masks anew each epoch; k for k fixed versions.
    """

    single_prob: float = 0.1
    short_prob: float = 0.05
    dupe_factor: int = 0

    def __post_init__(self):
        for name in ("single_prob", "short_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)} is not a share; give 0 to 1")
        if self.dupe_factor < 0:
            raise UserError(f"dupe_factor={self.dupe_factor} is negative; give 0 for dynamic masks")

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, PAIR)

    def bind(self, split: Split, layout: Layout, seed: int) -> ChunkPlan:
        """The plan over a split."""
        return _ElectraPlan(split, layout, seed, self)


class _ElectraPlan(ChunkPlan):
    def __init__(self, split: Split, layout: Layout, seed: int, settings: ElectraSegments):
        super().__init__(split, seed, settings.dupe_factor, varies=settings.short_prob > 0)
        self._settings = settings
        self._seq_len = layout.seq_len
        self._rooms = layout.room(1), layout.room(2)

    def _targets(self, seeds: np.ndarray) -> np.ndarray:
        is_short = uniform(fold(seeds, key_of("short"))) < self._settings.short_prob
        length = _SHORTEST + below(fold(seeds, key_of("length")), self._seq_len - _SHORTEST + 1)
        return np.where(is_short, length, self._seq_len)

    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        return self._full_end(first, document, self._targets(seeds))

    def _of_chunks(self, chunks: Chunks) -> Examples:
        target = self._targets(chunks.cut_seeds)
        counts = self._full_end(chunks.first, chunks.document, target) - chunks.first
        sentences = ranges(chunks.first, counts)
        offsets = self.split.sentence_offsets
        starts = offsets[sentences]
        lengths = offsets[sentences + 1] - starts
        rows = np.repeat(np.arange(len(counts)), counts)
        is_second = self._second(chunks, target, counts, lengths)
        # The first segment's sentences go before the second's, in their order.
        order = np.lexsort((is_second, rows))
        rows, starts, lengths = rows[order], starts[order], lengths[order]
        is_second = is_second[order]
        first_room, both_room = self._rooms
        in_first = np.bincount(rows, np.where(is_second, 0, lengths), len(counts))
        in_first = np.minimum(in_first.astype(np.int64), first_room)
        rooms = np.where(is_second, np.maximum(both_room - in_first, 0)[rows], first_room)
        group = 2 * rows + is_second
        opens = np.append(True, group[1:] != group[:-1])
        before = np.cumsum(lengths) - lengths
        before -= before[opens][np.cumsum(opens) - 1]
        lengths = np.clip(rooms - before, 0, lengths)
        kept = lengths > 0
        rows, is_second = rows[kept], is_second[kept]
        group = group[kept]
        closes = np.append(group[1:] != group[:-1], True)
        return Examples.of(
            chunks.seeds, rows, starts[kept], lengths[kept], is_second, closes=closes
        )

    def _second(
        self, chunks: Chunks, target: np.ndarray, counts: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Which sentences go to the second segment: bool, for the sentences of all chunks."""
        single = uniform(fold(chunks.seeds, key_of("single"))) < self._settings.single_prob
        specials = self._seq_len - self._rooms[1]
        wanted = np.where(single, np.iinfo(np.int64).max >> 1, (target - specials) // 2)
        joins = uniform(fold(chunks.seeds, key_of("over"))) < 0.5
        is_second = np.zeros(len(lengths), bool)
        begins = np.cumsum(counts) - counts
        in_first = np.zeros(len(counts), np.int64)
        opened = np.zeros(len(counts), bool)  # the second segment has a sentence
        for number in range(int(counts.max())):
            left = np.flatnonzero(counts > number)
            length, so_far = lengths[begins[left] + number], in_first[left]
            # The coin is tossed once at most before it decides: heads leaves no room for another.
            to_first = (so_far == 0) | (so_far + length < wanted[left])
            to_first |= ~opened[left] & (so_far < wanted[left]) & joins[left]
            in_first[left] += np.where(to_first, length, 0)
            opened[left] |= ~to_first
            is_second[begins[left] + number] = ~to_first
        return is_second
