"""N-gram masking of whole words: ALBERT's, and the selection of MacBERT."""

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
from plmjax.data.maskings.units import Units
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

_TOO_LONG = 1 << 20  # tokens: no budget is as large


@dataclasses.dataclass(frozen=True)
class NgramMasking:
    """ALBERT's n-gram masking (google-research/albert, `create_masked_lm_predictions`).

    Words are gone through in random order. At each an n-gram of words begins, n drawn with the
    `weights` (1/n of ALBERT by default); one that does not fit into BERT's budget of tokens is
    tried again with shorter n, and one that overlaps what is taken already is rejected. The words
    of an n-gram are neighbours even where a special token stands between them, and an n-gram ends
    with the last word of the sequence, as in the original. 80% [MASK], 10% random, 10% kept for
    each token.

    Attributes:
      mask_rate: share of the tokens that is picked.
      max_predictions: most targets of an example; 0 for as many as the rate asks for.
      weights: of n = 1, 2, ... words; they need not sum to 1.
    """

    mask_rate: float = 0.15
    max_predictions: int = 0
    weights: tuple[float, ...] = (1.0, 1 / 2, 1 / 3)

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)
        check_weights(self.weights)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        wanted, slots_M = bert_budget(self.mask_rate, self.max_predictions, seq_len)
        everything = slots.RandomTokens(np.arange(vocabulary.vocab_size, dtype=np.int32))
        rule = slots.Replacement(vocabulary.require("mask", "n-gram masking"), everything)

        def mask(features: Features) -> Features:
            words = Units.of(features)
            is_taken_BW = picked_ngrams(
                words, features["seeds"], budgets(features, wanted), self.weights
            )
            positions_BM, overflow_B = slots.compacted(words.tokens_of(is_taken_BW), slots_M)
            return slots.replaced(features, positions_BM, overflow_B, rule)

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask)


def check_weights(weights: tuple[float, ...]) -> None:
    """Raises a UserError where `weights` are none."""
    if not 1 <= len(weights) <= 16 or min(weights) < 0 or not sum(weights) > 0:
        raise UserError(
            f"weights={weights} are no weights of 1, 2, ... words; give 1 to 16 numbers, none "
            "negative and one positive"
        )


def lengths_drawn(word: "tf.Tensor", weights: tuple[float, ...]) -> "tf.Tensor":
    """Int32 in [1, len(weights)] by the weights, from int64 in [0, 2**32), of the same shape."""
    tf = tensorflow()
    ends = np.rint(np.cumsum(weights) / np.sum(weights) * slots.WORD_OF_BITS).astype(np.int64)
    return 1 + sum(tf.cast(word >= end, tf.int32) for end in ends[:-1].tolist())


def picked_ngrams(
    words: Units, seeds_B: "tf.Tensor", budget_B: "tf.Tensor", weights: tuple[float, ...]
) -> "tf.Tensor":
    """Bool [B, W]: the words of random n-grams, as many as fit into the budget of tokens."""
    tf = tensorflow()
    width, N = words.width, len(weights)
    bits_BW = slots.bits_of(seeds_B, "masked n-grams", width)
    keys_BW = tf.cast(tf.bitwise.right_shift(bits_BW, np.uint64(33)), tf.int32)
    keys_BW = tf.where(words.exists_BW, keys_BW, -1)
    order_BW = tf.math.top_k(keys_BW, width)[1]
    n_BW = lengths_drawn(slots.low(bits_BW), weights)
    # Tokens of the first 1 ... N words from each word on, in the order of the loop; lengths beyond
    # the drawn one can never be chosen.
    sums, ahead_BW = [], words.lengths_BW
    total_BW = tf.zeros_like(ahead_BW)
    for n in range(1, N + 1):
        total_BW += ahead_BW
        sums.append(tf.where((n <= n_BW) & words.exists_BW, total_BW, _TOO_LONG))
        ahead_BW = tf.pad(ahead_BW[:, 1:], [[0, 0], [0, 1]])
    in_order_WB = [tf.transpose(slots.taken_at(total_BW, order_BW)) for total_BW in sums]
    sums_WNB = tf.stack(in_order_WB, axis=1)
    first_WB = tf.transpose(order_BW)
    return _taken_in_order(sums_WNB, first_WB, words.count_B, budget_B)


def _taken_in_order(
    sums_WNB: "tf.Tensor", first_WB: "tf.Tensor", count_B: "tf.Tensor", budget_B: "tf.Tensor"
) -> "tf.Tensor":
    """Goes through the candidates one by one, all rows at once, until the budgets are used up."""
    tf = tensorflow()
    width, N, batch = (tf.shape(sums_WNB)[i] for i in range(3))
    # N - 1 columns more, for n-grams at the last words; one column that takes what is not wanted.
    stride = width + N
    row_B = tf.range(batch) * stride
    ahead_N1 = tf.range(N)[:, None]
    shape = (tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([None]))

    def is_open(step: "tf.Tensor", left_B: "tf.Tensor", _: "tf.Tensor") -> "tf.Tensor":
        return (step < width) & tf.reduce_any((left_B > 0) & (step < count_B))

    def take(
        step: "tf.Tensor", left_B: "tf.Tensor", taken: "tf.Tensor"
    ) -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
        sums_NB = sums_WNB[step]
        n_B = tf.reduce_sum(tf.cast(sums_NB <= left_B, tf.int32), axis=0)
        place_NB = (row_B + first_WB[step]) + ahead_N1
        is_inside_NB = ahead_N1 < n_B
        is_taken_NB = tf.gather(taken, place_NB) > 0
        is_good_B = (n_B > 0) & ~tf.reduce_any(is_taken_NB & is_inside_NB, axis=0)
        is_new_NB = is_inside_NB & is_good_B
        used_B = tf.reduce_max(tf.where(is_new_NB, sums_NB, 0), axis=0)
        taken = tf.tensor_scatter_nd_max(
            taken, tf.reshape(place_NB, [-1, 1]), tf.reshape(tf.cast(is_new_NB, tf.int32), [-1])
        )
        return step + 1, left_B - used_B, taken

    start = (tf.constant(0), budget_B, tf.zeros([batch * stride], tf.int32))
    *_, taken = tf.while_loop(is_open, take, start, shape_invariants=shape)
    return tf.reshape(taken, [batch, stride])[:, :width] > 0
