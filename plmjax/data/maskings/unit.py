"""ERNIE 1.0's knowledge masking: whole words, phrases or entities, without a budget."""

import dataclasses
import math

import numpy as np

from plmjax.data.flags import ENTITY, PHRASE, WORD
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    check_share,
    mlm_spec,
    slots_for,
)
from plmjax.data.maskings.units import Units
from plmjax.errors import UserError

_BITS = {"token": 0, "word": WORD, "phrase": PHRASE, "entity": ENTITY}


@dataclasses.dataclass(frozen=True)
class UnitMasking:
    """ERNIE 1.0's masking (PaddlePaddle/ERNIE v2.0, `batching.mask`).

    Each unit is chosen with probability mask_rate, all of its tokens are targets, and there is no
    budget. Each token by itself becomes [MASK] with 80%, stays with 10%, and becomes with 10% a
    random id from 1 on. The original's stages are three values of `unit`: "token" (the characters
    of Chinese), "phrase", "entity".

    Attributes:
      unit: "token", "word", "phrase" or "entity": which bit of the flags begins a unit.
      mask_rate: the probability.
      max_predictions: slots for targets; 0 for so many that few examples of short units have more.
        What finds no slot is counted as overflow and stays as it is.
      unit_share: how many of the examples are masked by units, the others by tokens. The original
        draws it for each file and epoch; here it is drawn for each example.
    """

    unit: str = "word"
    mask_rate: float = 0.15
    max_predictions: int = 0
    unit_share: float = 1.0

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)
        check_share("unit_share", self.unit_share)
        if self.unit not in _BITS:
            raise UserError(f"unit={self.unit!r} is none; give one of {', '.join(_BITS)}")

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        # As much spread as independent units of four tokens have.
        deviation = math.sqrt(4 * seq_len * self.mask_rate * (1 - self.mask_rate))
        most = math.ceil(seq_len * self.mask_rate + 5.5 * deviation)
        slots_M = slots_for(self.max_predictions, most, seq_len)
        mask_id = vocabulary.require("mask", "unit masking")
        random_tokens = slots.RandomTokens(np.arange(1, vocabulary.vocab_size, dtype=np.int32))

        def mask(features: Features) -> Features:
            tf = tensorflow()
            seeds_B, tokens_BL = features["seeds"], features["tokens"]
            units = self._units(features)
            draw_BL = slots.order_keys(seeds_B, "masked units", seq_len)
            first_BW = tf.cast(slots.taken_at(draw_BL, units.starts_BW), tf.int64)
            is_chosen_BW = first_BW < round(self.mask_rate * 2**31)
            positions_BM, overflow_B = slots.compacted(units.tokens_of(is_chosen_BW), slots_M)

            # The first token of a unit is shown by the same draw that chose the unit.
            is_first_BM = slots.taken_at(units.is_start_BL, positions_BM)
            draw_BM = tf.cast(slots.taken_at(draw_BL, positions_BM), tf.float64) * 2.0**-31
            draw_BM = tf.where(is_first_BM, draw_BM / (self.mask_rate or 1.0), draw_BM)
            original_BM = slots.taken_at(tokens_BL, positions_BM)
            bits_BM = slots.bits_of(seeds_B, "random token", slots_M)
            random_BM = random_tokens.draw(slots.low(bits_BM))
            changed_BM = tf.where(draw_BM > 0.2, mask_id, random_BM)
            shown_BM = tf.where(draw_BM > 0.1, changed_BM, original_BM)
            tokens_BL = slots.written(tokens_BL, positions_BM, shown_BM)
            return {"tokens": tokens_BL} | slots.targets_of(features, positions_BM, overflow_B)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)

    def _units(self, features: Features) -> Units:
        if self.unit != "token" and self.unit_share == 1:
            return Units.of(features, _BITS[self.unit])
        tf = tensorflow()
        is_text_BL = slots.is_text(features)
        if self.unit == "token" or self.unit_share == 0:
            return Units.from_starts(is_text_BL, is_text_BL)
        draw_B = slots.high(slots.bits_of(features["seeds"], "units or tokens", 1))
        by_unit_B = draw_B < round(self.unit_share * slots.WORD_OF_BITS)
        is_start_BL = Units.of(features, _BITS[self.unit]).is_start_BL
        return Units.from_starts(tf.where(by_unit_B, is_start_BL, is_text_BL), is_text_BL)
