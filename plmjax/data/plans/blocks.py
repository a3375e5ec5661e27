"""GPT's blocks: a stream of documents cut every so many tokens."""

import dataclasses

import numpy as np

from plmjax.data.counter_random import fold, key_of
from plmjax.data.kept import Kept
from plmjax.data.plans.base import Plan, number_dtype, shuffled
from plmjax.data.plans.examples import Examples, Split, ranges
from plmjax.data.plans.layout import STREAM, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Rows filled to the last token from documents in a new random order each epoch.

    The frame's token ("eod", "eos") stands behind each document; "none" has nothing there. The
    last block of an epoch is padded.

    Attributes:
      isolate: whether documents of a row are told apart (segment ids, restarting positions), so
        that attention does not cross.
      overlap: tokens at the end of a block that the next one begins with: 1 where targets are the
        next tokens, so that every token is a target once.
    """

    isolate: bool = False
    overlap: int = 0

    def __post_init__(self):
        if self.overlap < 0:
            raise UserError(f"overlap={self.overlap} is negative; give 0 or more")

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, STREAM, isolate=self.isolate)

    def bind(self, split: Split, layout: Layout, seed: int) -> Plan:
        """The plan over a split.

        Raises:
          UserError: where the overlap is no less than a block.
        """
        if self.overlap >= layout.seq_len:
            raise UserError(
                f"overlap={self.overlap} is no less than the block of {layout.seq_len} tokens; "
                "give 0 or 1"
            )
        return _BlockPlan(split, layout, seed, self.overlap)


class _BlockPlan(Plan):
    """Its table is the epoch's order of documents and where each begins: 12 bytes a document."""

    def __init__(self, split: Split, layout: Layout, seed: int, overlap: int):
        super().__init__(split, seed)
        self._stream_key = key_of(seed, split.name, "documents")
        self._tail = len(layout.tail)
        self._length = layout.seq_len
        self._stride = layout.seq_len - overlap
        # Behind the last token there is nothing left to repeat.
        self._stream_tokens = int(split.tokens + self._tail * split.documents)
        self._blocks = max(1, -(-(self._stream_tokens - overlap) // self._stride))
        self._tables = Kept(self._stream)

    def _count(self, cut: int) -> int:
        return self._blocks

    def _stream(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents in the order of the epoch [D], and where each begins in the stream [D + 1]."""
        sentences, documents = self.split.sentence_offsets, self.split.document_offsets
        order = shuffled(self.split.documents, fold(self._stream_key, np.array(epoch, np.uint64)))
        begins = np.zeros(len(order) + 1, np.int64)
        sizes = np.diff(sentences[documents])
        sizes += self._tail
        np.cumsum(sizes[order], out=begins[1:])
        return order.astype(number_dtype(len(order))), begins

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        order, begins = self._tables[epoch]
        sentences, documents = self.split.sentence_offsets, self.split.document_offsets
        first_token = numbers * self._stride
        stop_token = np.minimum(first_token + self._length, self._stream_tokens)
        both = np.stack([first_token, stop_token - 1], axis=1)
        first, last = (np.searchsorted(begins, both, side="right") - 1).T
        counts = last - first + 1
        rows = np.repeat(np.arange(len(numbers)), counts)
        place = ranges(first, counts)
        start = np.maximum(begins[place], first_token[rows])
        stop = np.minimum(begins[place + 1], stop_token[rows])
        text_stop = np.minimum(begins[place + 1] - self._tail, stop)
        in_store = sentences[documents[order[place]]] + start - begins[place]
        return Examples.of(
            self._epoch_seeds(epoch, numbers),
            rows,
            in_store,
            np.maximum(text_stop - start, 0),
            ranges(np.zeros(len(counts), np.int64), counts),
            closes=stop == begins[place + 1],
        )
