"""XLNet's rows: long streams of text, each row going on where that of the batch before has ended.

Follows zihangdai/xlnet data_utils.py, `create_tfrecords` and `_split_a_and_b`.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from plmjax.data.counter_random import below, fold, key_of, uniform
from plmjax.data.kept import Kept
from plmjax.data.plans.base import Plan, number_dtype, shuffled
from plmjax.data.plans.examples import Examples, Split, ranges
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Streams:
    """Row b of a batch reads stream b of the text, `reuse_len` tokens further with each batch.

    All documents, in a new random order each epoch, one after the other and each with the end of
    a document behind it where the vocabulary has one, are cut into as many streams as a batch has
    rows. A row is `reuse_len` tokens of its stream, which a model may remember for the batch after,
    and two segments: A goes on from there, and B, half of the time, is what follows A. Else it
    begins with a sentence elsewhere in the stream; nothing is asked about that. A ends with a
    sentence picked from those that end in the room of both, and of both the longer is cut at its
    end until they fit. Where no sentence ends there, A is all of it and B from elsewhere.

    Where the original repeats its files in one order, here each epoch has its own. A stream's last
    tokens, too few for a row, are left out in that epoch. Where the text is shorter than a row for
    each stream, it is gone through several times.

    Attributes:
      reuse_len: tokens by which a stream goes on; 0 for half of the row.
      bi_data: whether there is but one stream for two rows, of which that in the second half of the
        batch reads it from its end, with everything in the row reversed but its special tokens. The
        batch has `backward` then.
    """

    contiguous: ClassVar[bool] = True
    """Rows go on from one batch to the next: `bind` is told how many there are."""

    reuse_len: int = 0
    bi_data: bool = False

    def __post_init__(self):
        if self.reuse_len < 0:
            raise UserError(
                f"reuse_len={self.reuse_len} is negative; give 0 for half of the row, or more"
            )

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def reused(self, seq_len: int) -> int:
        """Tokens by which a stream goes on, of rows so long."""
        return self.reuse_len or seq_len // 2

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples.

        Raises:
          UserError: where what is reused leaves no room for two segments.
        """
        end = tokenizer.id_of("eod")
        marks = () if end is None else (end,)
        layout = make_layout(
            *(frame, tokenizer, seq_len, PAIR), document_end=marks, reverses=self.bi_data
        )
        if layout.room(2) < self.reused(seq_len) + 2:
            raise UserError(
                f"reuse_len={self.reuse_len} leaves no room for two segments in seq_len={seq_len};"
                f" give {layout.room(2) - 2} or less"
            )
        return layout

    def bind(self, split: Split, layout: Layout, seed: int, rows: int = 2) -> Plan:
        """The plan over a split for batches of so many rows.

        Raises:
          UserError: with `bi_data`, for an odd number of rows.
        """
        if self.bi_data and rows % 2:
            raise UserError(
                f"bi_data=True reads each stream from both ends, and batch_size={rows} is odd; give"
                " an even one"
            )
        return _StreamPlan(split, layout, seed, self, rows)


@dataclasses.dataclass(frozen=True, eq=False)
class _Text:
    """The documents of an epoch one after the other; places count from its beginning.

    order: of the documents, [D]. begins: int64 [D + 1], where each begins. numbers: int64 [D + 1],
    the number of its first sentence. The end of a document belongs to its last sentence.
    """

    split: Split
    order: np.ndarray
    begins: np.ndarray
    numbers: np.ndarray

    def sentence_at(self, places: np.ndarray) -> np.ndarray:
        """The number of the sentence that has the token there."""
        of = np.searchsorted(self.begins, places, side="right") - 1
        document = self.order[of].astype(np.int64)
        sentences, documents = self.split.sentence_offsets, self.split.document_offsets
        first, end = documents[document], documents[document + 1]
        token = sentences[first] + places - self.begins[of]
        sentence = np.searchsorted(sentences, token, side="right") - 1
        return self.numbers[of] + np.minimum(sentence, end - 1) - first

    def begin_of(self, numbers: np.ndarray) -> np.ndarray:
        """Where sentences begin; of the number behind the last one, the end of the text."""
        of = np.searchsorted(self.numbers[:-1], numbers, side="right") - 1
        first = self.split.document_offsets[self.order[of].astype(np.int64)]
        is_end = numbers == self.numbers[-1]
        sentence = first + np.where(is_end, 0, numbers - self.numbers[of])
        offsets = self.split.sentence_offsets
        places = self.begins[of] + offsets[sentence] - offsets[first]
        return np.where(is_end, self.begins[-1], places)


