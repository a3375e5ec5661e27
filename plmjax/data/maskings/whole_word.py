"""Whole-word masking under a budget (BERT's `do_whole_word_mask`; Chinese by the same flags)."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    check_share,
    mlm_spec,
)
from plmjax.data.maskings.token import bert_budget, budgets
from plmjax.data.maskings.units import spread, unit_lengths, unit_starts

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class WholeWordMasking:
    """BERT's whole-word masking (google-research/bert; BERT-wwm for Chinese).

    The words are taken in random order while they fit into BERT's budget of tokens; one that does
    not is skipped and shorter ones may follow. 80% [MASK], 10% random, 10% kept is drawn for each
    token by itself. Where words begin is said by the WORD bit of the flags.

    Attributes:
      mask_rate: share of the tokens that is picked.
      max_predictions: most targets of an example; 0 for as many as the rate asks for.
    """

    mask_rate: float = 0.15
    max_predictions: int = 0

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        wanted, slots_M = bert_budget(self.mask_rate, self.max_predictions, seq_len)
        everything = slots.RandomTokens(np.arange(vocabulary.vocab_size, dtype=np.int32))
        rule = slots.Replacement(vocabulary.require("mask", "whole-word masking"), everything)

        def mask(features: Features) -> Features:
            selected_BL = picked_words(features, budgets(features, wanted))
            positions_BM, overflow_B = slots.compacted(selected_BL, slots_M)
            return slots.replaced(features, positions_BM, overflow_B, rule)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)


def picked_words(features: Features, budget_B: "tf.Tensor") -> "tf.Tensor":
    """Bool [B, L]: the tokens of random words, as many as fit into the budget of tokens."""
    tf = tensorflow()
    is_text_BL = slots.is_text(features)
    is_start_BL = unit_starts(features, is_text_BL)
    lengths_BL = unit_lengths(is_start_BL, is_text_BL)
    count_B = tf.reduce_sum(tf.cast(is_start_BL, tf.int32), axis=1)
    length = is_text_BL.shape[1]
    keys_BL = slots.order_keys(features["seeds"], "masked words", length)
    keys_BL = tf.where(is_start_BL, keys_BL, -1)
    # A budget of n tokens is used up by the first n words, but for long ones that are skipped.
    few = tf.minimum(tf.reduce_max(budget_B) + 8, length)

    def by_the_first(most: "tf.Tensor | int") -> tuple["tf.Tensor", "tf.Tensor"]:
        values_BK, starts_BK = tf.math.top_k(keys_BL, most)
        lengths_BK = tf.where(values_BK >= 0, slots.taken_at(lengths_BL, starts_BK), 0)
        is_taken_BK, left_B = filled(lengths_BK, budget_B)
        selected_BL = spread(starts_BK, lengths_BK, is_taken_BK, length)
        return selected_BL, tf.reduce_all((left_B == 0) | (count_B <= most))

    selected_BL, is_all = by_the_first(few)
    return tf.cond(is_all, lambda: selected_BL, lambda: by_the_first(length)[0])


def filled(lengths_BK: "tf.Tensor", budget_B: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
    """Takes lengths in order while they fit, skipping those that do not.

    In each round everything up to the first length that is too long is taken at once; what is left
    of the budget then shrinks below that length, so that rounds are few.

    Returns:
      bool [B, K], what is taken; int32 [B], what is left of the budget.
    """
    tf = tensorflow()

    def fits(is_taken_BK: "tf.Tensor", left_B: "tf.Tensor") -> "tf.Tensor":
        return ~is_taken_BK & (lengths_BK > 0) & (lengths_BK <= left_B[:, None])

    def take(is_taken_BK: "tf.Tensor", left_B: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        fitting_BK = tf.where(fits(is_taken_BK, left_B), lengths_BK, 0)
        sums_BK = tf.cumsum(fitting_BK, axis=1)
        is_new_BK = (fitting_BK > 0) & (sums_BK <= left_B[:, None])
        left_B -= tf.reduce_sum(tf.where(is_new_BK, fitting_BK, 0), axis=1)
        return is_taken_BK | is_new_BK, left_B

    return tf.while_loop(
        lambda *state: tf.reduce_any(fits(*state)),
        take,
        (tf.zeros_like(lengths_BK, tf.bool), budget_B),
        shape_invariants=(tf.TensorShape([None, None]), tf.TensorShape([None])),
    )
