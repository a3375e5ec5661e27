"""XLM's masking, for one language and for translation pairs (TLM)."""

import dataclasses
import math

import numpy as np

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    check_at_least,
    check_share,
    mlm_spec,
    most_of_binomial,
    slots_for,
    table_of_lengths,
)
from plmjax.data.maskings.token import budgets


@dataclasses.dataclass(frozen=True)
class XlmMasking:
    """XLM's (facebookresearch/XLM, `Trainer.mask_out`), and TLM's, which masks both sides alike.

    Every token but the first of the sequence becomes a target with probability mask_rate, `</s>`
    too, as published. With `sample_alpha` above 0, ceil(mask_rate * length) tokens are drawn
    without replacement instead, with weights count**-sample_alpha; tokens that the training text
    does not have are never drawn. (The original draws so many of a whole batch; here each sequence
    has its own share, so that it does not depend on its neighbours.) 80% of the targets become
    [MASK], 10% stay, 10% become a token of the whole vocabulary.

    Attributes:
      mask_rate: the probability.
      max_predictions: slots for targets; 0 for so many that one in a million examples has more.
        What finds no slot is counted as overflow and stays as it is.
      sample_alpha: how much rare tokens are preferred: 0.5 is that of the repository's examples.
      mask_specials: whether </s> and the layout's other tokens may be targets.
    """

    mask_rate: float = 0.15
    max_predictions: int = 0
    sample_alpha: float = 0.0
    mask_specials: bool = True

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)
        check_at_least("sample_alpha", self.sample_alpha, 0)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        if self.sample_alpha > 0:
            most = math.ceil(seq_len * self.mask_rate)
            preference_V = self._preferences(vocabulary)
        else:
            most = most_of_binomial(seq_len, self.mask_rate)
        slots_M = slots_for(self.max_predictions, most, seq_len)
        wanted = table_of_lengths(lambda n: math.ceil(n * self.mask_rate), seq_len)
        everything = slots.RandomTokens(np.arange(vocabulary.vocab_size, dtype=np.int32))
        rule = slots.Replacement(vocabulary.require("mask", "XLM's masking"), everything)

        def mask(features: Features) -> Features:
            tf = tensorflow()
            is_target_BL = features["attention_mask"] > 0
            if not self.mask_specials:
                is_target_BL = slots.is_text(features)
            is_target_BL &= tf.range(seq_len) > 0
            keys_BL = slots.order_keys(features["seeds"], "masked positions", seq_len)
            if self.sample_alpha == 0:
                # As an int64, because 2**31 itself is the bound where all are masked.
                is_target_BL &= tf.cast(keys_BL, tf.int64) < round(self.mask_rate * 2**31)
                positions_BM, overflow_B = slots.compacted(is_target_BL, slots_M)
            else:
                preference_BL = tf.gather(preference_V, features["tokens"])
                # The first of many clocks to ring: each at its preference's rate.
                speed_BL = tf.gather(_speeds(), tf.bitwise.right_shift(keys_BL, 15))
                is_target_BL &= preference_BL > 0
                score_BL = tf.where(is_target_BL, speed_BL * preference_BL, -1.0)
                wanted_B = budgets(features, wanted)
                positions_BM = slots.picked(score_BL, wanted_B, slots_M)
                count_B = tf.reduce_sum(tf.cast(is_target_BL, tf.int32), axis=1)
                overflow_B = tf.maximum(tf.minimum(wanted_B, count_B) - slots_M, 0)
            return slots.replaced(features, positions_BM, overflow_B, rule)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)

    def _preferences(self, vocabulary: MaskingVocabulary) -> np.ndarray:
        counts_V = vocabulary.require_counts(f"sample_alpha={self.sample_alpha}")
        preference_V = np.maximum(counts_V, 1).astype(np.float64) ** -self.sample_alpha
        return np.where(counts_V > 0, preference_V, 0).astype(np.float32)


def _speeds() -> np.ndarray:
    """Float32 [2**16]: 1 / e, e exponentially distributed, at the middles of equal shares."""
    shares = (np.arange(1 << 16) + 0.5) / (1 << 16)
    return (-1 / np.log1p(-shares)).astype(np.float32)
