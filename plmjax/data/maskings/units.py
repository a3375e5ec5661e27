"""Units of text (words, phrases, entities) of a batch, from the flags of its tokens."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data.flags import WORD
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import Features

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Units:
    """The units of each row in order, W of them at most: W is the most that a row of the batch has.

    A unit lasts until the next one begins or the text is interrupted by a special token.

    Attributes:
      is_start_BL: bool, the first token of a unit.
      count_B: int32, units of a row.
      starts_BW: int32, position of the first token; L where a row has no such unit.
      lengths_BW: int32, tokens; 0 where a row has no such unit.
    """

    is_start_BL: "tf.Tensor"
    count_B: "tf.Tensor"
    starts_BW: "tf.Tensor"
    lengths_BW: "tf.Tensor"

    @classmethod
    def of(cls, features: Features, bit: int = WORD, *, specials_too: bool = False) -> "Units":
        """Units that begin where `flags` has `bit`. With `specials_too`, each special is one."""
        tf = tensorflow()
        is_text_BL = slots.is_text(features)
        follows_text_BL = tf.pad(is_text_BL[:, :-1], [[0, 0], [1, 0]])
        has_bit_BL = tf.bitwise.bitwise_and(features["flags"], np.uint8(bit)) > 0
        # Tokens at the beginning of a text that was cut inside a word are a unit of their own.
        is_start_BL = is_text_BL & (has_bit_BL | ~follows_text_BL)
        if specials_too:
            is_start_BL |= (features["attention_mask"] > 0) & ~is_text_BL
            is_text_BL = features["attention_mask"] > 0
        return cls.from_starts(is_start_BL, is_text_BL)

    @classmethod
    def from_starts(cls, is_start_BL: "tf.Tensor", is_text_BL: "tf.Tensor") -> "Units":
        """Units that begin where `is_start_BL` and are made of tokens that `is_text_BL`."""
        tf = tensorflow()
        batch, length = tf.shape(is_start_BL)[0], is_start_BL.shape[1]
        row_N, place_N, rank_N = slots.places_of(is_start_BL)
        count_B = tf.reduce_sum(tf.cast(is_start_BL, tf.int32), axis=1)
        width = tf.maximum(tf.reduce_max(count_B), 1)
        before_BL = tf.cumsum(tf.cast(is_text_BL, tf.int32), axis=1, exclusive=True)
        total_B = tf.reduce_sum(tf.cast(is_text_BL, tf.int32), axis=1)
        before_N = tf.gather(tf.reshape(before_BL, [-1]), row_N * length + place_N)
        exists_BW = tf.range(width) < count_B[:, None]

        def table(values_N: "tf.Tensor", empty: "tf.Tensor | int") -> "tf.Tensor":
            values = slots.placed(values_N, row_N * width + rank_N, batch * width)
            return tf.where(exists_BW, tf.reshape(values, [batch, width]), empty)

        starts_BW = table(place_N, length)
        before_BW = table(before_N, total_B[:, None])
        after_BW = tf.concat([before_BW[:, 1:], total_B[:, None]], axis=1)
        return cls(is_start_BL, count_B, starts_BW, after_BW - before_BW)

    @property
    def width(self) -> "tf.Tensor":
        """W, an int32 scalar tensor."""
        return tensorflow().shape(self.starts_BW)[1]

    @property
    def exists_BW(self) -> "tf.Tensor":
        """Bool [B, W]."""
        return self.lengths_BW > 0

    def tokens_of(self, is_chosen_BW: "tf.Tensor") -> "tf.Tensor":
        """Bool [B, L]: the tokens of the chosen units."""
        return spread(
            self.starts_BW,
            self.lengths_BW,
            is_chosen_BW & self.exists_BW,
            self.is_start_BL.shape[1],
        )


def spread(
    starts_BN: "tf.Tensor", lengths_BN: "tf.Tensor", is_chosen_BN: "tf.Tensor", width: int
) -> "tf.Tensor":
    """Bool [B, width]: what is covered by the chosen ranges."""
    tf = tensorflow()
    batch = tf.shape(starts_BN)[0]
    size = batch * (width + 1)
    row_B1 = tf.range(batch)[:, None] * (width + 1)
    is_chosen_BN = tf.cast(is_chosen_BN, tf.int32)
    begins = slots.placed(is_chosen_BN, row_B1 + starts_BN, size)
    ends_BN = tf.minimum(starts_BN + lengths_BN, width)
    steps = begins - slots.placed(is_chosen_BN, row_B1 + ends_BN, size)
    return tf.cumsum(tf.reshape(steps, [batch, width + 1])[:, :-1], axis=1) > 0
