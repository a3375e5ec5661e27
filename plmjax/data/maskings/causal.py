"""Targets of left-to-right models: every next token, or those after a visible prefix."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import BoundMasking, Features, MaskingVocabulary, Spec
from plmjax.data.maskings.units import Units, spread

if TYPE_CHECKING:
    import tensorflow as tf


def _spec(seq_len: int) -> Spec:
    return {
        "targets": ((seq_len,), np.dtype(np.int32)),
        "weights": ((seq_len,), np.dtype(np.float32)),
        "overflow": ((), np.dtype(np.int32)),
    }


def _next_tokens(features: Features, is_target_BL: "tf.Tensor") -> Features:
    """Each position predicts the next token where that is a target."""
    tf = tensorflow()
    is_next_BL = tf.pad(is_target_BL[:, 1:], [[0, 0], [0, 1]])
    next_BL = tf.pad(features["tokens"][:, 1:], [[0, 0], [0, 1]])
    return {
        "targets": tf.where(is_next_BL, next_BL, 0),
        "weights": tf.cast(is_next_BL, tf.float32),
        "overflow": slots.none_of(next_BL),
    }


def _segment_starts(features: Features) -> "tf.Tensor":
    """Bool [B, L]: the first token of each sequence of the row; one, unless the row is packed."""
    tf = tensorflow()
    is_token_BL = features["attention_mask"] > 0
    is_start_BL = tf.pad(~is_token_BL[:, :-1], [[0, 0], [1, 0]], constant_values=True)
    if "segment_ids" in features:
        ids_BL = features["segment_ids"]
        is_start_BL |= tf.pad(ids_BL[:, 1:] != ids_BL[:, :-1], [[0, 0], [1, 0]])
    return is_start_BL & is_token_BL


@dataclasses.dataclass(frozen=True)
class CausalTargets:
    """Next-token prediction: GPT's objective.

    It adds `targets` int32 [B, L], the token after each position, and `weights` float32 [B, L], 0
    at the last token of a row, or of each sequence where `segment_ids` pack several.
    """

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""

        def mark(features: Features) -> Features:
            is_first_BL = _segment_starts(features)
            return _next_tokens(features, (features["attention_mask"] > 0) & ~is_first_BL)

        return BoundMasking(seq_len, _spec(seq_len), mark)


@dataclasses.dataclass(frozen=True)
class PrefixTargets:
    """Prefix language modelling (T5's `prefix_lm`): a random prefix is seen from both sides.

    The prefix of a sequence of n tokens has 1 to n - 1 of them, each number equally likely, and the
    rest is predicted. It adds `targets` and `weights` as `CausalTargets`, the weights 0 inside the
    prefix, and `prefix_mask` int32 [B, L], 1 in the prefix. Where `segment_ids` pack several
    sequences into a row, each has its own prefix.
    """

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""

        def mark(features: Features) -> Features:
            tf = tensorflow()
            is_token_BL = features["attention_mask"] > 0
            sequences = Units.from_starts(_segment_starts(features), is_token_BL)
            bits_BW = slots.bits_of(features["seeds"], "prefix", sequences.width)
            choices_BW = tf.maximum(sequences.lengths_BW - 1, 1)
            prefix_BW = 1 + slots.scaled(slots.high(bits_BW), choices_BW)
            is_prefix_BL = spread(sequences.starts_BW, prefix_BW, sequences.exists_BW, seq_len)
            marked = _next_tokens(features, is_token_BL & ~is_prefix_BL)
            return marked | {"prefix_mask": tf.cast(is_prefix_BL, tf.int32)}

        spec = _spec(seq_len) | {"prefix_mask": ((seq_len,), np.dtype(np.int32))}
        return BoundMasking(seq_len, spec, mark)
