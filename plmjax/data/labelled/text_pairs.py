"""Rows of texts that are read and texts that are written."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plmjax.data.labelled.base import FLOAT32, INT32, Features, Shapes
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

STARTS = {"": (), "pad": ("pad",), "end": ("eos", "sep")}
"""What the decoder reads first, and the parts in the tokenizer that it may have."""


@dataclasses.dataclass(frozen=True)
class TextPairs(Features):
    """What a model reads and what it should write; `ids` has the sources.

    Attributes:
      written: of each feature the target with the tokens around it: int32 [m], m <= target_len.
      start: what an encoder-decoder's decoder reads before the target; None for a decoder alone,
        which reads source and target as one row.
      head, end: what every target begins with, and the token that ends it.
      target_len: tokens of a target at most.
    """

    written: Sequence[np.ndarray] = ()
    start: int | None = None
    head: tuple[int, ...] = ()
    end: int = 0
    target_len: int = 0

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """As of `Features`; of a decoder alone source and target together are a row."""
        sources = np.array([len(row) for (row,) in self.ids])
        targets = np.array([len(row) for row in self.written])
        return sources + targets * (self.start is None)

    @property
    def begin(self) -> tuple[int, ...] | None:
        """What an encoder-decoder has to go on from; None for a decoder alone."""
        return None if self.start is None else (self.start, *self.head)

    @property
    def firsts(self) -> np.ndarray:
        """The number of each example's first feature: int [N]."""
        return np.unique(self.owners, return_index=True)[1]

    def arrays(self, numbers: np.ndarray, layout: Layout) -> dict[str, np.ndarray]:
        """Some features as a batch has them; see `pair_spec`."""
        sources = [self.ids[number][0] for number in numbers.tolist()]
        targets = [self.written[number] for number in numbers.tolist()]
        pad, seq_len = layout.pad_id, layout.seq_len
        if self.start is None:
            return _as_one(sources, targets, seq_len, pad)
        tokens_BS, mask_BS = _padded(sources, seq_len, pad)
        targets_BT, used_BT = _padded(targets, self.target_len, pad)
        first_B1 = np.full((len(targets), 1), self.start, np.int32)
        return {
            "tokens": tokens_BS,
            "attention_mask": mask_BS.astype(np.int32),
            "decoder_tokens": np.concatenate([first_B1, targets_BT[:, :-1]], axis=1),
            "decoder_targets": targets_BT,
            "decoder_weights": used_BT.astype(np.float32),
        }

    def truth(self, batch: Mapping[str, np.ndarray], at: int, tokenizer: Tokenizer) -> dict:
        """The target, with its special tokens."""
        name = "" if self.start is None else "decoder_"
        targets, weights = batch[f"{name}targets"][at], batch[f"{name}weights"][at]
        return {"target": tokenizer.decode(targets[weights > 0])}


def start_token(tokenizer: Tokenizer, start: str) -> int | None:
    """The token that a decoder reads first; None for "", a decoder alone.

    Args:
      tokenizer: whose it is.
      start: a name of STARTS.

    Raises:
      UserError: where the vocabulary has no such token.
    """
    if not start:
        return None
    known = [number for role in STARTS[start] if (number := tokenizer.id_of(role)) is not None]
    if not known:
        raise UserError(
            f"the vocabulary has no {' or '.join(STARTS[start])}, which config.task.start='{start}'"
            " names; give another"
        )
    return known[0]


def paired(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    owners: np.ndarray,
    layout: Layout,
    *,
    start: int | None,
    target_len: int,
    places: Any,
) -> TextPairs:
    """Rows of texts that are read and written, each with its special tokens and cut to its room.

    Args:
      sources: the tokens of each example's text.
      targets: those of each feature's answer.
      owners: int [N], ascending: the number of the source of each target.
      layout: from texts to rows.
      start, target_len, places: as of `TextPairs`.

    Raises:
      UserError: where the layout ends no text, or a target leaves no room for a source.
    """
    end = (*layout.tail, *layout.end)
    if not end:
        raise UserError(
            "config.data.frame ends no text, by which a model says that its answer is complete;"
            " give one that does, such as 'eos'"
        )
    head = () if start is None else layout.head_first
    before, behind = layout.head_first, () if start is None else end
    room = layout.seq_len - len(before) - len(behind) - (target_len if start is None else 0)
    if room < 1:
        raise UserError(
            f"config.task.target_len={target_len} leaves no room for the source in rows of"
            f" config.data.seq_len={layout.seq_len}; give longer rows"
        )
    most = target_len - len(head) - len(end)
    read = [np.array([*before, *ids[:room], *behind], np.int32) for ids in sources]
    return TextPairs(
        ids=[[read[owner]] for owner in owners.tolist()],
        types=[],
        targets={},
        owners=owners,
        cut=sum(len(ids) > room for ids in sources),
        short=sum(len(ids) > most for ids in targets),
        places=places,
        written=[np.array([*head, *ids[:most], *end], np.int32) for ids in targets],
        start=start,
        head=head,
        end=end[0],
        target_len=target_len,
    )


def pair_spec(seq_len: int, target_len: int, is_decoder: bool) -> Shapes:
    """Shapes and dtypes of what a batch has for each pair.

    Of an encoder-decoder (`plmjax.objectives.seq2seq_lm`) `tokens`, `attention_mask` int32 [S];
    `decoder_tokens`, which is the target behind the first token of decoders, `decoder_targets`
    int32 [T] and `decoder_weights` float32 [T], 0 for padding. Of a decoder
    (`plmjax.objectives.causal_lm`) `tokens`, `attention_mask`, `targets` int32 [L] and `weights`
    float32 [L], 1 where the next token is the target's.
    """
    source = (seq_len,), INT32
    read = {"tokens": source, "attention_mask": source}
    if is_decoder:
        return {**read, "targets": source, "weights": ((seq_len,), FLOAT32)}
    target = (target_len,), INT32
    weights = (target_len,), FLOAT32
    return {**read, "decoder_tokens": target, "decoder_targets": target, "decoder_weights": weights}


def _padded(rows: Sequence[np.ndarray], length: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Int32 [B, length], and bool, which of it is no padding."""
    used = np.arange(length) < np.array([len(row) for row in rows])[:, None]
    made = np.full(used.shape, pad, np.int32)
    made[used] = np.concatenate(rows)
    return made, used


def _as_one(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], length: int, pad: int
) -> dict[str, np.ndarray]:
    """Source and target in one row, of which the target is predicted."""
    rows = [np.concatenate(pair) for pair in zip(sources, targets, strict=True)]
    tokens, used = _padded(rows, length, pad)
    following = np.append(tokens[:, 1:], np.full((len(rows), 1), pad, np.int32), axis=1)
    places = np.arange(length)
    begins, ends = (np.array([len(row) for row in some])[:, None] - 1 for some in (sources, rows))
    return {
        "tokens": tokens,
        "attention_mask": used.astype(np.int32),
        "targets": following,
        "weights": ((begins <= places) & (places < ends)).astype(np.float32),
    }
