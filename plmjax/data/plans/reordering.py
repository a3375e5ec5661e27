"""ERNIE 2.0's sentence reordering: the segments of a paragraph in another order, and which one."""

import dataclasses
import itertools
import math
from typing import ClassVar

import numpy as np

from plmjax.data.counter_random import below, fold, key_of
from plmjax.data.plans.chunks import ChunkPlan, Chunks
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.plans.pairs import PairPlan, PairSettings
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class SentenceReordering(PairSettings):
    """A paragraph is cut into 1 to m segments, which are permuted; the class is the permutation.

    There are 1! + 2! + ... + m! classes: those of one segment, then those of two, and so on, each
    in the order of `itertools.permutations`: of the paragraph's segments, numbered from 0, which
    stands first, which second. Published (Sun et al. 2020, section 3.2) is this much. The rest is
    decided here: a paragraph is a chunk of whole sentences as in BERT's pairs; the number of
    segments is uniform, up to the number of sentences; so are the borders between sentences, and
    the permutation; each segment has its closing token, and its place as its token type, so that
    how many segments there are can be seen.

    Attributes:
      most_segments: m.
    """

    most_segments: int = 3

    task: ClassVar[str] = "reordering"

    def __post_init__(self):
        super().__post_init__()
        if not 2 <= self.most_segments <= 5:
            raise UserError(f"most_segments={self.most_segments} is out of range; give 2 to 5")

    @property
    def labels(self) -> int:
        """How many classes examples have."""
        return sum(math.factorial(count) for count in range(1, self.most_segments + 1))

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        types = self.most_segments
        return make_layout(frame, tokenizer, seq_len, PAIR, labelled=True, piece_types=types)

    def bind(self, split: Split, layout: Layout, seed: int) -> ChunkPlan:
        """The plan over a split."""
        return _SentenceReordering(split, layout, seed, self)


class _SentenceReordering(PairPlan):
    def __init__(self, split: Split, layout: Layout, seed: int, settings: SentenceReordering):
        self.segments = settings.most_segments
        super().__init__(split, layout, seed, settings)

    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        return self._full_end(first, document, self._targets(document, keys))

    def _of_chunks(self, chunks: Chunks) -> Examples:
        first, seeds = chunks.first, chunks.seeds
        target = self._targets(chunks.document, chunks.keys)
        end = self._full_end(first, chunks.document, target)
        most = np.minimum(end - first, self.segments)
        counts = 1 + below(fold(seeds, key_of("segments")), most)
        offsets = self.split.sentence_offsets
        borders_NS = offsets[borders_between(first, end, counts, self.segments, seeds)]
        # Only the last sentence reaches over the target, and loses what does not fit.
        borders_NS = np.minimum(borders_NS, borders_NS[:, :1] + self._max_tokens)
        orders, sizes, before = _orders(self.segments)
        rank = below(fold(seeds, key_of("permutation")), sizes[counts])
        rows = np.repeat(np.arange(len(first)), counts)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        shown = orders[counts[rows], rank[rows], place]
        starts = borders_NS[rows, shown]
        lengths = borders_NS[rows, shown + 1] - starts
        return Examples.of(seeds, rows, starts, lengths, place, labels=before[counts] + rank)


def borders_between(
    first: np.ndarray, end: np.ndarray, counts: np.ndarray, most: int, seeds: np.ndarray
) -> np.ndarray:
    """Where runs of sentences are cut into segments, every cut equally likely: int64 [N, most + 1].

    Args:
      first, end: int64 [N], the run, not empty.
      counts: int [N], segments of each run, 1 to `most` and no more than its sentences.
      most: columns of the result, but for one.
      seeds: uint64 [N].

    Returns:
      Of each run its first sentence, where the later segments begin, and its end; the end again in
      what columns are left.
    """
    borders_NS = np.repeat(end[:, None], most + 1, axis=1)
    borders_NS[:, 0] = first
    for number in range(1, most):
        # One of those sentences behind the first at which no segment begins yet.
        free = np.maximum(end - first - number, 1)
        drawn = first + 1 + below(fold(seeds, key_of("border", number)), free)
        for earlier in range(1, number):  # ascending
            drawn += drawn >= borders_NS[:, earlier]
        drawn = np.where(counts > number, drawn, end)
        borders_NS[:, number] = drawn
        borders_NS[:, 1 : number + 1].sort(axis=1)
    return borders_NS


def _orders(most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Permutations [n, rank, place] of n segments, how many there are, and how many of fewer."""
    sizes = np.array([math.factorial(count) for count in range(most + 1)])
    sizes[0] = 0
    orders = np.zeros((most + 1, sizes[-1], most), np.int64)
    for count in range(1, most + 1):
        found = np.array(list(itertools.permutations(range(count))))
        orders[count, : len(found), :count] = found
    return orders, sizes, np.cumsum(sizes) - sizes
