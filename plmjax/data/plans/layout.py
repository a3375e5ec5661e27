"""From token ranges to rows of tokens: the frame of special tokens around the text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plmjax.data.flags import SENTENCE, SPECIAL, WORD
from plmjax.data.plans.examples import Examples, Split, ranges
from plmjax.data.tokenizers import Tokenizer, require_id
from plmjax.errors import UserError

# How the pieces of an example make a row.
PAIR = "pair"  # one or two segments that differ in token type
RUN = "run"  # one text, maybe of several documents
EACH = "each"  # documents that each have a frame of their own
STREAM = "stream"  # a cut of an endless text: no frame but what marks the end of a document


@dataclasses.dataclass(frozen=True)
class Frame:
    """Special tokens by their part in the tokenizer (cls, sep, bos, eos, eod), or by a name in
    `added`.

    Attributes:
      begin: at the beginning of the row.
      between: before every segment but the first, besides what closes the one before.
      after: behind every segment (every document).
      finish: at the end of the row.
      added: tokens that no tokenizer has: their ids are those behind its last, in this order, and a
        model's vocabulary has as many more.
      halves: whether each of two texts is cut to half of a row, and not the longer one first.
    """

    begin: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    halves: bool = False


_GPT1 = ("start", "delim", "extract")
FRAMES = {
    "bert": Frame(begin=("cls",), after=("sep",)),  # [CLS] A [SEP] B [SEP]
    "roberta": Frame(begin=("bos",), between=("eos",), after=("eos",)),  # <s> A </s> </s> B </s>
    "xlnet": Frame(after=("sep",), finish=("cls",)),  # A [SEP] B [SEP] [CLS]
    "xlm": Frame(begin=("eos",), between=("eos",), after=("eos",)),  # </s> A </s> </s> B </s>
    "eod": Frame(after=("eod",)),  # documents ... <eod>
    "eos": Frame(after=("eos",)),
    # [start] A [delim] B [extract] (openai/finetune-transformer-lm)
    "gpt1": Frame(("start",), ("delim",), (), ("extract",), _GPT1, halves=True),
    "none": Frame(),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a row of `seq_len` tokens is made of an example's pieces. Made by `make_layout`.

    Attributes:
      seq_len: tokens of a row, specials and padding included.
      pad_id: what fills the row up; for a stream the end of a document, where the vocabulary has no
        padding.
      head_first: ids before the first segment of a row.
      head_other: ids before each later segment.
      tail: ids behind a piece that closes.
      end: ids at the end of the row.
      marks_documents: whether `tail` means the end of a document, and nothing else.
      types: whether token types are those of the pieces, usually the numbers of the segments (0 and
        1); else all are 0.
      restart: whether positions begin again at each segment.
      isolate: whether segments are told apart by `segment_ids`, and positions begin again.
      labelled: whether examples have a label.
      document_end: ids behind a piece that ends a document, within the text: to a masking they are
        a word of it.
      reverses: whether some rows are read from their end.
      piece_types: how many types pieces have.
      words: ids of what a plan looks for in the text, by the plan's task.
      halves: as of `Frame`.
    """

    seq_len: int
    pad_id: int
    head_first: tuple[int, ...]
    head_other: tuple[int, ...]
    tail: tuple[int, ...]
    end: tuple[int, ...]
    marks_documents: bool
    types: bool
    restart: bool = False
    isolate: bool = False
    labelled: bool = False
    document_end: tuple[int, ...] = ()
    reverses: bool = False
    piece_types: int = 2
    words: Mapping[str, tuple[tuple[int, ...], ...]] = dataclasses.field(default_factory=dict)
    halves: bool = False

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape per example and dtype of what `assemble` returns."""
        row = ((self.seq_len,), np.dtype(np.int32))
        spec = {"tokens": row, "attention_mask": row, "token_types": row}
        spec["flags"] = ((self.seq_len,), np.dtype(np.uint8))
        spec["seeds"] = ((), np.dtype(np.uint64))
        if self.labelled:
            spec["label"] = ((), np.dtype(np.int32))
        if self.reverses:
            spec["backward"] = ((), np.dtype(np.int32))
        if self.isolate:
            spec["segment_ids"] = row
        if self.isolate or self.restart:
            spec["positions"] = row
        return spec

    @property
    def highest_special(self) -> int:
        """The highest id of what surrounds texts; -1 where nothing does."""
        return max((*self.head_first, *self.head_other, *self.tail, *self.end), default=-1)

    @property
    def token_types(self) -> int:
        """How many token types there are; the finishing tokens of a row have one of their own."""
        return self.piece_types + bool(self.end) if self.types else 1

    def room(self, segments: int = 1) -> int:
        """Tokens of text that fit in a row of so many closed segments."""
        heads = len(self.head_first) + (segments - 1) * len(self.head_other)
        return self.seq_len - heads - segments * len(self.tail) - len(self.end)

    def assemble(self, examples: Examples, splits: Sequence[Split]) -> dict[str, np.ndarray]:
        """Reads a batch of B examples into rows of L = seq_len tokens.

        Args:
          examples: what to read.
          splits: where to read it: the split of each source number.

        Returns:
          tokens: int32 [B, L], the pad id after the end.
          attention_mask: int32 [B, L], 1 for tokens and 0 for padding.
          token_types: int32 [B, L], see `types`; the finishing token of "xlnet" has the type behind
            those of pieces, 2.
          flags: uint8 [B, L], see `plmjax.data.flags`; 0 on padding.
          seeds: uint64 [B].
          label: int32 [B], where examples have one.
          backward: int32 [B], 1 for rows that are read from their end; with `reverses`.
          segment_ids: int32 [B, L], 1, 2, ... and 0 for padding; with `isolate`.
          positions: int32 [B, L], 0 on padding; with `isolate` or `restart`.

        Raises:
          UserError: where a part of the store is damaged.
        """
        places = _Places.of(examples, self)
        B, L = len(examples), self.seq_len
        mask_BL = np.arange(L, dtype=np.int32) < places.used[:, None]
        tokens = np.full(B * L, self.pad_id, np.int32)
        flags = np.zeros(B * L, np.uint8)
        self._put_text(tokens, flags, examples, places, splits)
        self._put_specials(tokens, flags, examples, places)
        features = {
            "tokens": tokens.reshape(B, L),
            "attention_mask": mask_BL.astype(np.int32),
            "token_types": self._token_types(examples, places, mask_BL),
            "flags": flags.reshape(B, L),
            "seeds": examples.seeds,
        }
        if self.labelled:
            features["label"] = examples.labels
        if self.reverses:
            features["backward"] = examples.backward.astype(np.int32)
        if self.isolate:
            features["segment_ids"] = places.spread(examples.segments + 1, L) * mask_BL
        if self.isolate or self.restart:
            origins = np.where(places.opens, places.begins, 0)
            origins = np.maximum.accumulate(origins)  # later pieces of a segment go on counting
            every = np.arange(B * L, dtype=np.int32).reshape(B, L)
            features["positions"] = (every - places.spread(origins, L)) * mask_BL
        return features

    def _put_text(
        self,
        tokens: np.ndarray,
        flags: np.ndarray,
        examples: Examples,
        places: "_Places",
        splits: Sequence[Split],
    ) -> None:
        sources = examples.sources[examples.rows]
        lengths = examples.lengths.astype(np.int64)
        is_text = places.text_mask(lengths, self.seq_len)
        present = np.unique(examples.sources).tolist()
        for source in present:
            split = splits[source]
            alone = len(present) == 1
            of = slice(None) if alone else np.flatnonzero(sources == source)
            starts, counts = examples.starts[of], lengths[of]
            ids, bits = split.read(starts, counts), split.read_flags(starts, counts)
            backward = examples.backward[examples.rows[of]]
            if backward.any():
                order = _as_read(counts, backward)
                ids, bits = ids[order], bits[order]
            if alone:  # the usual case, four times as fast
                tokens[is_text], flags[is_text] = ids, bits
            else:
                at = ranges(places.texts[of], counts)
                tokens[at], flags[at] = ids, bits
            # Both ends of a piece one after the other: they lie in the same cache lines.
            both = np.stack([starts, starts + counts], axis=1)
            first, stop = np.searchsorted(split.sentence_offsets, both).T
            inside = np.repeat(np.arange(len(starts)), stop - first)
            shift = split.sentence_offsets[ranges(first, stop - first)] - starts[inside]
            shift = np.where(backward[inside], counts[inside] - 1 - shift, shift)
            flags[places.texts[of][inside] + shift] |= np.uint8(SENTENCE)

    def _put_specials(
        self, tokens: np.ndarray, flags: np.ndarray, examples: Examples, places: "_Places"
    ) -> None:
        groups = (
            (self.head_first, places.begins[places.first]),
            (self.head_other, places.begins[places.opens & ~places.first]),
            (self.tail, places.closings[examples.closes]),
            (self.end, places.ends - len(self.end)),
        )
        for ids, at in groups:
            for offset, token in enumerate(ids):
                tokens[at + offset] = token
                flags[at + offset] = SPECIAL
        for offset, token in enumerate(self.document_end):
            at = places.marks[examples.ends] + offset
            tokens[at], flags[at] = token, WORD

    def _token_types(
        self, examples: Examples, places: "_Places", mask_BL: np.ndarray
    ) -> np.ndarray:
        if not self.types:
            return np.zeros(mask_BL.shape, np.int32)
        types_BL = places.spread(examples.types, self.seq_len) * mask_BL
        for offset in range(len(self.end)):
            types_BL.reshape(-1)[places.ends - 1 - offset] = self.piece_types
        return types_BL


@dataclasses.dataclass(frozen=True)
class _Places:
    """Where pieces lie in the rows; places count from the beginning of the batch.

    first, opens: bool [P], the piece is the first of its row, of its segment.
    begins, texts: int64 [P], where the piece begins with its head, and without.
    marks, closings: int64 [P], where the end of its document would be marked, and its tail begins.
    sizes: int64 [P], its tokens with head, mark and tail.
    used: int64 [B], tokens of each row; ends: int64 [B], the place behind them.
    """

    first: np.ndarray
    opens: np.ndarray
    begins: np.ndarray
    texts: np.ndarray
    marks: np.ndarray
    closings: np.ndarray
    sizes: np.ndarray
    used: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, examples: Examples, layout: Layout) -> "_Places":
        rows, segments = examples.rows, examples.segments
        first = np.append(True, rows[1:] != rows[:-1])
        opens = first.copy()
        opens[1:] |= segments[1:] != segments[:-1]
        last = np.append(first[1:], True)
        heads = np.where(first, len(layout.head_first), opens * len(layout.head_other))
        tails = examples.closes * len(layout.tail) + last * len(layout.end)
        marks = examples.ends * len(layout.document_end)
        text_sizes = marks + examples.lengths
        sizes = heads + text_sizes + tails
        heads_of_rows = np.flatnonzero(first)
        used = np.add.reduceat(sizes, heads_of_rows)
        if used.max() > layout.seq_len:
            raise ValueError(f"a row of {used.max()} tokens does not fit {layout.seq_len}")
        before = np.cumsum(sizes) - sizes
        row_begins = np.arange(len(examples)) * layout.seq_len
        begins = before + (row_begins - before[heads_of_rows])[rows]
        # What is read from its end begins with the end of the document.
        backward, inner = examples.backward[rows], begins + heads
        texts = inner + np.where(backward, marks, 0)
        marked = inner + np.where(backward, 0, examples.lengths)
        closings = inner + text_sizes
        return cls(*(first, opens, begins, texts, marked, closings, sizes, used, row_begins + used))

    def text_mask(self, lengths: np.ndarray, seq_len: int) -> np.ndarray:
        """Bool [B * L], True where text goes."""
        rest = np.append(self.begins[1:], len(self.used) * seq_len) - self.texts - lengths
        runs = np.stack([self.texts - self.begins, lengths, rest], axis=1)
        return np.repeat(np.tile([False, True, False], len(runs)), runs.reshape(-1))

    def spread(self, values: np.ndarray, seq_len: int) -> np.ndarray:
        """int32 [B, L]: each piece's value on all its places, the last one's on the padding."""
        sizes = self.sizes.copy()
        sizes[np.append(self.first[1:], True)] += seq_len - self.used
        return np.repeat(values.astype(np.int32), sizes).reshape(-1, seq_len)


def _as_read(lengths: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Of pieces of these lengths, one after the other, the order in which their tokens are read.

    Args:
      lengths: int [P].
      backward: bool [P], of pieces that are read from their end.

    Returns:
      int64 [sum(lengths)].
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    along = np.arange(ends[-1])
    against = np.repeat(2 * ends - lengths - 1, lengths) - along
    return np.where(np.repeat(backward, lengths), against, along)


def make_layout(
    frame: str,
    tokenizer: Tokenizer,
    seq_len: int,
    style: str,
    any_pad: bool = False,
    **of_plan: Any,
) -> Layout:
    """The layout of a plan of this style in rows of `seq_len` tokens.

    Args:
      frame: a name of FRAMES.
      tokenizer: whose ids are used.
      seq_len: tokens of a row.
      style: PAIR, RUN, EACH or STREAM.
      any_pad: whether a vocabulary without padding will do, since nothing reads it.
      of_plan: fields of `Layout` that have a default, from `restart` to `words`.

    Raises:
      UserError: for an unknown frame, one that the style cannot have, a vocabulary that lacks a
        token, or rows too short for any text.
    """
    if frame not in FRAMES:
        raise UserError(f"frame={frame} is unknown; give one of {', '.join(FRAMES)}")
    parts = FRAMES[frame]
    bare = not parts.begin and not parts.finish
    if style == STREAM and not bare:
        fitting = [n for n, f in FRAMES.items() if not f.begin and not f.finish]
        raise UserError(
            f"frame={frame} surrounds a text but blocks are cut anywhere; give one of "
            f"{', '.join(fitting)}"
        )
    if seq_len >= 1 << 16:
        raise UserError(f"seq_len={seq_len} is too long; give up to 65535")

    def ids(names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(
            tokenizer.vocab_size + parts.added.index(name)
            if name in parts.added
            else require_id(tokenizer, name)
            for name in names
        )

    begin, between, after, finish = map(
        ids, (parts.begin, parts.between, parts.after, parts.finish)
    )
    each = style == EACH
    layout = Layout(
        seq_len=seq_len,
        pad_id=_pad_id(tokenizer, style, any_pad),
        head_first=begin,
        head_other=begin if each else between if style == PAIR else (),
        tail=after + finish if each else after,
        end=() if each else finish,
        marks_documents=bare,
        types=style == PAIR,
        halves=parts.halves,
        **of_plan,
    )
    if layout.room(layout.piece_types if style == PAIR else 1) < 5:
        raise UserError(f"seq_len={seq_len} leaves no room for text; give 16 or more")
    return layout


def _pad_id(tokenizer: Tokenizer, style: str, any_pad: bool) -> int:
    """What fills rows up. GPT-2's vocabulary has no padding: of a stream only an epoch's last block
    has any, and the mask hides it."""
    own, end = tokenizer.pad_id, tokenizer.id_of("eod")
    if own is None and end is not None and (style == STREAM or any_pad):
        return end
    return 0 if own is None and any_pad else require_id(tokenizer, "pad")
