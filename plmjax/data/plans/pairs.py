"""Pairs of segments with a label: next sentence, sentence order, sentence distance.

The chunker, truncation and next-sentence draw are those of google-research/bert's
create_pretraining_data.py, sentence order is google-research/albert's, each vectorised. Sentence
distance is one of ERNIE 2.0's tasks, whose data code was not released: see `SentenceDistance`.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from plmjax.data.counter_random import below, fold, key_of, uniform
from plmjax.data.plans.chunks import ChunkPlan, Chunks, cut_in_front, target_lengths, truncation
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

_TRIES = 10  # for a document that differs from the example's own


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """What all pairs are cut by.

    Attributes:
      short_seq_prob: how often a document is cut to a random shorter length.
      dupe_factor: 0 to draw pairs and masks anew each epoch; k for k fixed versions of the corpus.
    """

    short_seq_prob: float = 0.1
    dupe_factor: int = 0

    task: ClassVar[str] = "nsp"
    """What the label is about, for names of metrics."""

    def __post_init__(self):
        if not 0 <= self.short_seq_prob <= 1:
            raise UserError(f"short_seq_prob={self.short_seq_prob} is not a share; give 0 to 1")
        if self.dupe_factor < 0:
            raise UserError(f"dupe_factor={self.dupe_factor} is negative; give 0 for dynamic masks")

    @property
    def labels(self) -> int:
        """How many classes examples have; 0 for none."""
        return 2

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, PAIR, labelled=self.labels > 0)

    def _checked(self, split: Split) -> Split:
        if split.documents < 2 and self.labels:
            raise UserError(
                f"{split.path} has {split.documents} document(s) and at least 2 are needed for "
                "pairs; give more text (blank lines separate documents) or another held_out"
            )
        return split


@dataclasses.dataclass(frozen=True)
class SentencePairs(PairSettings):
    """BERT's pairs: B follows A (label 0) or is from a random other document (label 1).

    Attributes:
      next_sentence: False for single segments without a label.
    """

    next_sentence: bool = True

    @property
    def labels(self) -> int:
        """How many classes examples have; 0 for none."""
        return 2 if self.next_sentence else 0

    def bind(self, split: Split, layout: Layout, seed: int) -> ChunkPlan:
        """The plan over a split."""
        kind = _NextSentence if self.next_sentence else _Single
        return kind(self._checked(split), layout, seed, self)


@dataclasses.dataclass(frozen=True)
class SentenceOrder(PairSettings):
    """ALBERT's pairs: two runs of a document that follow each other (0), or swapped (1).

    A chunk of one sentence takes a random other document as B, with label 1, as published.
    """

    task: ClassVar[str] = "sop"

    def bind(self, split: Split, layout: Layout, seed: int) -> ChunkPlan:
        """The plan over a split."""
        return _SentenceOrder(self._checked(split), layout, seed, self)


@dataclasses.dataclass(frozen=True)
class SentenceDistance(PairSettings):
    """ERNIE 2.0's pairs: B follows A (0), is elsewhere in the document (1), in another one (2).

    The three are equally likely. The rest is decided here, as it was not published: chunks and
    truncation are BERT's; elsewhere in the document means that at least one sentence lies between;
    where the drawn class is impossible (a chunk of one sentence has no continuation, a short
    document has no elsewhere) B comes from another document.
    """

    task: ClassVar[str] = "distance"

    @property
    def labels(self) -> int:
        """How many classes examples have."""
        return 3

    def bind(self, split: Split, layout: Layout, seed: int) -> ChunkPlan:
        """The plan over a split."""
        return _SentenceDistance(self._checked(split), layout, seed, self)


class PairPlan(ChunkPlan):
    """BERT's chunker; a chunk's A is [first, middle) and its B, if real, [middle, end)."""

    segments = 2

    def __init__(self, split: Split, layout: Layout, seed: int, settings: PairSettings):
        super().__init__(split, seed, settings.dupe_factor)
        self._short_seq_prob = settings.short_seq_prob
        self._max_tokens = layout.room(self.segments)

    def _targets(self, document: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return target_lengths(document, keys, self._short_seq_prob, self._max_tokens)

    def _chunk(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Middle and end of the chunks that begin at `first`, and their target length."""
        target = self._targets(document, keys)
        end = self._full_end(first, document, target)
        spread = below(fold(seeds, key_of("end of a")), end - first - 1)
        middle = first + 1 + np.where(end - first == 1, 0, spread)
        return middle, end, target

    def _tokens(self, first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and length in tokens of runs of sentences."""
        offsets = self.split.sentence_offsets
        return offsets[first], offsets[end] - offsets[first]

    def _run(
        self, start: np.ndarray, stop: np.ndarray, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of whole sentences from `start` on until there are `wanted`, or to `stop`."""
        offsets = self.split.sentence_offsets
        full = np.searchsorted(offsets, offsets[start] + wanted)
        return self._tokens(start, np.minimum(full, stop))

    def _from_elsewhere(self, chunks: Chunks, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A run of sentences from a random sentence of a random other document on."""
        offsets = self.split.document_offsets
        keys = fold(chunks.seeds, key_of("other document"))
        document = chunks.document.copy()
        again = np.arange(len(document))
        for attempt in range(_TRIES):
            bits = fold(keys[again], np.array(attempt, np.uint64))
            document[again] = below(bits, len(offsets) - 1)
            again = again[document[again] == chunks.document[again]]
        first, stop = offsets[document], offsets[document + 1]
        start = first + below(fold(chunks.seeds, key_of("random start")), stop - first)
        return self._run(start, stop, wanted)

    def _pair(
        self,
        chunks: Chunks,
        a: tuple[np.ndarray, np.ndarray],
        b: tuple[np.ndarray, np.ndarray],
        labels: np.ndarray,
    ) -> Examples:
        """Both segments (start, length) truncated to fit."""
        (a_start, a_length), (b_start, b_length) = a, b
        a_cut, b_cut = truncation(a_length, b_length, self._max_tokens)
        return Examples.of_segments(
            chunks.seeds,
            (
                a_start + cut_in_front(a_cut, fold(chunks.seeds, key_of("front of a"))),
                b_start + cut_in_front(b_cut, fold(chunks.seeds, key_of("front of b"))),
            ),
            (a_length - a_cut, b_length - b_cut),
            labels,
        )


class _Single(PairPlan):
    segments = 1

    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        return self._full_end(first, document, self._targets(document, keys))

    def _of_chunks(self, chunks: Chunks) -> Examples:
        target = self._targets(chunks.document, chunks.keys)
        end = self._full_end(chunks.first, chunks.document, target)
        start, length = self._tokens(chunks.first, end)
        cut = np.maximum(length - self._max_tokens, 0)
        front = cut_in_front(cut, fold(chunks.seeds, key_of("front of a")))
        return Examples.of_segments(chunks.seeds, (start + front,), (length - cut,))


class _NextSentence(PairPlan):
    def _is_random(self, first: np.ndarray, end: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        return (end - first == 1) | (uniform(fold(seeds, key_of("random b"))) < 0.5)

    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        middle, end, _ = self._chunk(first, document, keys, seeds)
        # Sentences that a random B leaves unused are put back.
        return np.where(self._is_random(first, end, seeds), middle, end)

    def _of_chunks(self, chunks: Chunks) -> Examples:
        middle, end, target = self._chunk(
            chunks.first, chunks.document, chunks.keys, chunks.cut_seeds
        )
        is_random = self._is_random(chunks.first, end, chunks.cut_seeds)
        a = self._tokens(chunks.first, middle)
        real = self._tokens(middle, end)
        other = self._from_elsewhere(chunks, np.maximum(target - a[1], 1))
        b = tuple(np.where(is_random, *both) for both in zip(other, real, strict=True))
        return self._pair(chunks, a, b, is_random)


class _SentenceOrder(PairPlan):
    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        return self._full_end(first, document, self._targets(document, keys))

    def _of_chunks(self, chunks: Chunks) -> Examples:
        middle, end, target = self._chunk(
            chunks.first, chunks.document, chunks.keys, chunks.cut_seeds
        )
        alone = end - chunks.first == 1
        swap = ~alone & (uniform(fold(chunks.seeds, key_of("swap"))) < 0.5)
        a = self._tokens(chunks.first, middle)
        other = self._from_elsewhere(chunks, np.maximum(target - a[1], 1))
        real = self._tokens(middle, end)
        b = tuple(np.where(alone, *both) for both in zip(other, real, strict=True))
        ab = zip(a, b, strict=True)
        swapped = [(np.where(swap, y, x), np.where(swap, x, y)) for x, y in ab]
        a, b = zip(*swapped, strict=True)
        return self._pair(chunks, a, b, alone | swap)


class _SentenceDistance(PairPlan):
    def _classes(
        self,
        first: np.ndarray,
        middle: np.ndarray,
        end: np.ndarray,
        document: np.ndarray,
        seeds: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The class, and how many starts for a B elsewhere lie before and behind A."""
        offsets = self.split.document_offsets
        # One sentence at least between: B ends before first - 1, or begins after middle.
        before = np.maximum(first - 1 - offsets[document], 0)
        behind = np.maximum(offsets[document + 1] - middle - 1, 0)
        drawn = below(fold(seeds, key_of("distance")), 3)
        impossible = ((drawn == 0) & (end - first == 1)) | ((drawn == 1) & (before + behind == 0))
        return np.where(impossible, 2, drawn), before, behind

    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        middle, end, _ = self._chunk(first, document, keys, seeds)
        label, _, _ = self._classes(first, middle, end, document, seeds)
        return np.where(label == 0, end, middle)  # unused sentences are put back

    def _of_chunks(self, chunks: Chunks) -> Examples:
        first, document = chunks.first, chunks.document
        middle, end, target = self._chunk(first, document, chunks.keys, chunks.cut_seeds)
        label, before, behind = self._classes(first, middle, end, document, chunks.cut_seeds)
        a = self._tokens(first, middle)
        wanted = np.maximum(target - a[1], 1)
        place = below(fold(chunks.seeds, key_of("elsewhere")), before + behind)
        in_front = place < before
        offsets = self.split.document_offsets
        start = np.where(in_front, offsets[document] + place, middle + 1 + place - before)
        stop = np.where(in_front, first - 1, offsets[document + 1])
        start = np.where(label == 1, start, first)  # anything that exists where it is not used
        same = self._run(start, np.where(label == 1, stop, end), wanted)
        other = self._from_elsewhere(chunks, wanted)
        real = self._tokens(middle, end)
        b = tuple(np.choose(label, options) for options in zip(real, same, other, strict=True))
        return self._pair(chunks, a, b, label)
