"""Probabilistic masking (PMLM): the share of masked tokens is drawn for each sequence."""

import dataclasses

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
)
from plmjax.data.maskings.token import bert_budget, budgets
from plmjax.errors import UserError

_STEPS = 1 << 12  # of the prior's table


@dataclasses.dataclass(frozen=True)
class ProbabilisticMasking:
    """PMLM's masking (huawei-noah/Pretrained-Language-Model, PMLM).

    How many tokens of text are picked is 1 + int(r * n) at most n = min(max_predictions, max(1,
    round(max_rate * length))), the length counting the specials and r in [0, 1) drawn from the
    prior: with "uniform" every number from 1 to n is equally likely (u-PMLM). 80% [MASK], 10%
    random, 10% kept.

    Attributes:
      prior: "uniform", or "beta" with the parameters `beta_a` and `beta_b`.
      max_rate: the largest share of the tokens that is picked.
      max_predictions: most targets of an example; 0 for as many as `max_rate` asks for.
      beta_a, beta_b: of the Beta distribution.
    """

    prior: str = "uniform"
    max_rate: float = 1.0
    max_predictions: int = 0
    beta_a: float = 1.0
    beta_b: float = 1.0

    def __post_init__(self):
        check_share("max_rate", self.max_rate, above_zero=True)
        if self.prior not in ("uniform", "beta"):
            raise UserError(f"prior={self.prior!r} is none; give 'uniform' or 'beta'")
        check_at_least("beta_a", self.beta_a, 1e-3)
        check_at_least("beta_b", self.beta_b, 1e-3)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        limits, slots_M = bert_budget(self.max_rate, self.max_predictions, seq_len)
        everything = slots.RandomTokens(np.arange(vocabulary.vocab_size, dtype=np.int32))
        rule = slots.Replacement(vocabulary.require("mask", "probabilistic masking"), everything)
        quantiles = self._quantiles()

        def mask(features: Features) -> Features:
            tf = tensorflow()
            seeds_B = features["seeds"]
            draw_B = slots.high(slots.bits_of(seeds_B, "how many", 1))[:, 0]
            if quantiles is not None:
                draw_B = tf.gather(quantiles, slots.scaled(draw_B, _STEPS))
            wanted_B = 1 + slots.scaled(draw_B, budgets(features, limits))
            keys_BL = slots.order_keys(seeds_B, "masked positions", seq_len)
            keys_BL = tf.where(slots.is_text(features), keys_BL, -1)
            positions_BM = slots.picked(keys_BL, wanted_B, slots_M)
            return slots.replaced(features, positions_BM, slots.none_of(keys_BL), rule)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)

    def _quantiles(self) -> np.ndarray | None:
        """Int64 [_STEPS] in units of 2**-32: the prior at the middles of equal shares."""
        if self.prior == "uniform":
            return None
        from scipy.special import betaincinv

        shares = (np.arange(_STEPS) + 0.5) / _STEPS
        ratios = betaincinv(self.beta_a, self.beta_b, shares)
        return np.minimum(ratios * slots.WORD_OF_BITS, slots.WORD_OF_BITS - 1).astype(np.int64)
