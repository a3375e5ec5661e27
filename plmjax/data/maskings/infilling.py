"""BART's text infilling: which tokens a span mask stands for, and which it swallows."""

import dataclasses
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import table_of_lengths

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Infilling:
    """Spans of Poisson lengths (fairseq, `DenoisingDataset.add_whole_word_mask`).

    Attributes:
      mask_rate, poisson_mean: see `denoising.Denoising`.
      length: tokens of a row.
    """

    MASKED: ClassVar[int] = 1
    DELETED: ClassVar[int] = 2

    mask_rate: float
    poisson_mean: float
    length: int

    @property
    def draws(self) -> int:
        """Lengths that are drawn: less than one row in 10**13 ends before its budget is used up."""
        return math.ceil(1.5 * self.length * self.mask_rate / self.poisson_mean) + 64

    def marks(
        self, seeds_B: "tf.Tensor", body_BN: "tf.Tensor", is_word_BN: "tf.Tensor"
    ) -> tuple["tf.Tensor", "tf.Tensor"]:
        """What becomes of each token.

        Returns:
          int32 [B, N]: MASKED for the first token of a span, DELETED for the others of it, 0 for
          what stays; and int32 [B], how many spans are empty.
        """
        tf = tensorflow()
        follows_BN = tf.pad(body_BN[:, :-1], [[0, 0], [1, 0]])
        is_word_BN |= body_BN & ~follows_BN
        words_B = tf.reduce_sum(tf.cast(is_word_BN, tf.int32), axis=1)
        budgets = table_of_lengths(lambda n: math.ceil(n * self.mask_rate), self.length)
        lengths_BK = self._lengths(seeds_B, tf.gather(budgets, words_B))
        is_empty_BK, lengths_BK = lengths_BK == 0, tf.maximum(lengths_BK, 0)

        # Spans that are not empty begin at different words, in random order.
        width = tf.maximum(tf.reduce_max(words_B), 1)
        keys_BW = slots.order_keys(seeds_B, "infilled words", width)
        keys_BW = tf.where(tf.range(width) < words_B[:, None], keys_BW, -1)
        is_span_BK = lengths_BK > 0
        rank_BK = tf.cumsum(tf.cast(is_span_BK, tf.int32), axis=1) - 1
        most = tf.minimum(tf.maximum(tf.reduce_max(rank_BK) + 1, 1), width)
        first_BK = slots.taken_at(tf.math.top_k(keys_BW, most)[1], rank_BK)
        state_BW = self._states(is_span_BK, first_BK, lengths_BK, width)

        word_BN = tf.cumsum(tf.cast(is_word_BN, tf.int32), axis=1) - 1
        state_BN = tf.where(body_BN, slots.taken_at(state_BW, word_BN), 0)
        # Only the first token of the span's first word becomes its mask.
        is_rest_BN = (state_BN == self.MASKED) & ~is_word_BN
        empty_B = tf.reduce_sum(tf.cast(is_empty_BK, tf.int32), axis=1)
        return tf.where(is_rest_BN, self.DELETED, state_BN), empty_B

    def _lengths(self, seeds_B: "tf.Tensor", budget_B: "tf.Tensor") -> "tf.Tensor":
        """Words of each span until the budget is used up, the last one cut; -1 after that."""
        tf = tensorflow()
        chances = [math.exp(-self.poisson_mean)]
        while chances[-1] >= 1e-7 or len(chances) < self.poisson_mean:
            chances.append(chances[-1] * self.poisson_mean / len(chances))
        ends = np.rint(np.cumsum(chances) / sum(chances) * slots.WORD_OF_BITS).astype(np.int64)
        word_BK = slots.high(slots.bits_of(seeds_B, "lengths of spans", self.draws))
        flat = tf.searchsorted(ends, tf.reshape(word_BK, [-1]), side="right")
        lengths_BK = tf.reshape(flat, tf.shape(word_BK))
        before_BK = tf.cumsum(lengths_BK, axis=1, exclusive=True)
        left_BK = budget_B[:, None] - before_BK
        return tf.where(left_BK > 0, tf.minimum(lengths_BK, left_BK), -1)

    def _states(
        self,
        is_span_BK: "tf.Tensor",
        first_BK: "tf.Tensor",
        lengths_BK: "tf.Tensor",
        width: "tf.Tensor",
    ) -> "tf.Tensor":
        """Int32 [B, W]: the state of each word. A span swallows the masks of spans inside it."""
        tf = tensorflow()
        batch = tf.shape(first_BK)[0]
        stride = width + 2
        where_N2 = tf.where(is_span_BK)
        first_N = tf.gather_nd(first_BK, where_N2)
        end_N = tf.minimum(first_N + tf.gather_nd(lengths_BK, where_N2), width + 1)
        row_N = tf.cast(where_N2[:, 0], tf.int32) * stride
        ones_N = tf.ones_like(first_N)
        # Beginnings are counted above 2**16, and how many spans go on over a word below it.
        at = tf.concat([row_N + first_N, row_N + first_N + 1, row_N + end_N], axis=0)
        values = tf.concat([ones_N * (1 << 16), ones_N, -ones_N], axis=0)
        steps = tf.reshape(slots.placed(values, at, batch * stride), [batch, stride])
        begins_BW = tf.bitwise.right_shift(steps + (1 << 15), 16)
        going_on_BW = tf.cumsum(steps - tf.bitwise.left_shift(begins_BW, 16), axis=1)
        is_first_BW = begins_BW > 0
        states_BW = tf.where(is_first_BW, self.MASKED, 0)
        return tf.where(going_on_BW > 0, self.DELETED, states_BW)[:, :width]
