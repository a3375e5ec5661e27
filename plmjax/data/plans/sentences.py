"""RoBERTa's inputs: whole sentences packed up to the budget, across documents or not.

Follows fairseq's `sample_break_mode` "complete" (FULL-SENTENCES) and "complete_doc"
(DOC-SENTENCES), except that a sentence longer than the budget is cut into pieces that fit: fairseq
makes it a block that is too long.
"""

import dataclasses

import numpy as np

from plmjax.data.kept import Kept
from plmjax.data.plans.base import Plan
from plmjax.data.plans.chunks import chunk_starts
from plmjax.data.plans.examples import Examples, Split, ranges
from plmjax.data.plans.layout import RUN, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer

_UNITS_AT_ONCE = 1 << 16


@dataclasses.dataclass(frozen=True)
class FullSentences:
    """Sentences in the corpus's order, packed across documents until the next would not fit.

    Blocks are the same in every epoch, as fairseq's; their order and what is masked are not.

    Attributes:
      separate: whether the frame's closing token stands between documents, as the RoBERTa paper
        has it; else they join seamlessly.
    """

    separate: bool = True

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, RUN)

    def bind(self, split: Split, layout: Layout, seed: int) -> Plan:
        """The plan over a split."""
        return _SentencePlan(split, layout, seed, crossing=True, separate=self.separate)


@dataclasses.dataclass(frozen=True)
class DocSentences:
    """The same within documents: what RoBERTa calls DOC-SENTENCES, and SpanBERT's single segment.

    SpanBERT drops sentences that are too long; here they are cut.
    """

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, RUN)

    def bind(self, split: Split, layout: Layout, seed: int) -> Plan:
        """The plan over a split."""
        return _SentencePlan(split, layout, seed, crossing=False, separate=False)


class _SentencePlan(Plan):
    """Its table is the first token of each block: 8 bytes per example, for all epochs."""

    def __init__(self, split: Split, layout: Layout, seed: int, crossing: bool, separate: bool):
        super().__init__(split, seed)
        self._budget = layout.room(1)
        self._separator = len(layout.tail) if separate else 0
        self._crossing = crossing
        self._separate = separate
        self._marks_documents = layout.marks_documents
        self._tables = Kept(lambda _: self._block_starts())

    def _count(self, cut: int) -> int:
        return len(self._tables[0]) - 1

    def _block_starts(self) -> np.ndarray:
        """The first token of each block, and the end of the split: int64 [N + 1]."""
        offsets, documents = cut_sentences(
            self.split.sentence_offsets, self.split.document_offsets, self._budget
        )
        if self._crossing:
            starts = complete(offsets, documents, self._budget, self._separator)
        else:

            def following(first: np.ndarray, document: np.ndarray) -> np.ndarray:
                full = np.searchsorted(offsets, offsets[first] + self._budget, side="right") - 1
                return np.minimum(full, documents[document + 1])

            starts = chunk_starts(documents, following)
        return np.append(offsets[starts], offsets[-1])

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        table = self._tables[0]
        seeds = self._epoch_seeds(epoch, numbers)
        begins, ends = table[numbers], table[numbers + 1]
        sentences, documents = self.split.sentence_offsets, self.split.document_offsets
        both = np.stack([begins, ends - 1], axis=1)
        both = np.searchsorted(sentences, both, side="right") - 1
        first, last = (np.searchsorted(documents, both, side="right") - 1).T
        ends_document = sentences[documents[last + 1]] == ends
        if not self._separate:
            closes = ends_document | (not self._marks_documents)
            rows = np.arange(len(numbers))
            nought = np.zeros(len(numbers))
            return Examples.of(seeds, rows, begins, ends - begins, nought, closes=closes)
        counts = last - first + 1
        rows = np.repeat(np.arange(len(numbers)), counts)
        document = ranges(first, counts)
        starts = np.maximum(sentences[documents[document]], begins[rows])
        stops = sentences[documents[document + 1]]
        closes = (stops <= ends[rows]) | (not self._marks_documents)
        lengths = np.minimum(stops, ends[rows]) - starts
        segments = np.zeros(len(rows))
        return Examples.of(seeds, rows, starts, lengths, segments, closes=closes)


def cut_sentences(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same offsets with sentences longer than `longest` cut into pieces that long and a rest.

    Where none is longer these are the arrays themselves.
    """
    counts = -(-np.diff(sentence_offsets) // longest)
    if counts.max() <= 1:
        return sentence_offsets, document_offsets
    ends = np.append(0, np.cumsum(counts))
    inside = np.arange(ends[-1]) - np.repeat(ends[:-1], counts)
    offsets = np.repeat(sentence_offsets[:-1], counts) + inside * longest
    return np.append(offsets, sentence_offsets[-1]), ends[document_offsets]


def complete(
    offsets: np.ndarray, document_offsets: np.ndarray, budget: int, separator: int
) -> np.ndarray:
    """The first sentence of each block when sentences are packed in order until one does not fit.

    Args:
      offsets: int64 [S + 1], the token at which each sentence starts; none is over the budget.
      document_offsets: int64 [D + 1], the sentence at which each document starts.
      budget: tokens of a block, one separator at its end not counted.
      separator: tokens between documents inside a block.

    Returns:
      int64 [N].
    """
    starts: list[int] = []
    first, total = 0, len(offsets) - 1
    while first < total:
        # A block has at most `budget` sentences, so this many more are looked at.
        base, stop = first, min(total, first + _UNITS_AT_ONCE + budget)
        begins, ends = offsets[base:stop], offsets[base + 1 : stop + 1]
        if separator:
            low = np.searchsorted(document_offsets, base, side="right") - 1
            high = np.searchsorted(document_offsets, stop)
            bounds = np.clip(document_offsets[low : high + 1], base, stop)
            shift = separator * np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
            begins, ends = begins + shift, ends + shift
        following = np.searchsorted(ends, begins + budget, side="right").tolist()
        place, end = 0, total - base if stop == total else _UNITS_AT_ONCE
        while place < end:
            starts.append(base + place)
            place = following[place]
        first = base + place
    return np.array(starts, np.int64)