@dataclasses.dataclass(frozen=True, eq=False)
class _Readers:
    """N rows as they read their streams: places count from where a row began to read.

    begin: int64 [N], where the stream begins in the text. size: its tokens. backward: bool [N].
    """

    text: _Text
    begin: np.ndarray
    size: int
    backward: np.ndarray

    def sentence_at(self, places: np.ndarray) -> np.ndarray:
        """The number of the sentence that has the token there; it falls for who reads backward."""
        inside = np.where(self.backward, self.size - 1 - places, places)
        return self.text.sentence_at(self.begin + inside)

    def ends_of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where these sentences begin and end, as they are read, within the stream."""
        of = (self.text.begin_of(n) - self.begin for n in (numbers, numbers + 1))
        left, right = (np.clip(place, 0, self.size) for place in of)
        mirrored = self.size - right, self.size - left
        pairs = zip(mirrored, (left, right), strict=True)
        return tuple(np.where(self.backward, *pair) for pair in pairs)


class _StreamPlan(Plan):
    """Its table is the epoch's order of documents, and where each begins: 20 bytes a document."""

    def __init__(self, split: Split, layout: Layout, seed: int, settings: Streams, rows: int):
        super().__init__(split, seed)
        self._stream_key = key_of(seed, split.name, "streams")
        self._tail = len(layout.document_end)
        self._reused = settings.reused(layout.seq_len)
        self._room = layout.room(2)
        self._rows = rows
        self._streams = rows // 2 if settings.bi_data else rows
        tokens = int(split.tokens) + self._tail * split.documents
        self._copies = max(1, -(-self._streams * self._room // max(1, tokens)))
        self._size = self._copies * tokens // self._streams
        self._texts = Kept(self._text)

    def _count(self, cut: int) -> int:
        return self._rows * ((self._size - self._room) // self._reused + 1)

    def _numbers(self, epoch: int, local: np.ndarray) -> np.ndarray:
        return local  # Shuffled, rows would not go on.

    def _text(self, epoch: int) -> _Text:
        documents = self.split.document_offsets
        key = fold(self._stream_key, np.array(epoch, np.uint64))
        order = np.tile(shuffled(self.split.documents, key), self._copies)
        sizes = np.diff(self.split.sentence_offsets[documents]) + self._tail
        begins, numbers = np.zeros((2, len(order) + 1), np.int64)
        np.cumsum(sizes[order], out=begins[1:])
        np.cumsum(np.diff(documents)[order], out=numbers[1:])
        return _Text(self.split, order.astype(number_dtype(len(order))), begins, numbers)

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        steps, rows = np.divmod(numbers, self._rows)
        begin = rows % self._streams * self._size
        readers = _Readers(self._texts[epoch], begin, self._size, rows >= self._streams)
        seeds = self._epoch_seeds(epoch, numbers)
        from_N2, to_N2 = self._segments(readers, steps * self._reused, seeds)
        left_N2 = np.where(readers.backward[:, None], self._size - to_N2, from_N2)
        left = (begin[:, None] + left_N2).reshape(-1)
        return _examples(readers, seeds, left, left + (to_N2 - from_N2).reshape(-1), self._tail)

    def _segments(
        self, readers: _Readers, first: np.ndarray, seeds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """From where to where a row reads: what is reused and A, and B; int64 [N, 2] each."""
        begin, room = first + self._reused, self._room - self._reused

        def drawn(purpose: str, bounds: np.ndarray) -> np.ndarray:
            return below(fold(seeds, key_of(purpose)), bounds)

        nearest, furthest = (readers.sentence_at(p) for p in (begin, begin + room - 1))
        cuts = np.abs(furthest - nearest)
        _, end = readers.ends_of(furthest)
        cut = drawn("cut", np.maximum(cuts, 1)) * np.where(readers.backward, -1, 1)
        _, cut_end = readers.ends_of(nearest + cut)
        is_random = (cuts == 0) | (uniform(fold(seeds, key_of("random"))) < 0.5)
        a_end = np.where(cuts == 0, end, cut_end)
        # What is missing, from anywhere, and all of the sentences that it touches.
        missing = np.maximum(1, room - (a_end - begin))
        other = drawn("other", self._size - missing)
        other_begin, _ = readers.ends_of(readers.sentence_at(other))
        _, other_end = readers.ends_of(readers.sentence_at(other + missing - 1))
        b_begin = np.where(is_random, other_begin, a_end)
        b_end = np.where(is_random, np.minimum(other_end, self._size - 1), end)
        a, b = _fitted(a_end - begin, b_end - b_begin, room)
        return np.stack([first, b_begin], axis=1), np.stack([begin + a, b_begin + b], axis=1)


def _fitted(a: np.ndarray, b: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of two segments when, token by token, the longer one (or else B) was cut to fit."""
    over = a + b - room
    once = np.minimum(over, np.abs(a - b))
    rest = over - once
    a_left = a - np.where(a > b, once, 0) - rest // 2
    return a_left, room - a_left


def _examples(
    readers: _Readers, seeds: np.ndarray, left: np.ndarray, right: np.ndarray, tail: int
) -> Examples:
    """The parts of documents in the ranges [left, right) of the text, two for each row."""
    text = readers.text
    both = np.stack([left, right - 1], axis=1)
    first, last = (np.searchsorted(text.begins, both, side="right") - 1).T
    counts = last - first + 1
    runs = np.repeat(np.arange(len(left)), counts)
    place = ranges(first, counts)
    place = np.where(readers.backward[runs // 2], (first + last)[runs] - place, place)
    begins, ends = text.begins[place], text.begins[place + 1]
    start, stop = np.maximum(begins, left[runs]), np.minimum(ends, right[runs])
    documents = text.split.document_offsets[text.order[place].astype(np.int64)]
    closes = np.zeros(len(runs), bool)
    closes[np.cumsum(counts) - 1] = True
    return Examples.of(
        seeds,
        runs // 2,
        text.split.sentence_offsets[documents] + start - begins,
        np.maximum(np.minimum(ends - tail, stop) - start, 0),
        runs % 2,
        closes=closes,
        ends=stop == ends,
        backward=readers.backward,
    )
