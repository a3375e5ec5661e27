"""Token-wise maskings: BERT's, RoBERTa's and ELECTRA's."""

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
    most_of_binomial,
    slots_for,
    table_of_lengths,
)
from plmjax.data.maskings.units import Units

if TYPE_CHECKING:
    import tensorflow as tf


def bert_budget(mask_rate: float, max_predictions: int, seq_len: int) -> tuple[np.ndarray, int]:
    """BERT's number of predictions for each length with specials, and the slots it needs.

    min(max_predictions, max(1, round(mask_rate * length))), rounded half to even.
    """
    most = max(1, round(mask_rate * seq_len))
    slots_M = slots_for(max_predictions, most, seq_len)
    return table_of_lengths(lambda n: min(slots_M, max(1, round(n * mask_rate))), seq_len), slots_M


def budgets(features: Features, table: np.ndarray) -> "tf.Tensor":
    """Int32 [B]: the table at each row's number of tokens, specials included."""
    tf = tensorflow()
    return tf.gather(table, tf.reduce_sum(features["attention_mask"], axis=1))


@dataclasses.dataclass(frozen=True)
class BertMasking:
    """BERT's (google-research/bert, `create_masked_lm_predictions`).

    Of a sequence's tokens of text, min(max_predictions, max(1, round(mask_rate * length))) are
    picked, where the length counts the specials. Of the picked, 80% become [MASK], 10% stay, and
    10% become a token drawn from the whole vocabulary.

    Attributes:
      mask_rate: share of the tokens that are picked.
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
        rule = slots.Replacement(vocabulary.require("mask", "token masking"), everything)

        def mask(features: Features) -> Features:
            tf = tensorflow()
            keys_BL = slots.order_keys(features["seeds"], "masked positions", seq_len)
            keys_BL = tf.where(slots.is_text(features), keys_BL, -1)
            positions_BM = slots.picked(keys_BL, budgets(features, wanted), slots_M)
            return slots.replaced(features, positions_BM, slots.none_of(keys_BL), rule)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)


@dataclasses.dataclass(frozen=True)
class RobertaMasking:
    """RoBERTa's (fairseq, `MaskTokensDataset`).

    int(mask_rate * length + u) of all tokens are picked, u uniform in [0, 1) and drawn for each
    sequence; <s> and </s> are tokens like any other, as published. Of the picked, 80% become
    <mask>, 10% stay, and 10% become a token of text, each equally often.

    Attributes:
      mask_rate: share of the tokens (or words) that are picked.
      max_predictions: slots for targets; 0 for as many as the rate asks for.
      mask_specials: whether <s>, </s> and the layout's other tokens may be picked.
      whole_words: picks words in place of tokens; all of a word is shown the same way, but
        random tokens are drawn one by one. Specials are words of one token. More targets than
        there are slots are counted as overflow.
    """

    mask_rate: float = 0.15
    max_predictions: int = 0
    mask_specials: bool = True
    whole_words: bool = False

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        most = int(self.mask_rate * seq_len) + 1
        if self.whole_words:  # long words may come together
            most = most_of_binomial(seq_len, self.mask_rate)
        slots_M = slots_for(self.max_predictions, most, seq_len)
        share_of_length = np.arange(seq_len + 1, dtype=np.float64) * self.mask_rate
        mask_id = vocabulary.require("mask", "token masking")
        rule = slots.Replacement(mask_id, slots.RandomTokens(vocabulary.text_ids))

        def mask(features: Features) -> Features:
            if self.whole_words:
                return self._words(features, share_of_length, slots_M, rule)
            tf = tensorflow()
            seeds_B = features["seeds"]
            is_candidate_BL = self._candidates(features)
            count_B = tf.reduce_sum(tf.cast(is_candidate_BL, tf.int32), axis=1)
            wanted_B = self._wanted(seeds_B, count_B, share_of_length)
            keys_BL = slots.order_keys(seeds_B, "masked positions", seq_len)
            keys_BL = tf.where(is_candidate_BL, keys_BL, -1)
            positions_BM = slots.picked(keys_BL, wanted_B, slots_M)
            overflow_B = tf.maximum(wanted_B - slots_M, 0)
            return slots.replaced(features, positions_BM, overflow_B, rule)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)

    def _candidates(self, features: Features) -> "tf.Tensor":
        return features["attention_mask"] > 0 if self.mask_specials else slots.is_text(features)

    def _wanted(
        self, seeds_B: "tf.Tensor", count_B: "tf.Tensor", share_of_length: np.ndarray
    ) -> "tf.Tensor":
        tf = tensorflow()
        uniform_B = tf.cast(slots.high(slots.bits_of(seeds_B, "how many", 1))[:, 0], tf.float64)
        wanted_B = tf.gather(share_of_length, count_B) + uniform_B * 2.0**-32
        return tf.minimum(tf.cast(wanted_B, tf.int32), count_B)

    def _words(
        self, features: Features, share: np.ndarray, slots_M: int, rule: slots.Replacement
    ) -> Features:
        tf = tensorflow()
        seeds_B, tokens_BL = features["seeds"], features["tokens"]
        words = Units.of(features, specials_too=self.mask_specials)
        wanted_B = self._wanted(seeds_B, words.count_B, share)
        keys_BW = slots.order_keys(seeds_B, "masked words", words.width)
        keys_BW = tf.where(words.exists_BW, keys_BW, -1)
        values_BW, _ = tf.math.top_k(keys_BW, words.width)
        last_B = slots.taken_at(values_BW, wanted_B[:, None] - 1)
        is_picked_BW = (keys_BW >= last_B) & words.exists_BW & (wanted_B > 0)[:, None]
        positions_BM, overflow_B = slots.compacted(words.tokens_of(is_picked_BW), slots_M)
        # The draw of a word is the draw of the slot of its first token.
        is_start_BM = slots.taken_at(words.is_start_BL, positions_BM)
        first_BM = tf.maximum(tf.cumsum(tf.cast(is_start_BM, tf.int32), axis=1) - 1, 0)
        kind_BM = slots.taken_at(slots.bits_of(seeds_B, "replacement of words", slots_M), first_BM)
        token_BM = slots.bits_of(seeds_B, "replacement", slots_M)
        shown_BM = rule.shown(slots.taken_at(tokens_BL, positions_BM), kind_BM, token_BM)
        targets = slots.targets_of(features, positions_BM, overflow_B)
        return targets | {"tokens": slots.written(tokens_BL, positions_BM, shown_BM)}


@dataclasses.dataclass(frozen=True)
class ElectraMasking:
    """ELECTRA's (google-research/electra, `pretrain_helpers.mask`).

    max(1, min(N, round(mask_rate * length))) positions of the text, N = int((mask_rate + 0.005) *
    seq_len), are drawn with replacement: a position that comes twice counts twice. 85% of the draws
    become [MASK], 15% stay; nothing becomes a random token.

    Attributes:
      mask_rate: share of the tokens, specials counted, that are drawn.
      mask_share: share of the draws that become [MASK].
    """

    mask_rate: float = 0.15
    mask_share: float = 0.85

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)
        check_share("mask_share", self.mask_share)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        slots_M = min(seq_len, max(1, int((self.mask_rate + 0.005) * seq_len)))
        wanted = table_of_lengths(
            lambda n: max(1, min(slots_M, round(n * self.mask_rate))), seq_len
        )
        mask_id = vocabulary.require("mask", "ELECTRA's masking")

        def mask(features: Features) -> Features:
            tf = tensorflow()
            is_text_BL = slots.is_text(features)
            texts_BL, _ = slots.compacted(is_text_BL, seq_len)
            count_B1 = tf.reduce_sum(tf.cast(is_text_BL, tf.int32), axis=1, keepdims=True)
            bits_BM = slots.bits_of(features["seeds"], "masked positions", slots_M)
            drawn_BM = slots.taken_at(texts_BL, slots.scaled(slots.high(bits_BM), count_B1))
            wanted_B1 = budgets(features, wanted)[:, None]
            is_used_BM = (tf.range(slots_M)[None] < wanted_B1) & (count_B1 > 0)
            # The draw's own decision stays with it through the sort: one bit below the position.
            is_kept_BM = slots.low(bits_BM) >= round(self.mask_share * slots.WORD_OF_BITS)
            packed_BM = tf.where(is_used_BM, drawn_BM, seq_len) * 2 + tf.cast(is_kept_BM, tf.int32)
            packed_BM = slots.ascending(packed_BM)
            positions_BM = packed_BM // 2
            # Of equal positions only the first may write; one draw of [MASK] is enough.
            again_BM = tf.pad(positions_BM[:, 1:] == positions_BM[:, :-1], [[0, 0], [1, 0]])
            is_mask_BM = (packed_BM % 2 == 0) & ~again_BM
            places_BM = tf.where(is_mask_BM, positions_BM, seq_len)
            shown_BM = tf.fill(tf.shape(places_BM), mask_id)
            tokens_BL = slots.written(features["tokens"], places_BM, shown_BM)
            overflow_B = slots.none_of(tokens_BL)
            return {"tokens": tokens_BL} | slots.targets_of(features, positions_BM, overflow_B)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)
