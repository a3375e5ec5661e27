"""Token masking for masked language modelling, over a whole batch in TensorFlow ops."""

import dataclasses
from typing import TYPE_CHECKING

from plmjax.data import counter_random
from plmjax.data.host_tensorflow import tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

_POSITION_BITS = 16  # sequences are shorter than 2**16


@dataclasses.dataclass(frozen=True)
class TokenMasking:
    """BERT's masking (google-research/bert, `create_masked_lm_predictions`).

    Of a sequence's tokens other than [CLS] and [SEP], min(max_predictions, max(1,
    round(mask_rate * length))) are picked, where the length counts the specials. Of the picked,
    80% become [MASK], 10% stay, and 10% become a token drawn from the whole vocabulary.
    """

    mask_rate: float
    max_predictions: int
    mask_id: int
    special_ids: tuple[int, ...]
    vocab_size: int

    def __call__(
        self, tokens_BL: "tf.Tensor", attention_mask_BL: "tf.Tensor", seeds_B: "tf.Tensor"
    ) -> dict[str, "tf.Tensor"]:
        """Masks a batch; a pure function of its arguments.

        Args:
          tokens_BL: int32 ids.
          attention_mask_BL: int32, 1 for tokens and 0 for padding.
          seeds_B: uint64, the key of each example.

        Returns:
          `tokens` int32 [B, L]; `masked_positions` int32 [B, M], ascending, 0 where unused;
          `masked_targets` int32 [B, M], 0 where unused; `masked_weights` float32 [B, M].
        """
        tf = tensorflow()
        selected_BL, positions_BM, weights_BM = self._select(tokens_BL, attention_mask_BL, seeds_B)
        targets_BM = tf.gather(tokens_BL, positions_BM, batch_dims=1)
        return {
            "tokens": tf.where(selected_BL, self._replacements(tokens_BL, seeds_B), tokens_BL),
            "masked_positions": positions_BM,
            "masked_targets": targets_BM * tf.cast(weights_BM, tf.int32),
            "masked_weights": weights_BM,
        }

    def _select(
        self, tokens_BL: "tf.Tensor", attention_mask_BL: "tf.Tensor", seeds_B: "tf.Tensor"
    ) -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        tf = tensorflow()
        width = tokens_BL.shape[1]
        is_candidate_BL = attention_mask_BL > 0
        for special in self.special_ids:
            is_candidate_BL &= tokens_BL != special
        # The position in the low bits makes all scores of a sequence different.
        bits_BL = counter_random.draw(seeds_B, "masked positions", width)
        scores_BL = tf.bitwise.left_shift(
            tf.cast(tf.bitwise.right_shift(bits_BL, _POSITION_BITS + 1), tf.int64), _POSITION_BITS
        ) | tf.range(width, dtype=tf.int64)
        scores_BL = tf.where(is_candidate_BL, scores_BL, tf.int64.max)
        lowest_BM = tf.sort(scores_BL, axis=1)[:, : self.max_predictions]

        length_B = tf.cast(tf.reduce_sum(attention_mask_BL, axis=1), tf.float64)
        wanted_B = tf.maximum(tf.cast(tf.round(length_B * self.mask_rate), tf.int32), 1)
        is_used_BM = tf.range(self.max_predictions)[None] < wanted_B[:, None]
        is_used_BM &= lowest_BM < tf.int64.max
        highest_B = tf.reduce_max(tf.where(is_used_BM, lowest_BM, -1), axis=1)

        places_BM = tf.cast(lowest_BM & ((1 << _POSITION_BITS) - 1), tf.int32)
        ascending_BM = tf.sort(tf.where(is_used_BM, places_BM, width), axis=1)
        is_filled_BM = ascending_BM < width
        positions_BM = tf.where(is_filled_BM, ascending_BM, 0)
        selected_BL = scores_BL <= highest_B[:, None]
        return selected_BL, positions_BM, tf.cast(is_filled_BM, tf.float32)

    def _replacements(self, tokens_BL: "tf.Tensor", seeds_B: "tf.Tensor") -> "tf.Tensor":
        """What each token would become if it were picked."""
        tf = tensorflow()
        width = tokens_BL.shape[1]
        kind_BL = counter_random.uniform(counter_random.draw(seeds_B, "mask or keep", width))
        random_BL = counter_random.below(
            counter_random.draw(seeds_B, "random token", width), self.vocab_size
        )
        kept_or_random_BL = tf.where(kind_BL < 0.9, tokens_BL, tf.cast(random_BL, tf.int32))
        return tf.where(kind_BL < 0.8, self.mask_id, kept_or_random_BL)
