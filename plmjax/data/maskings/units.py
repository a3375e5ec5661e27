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
        is_text_BL = slots.is_text(features)
        is_start_BL = unit_starts(features, is_text_BL, bit)
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
        length_N = tf.gather(
            tf.reshape(unit_lengths(is_start_BL, is_text_BL), [-1]), row_N * length + place_N
        )

        def table(values_N: "tf.Tensor") -> "tf.Tensor":
            values = slots.placed(values_N, row_N * width + rank_N, batch * width)
            return tf.reshape(values, [batch, width])

        starts_BW = tf.where(tf.range(width) < count_B[:, None], table(place_N), length)
        return cls(is_start_BL, count_B, starts_BW, table(length_N))

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


def unit_starts(features: Features, is_text_BL: "tf.Tensor", bit: int = WORD) -> "tf.Tensor":
    """Bool [B, L]: where the units of the text begin whose beginnings have `bit` of the flags."""
    tf = tensorflow()
    follows_text_BL = tf.pad(is_text_BL[:, :-1], [[0, 0], [1, 0]])
    has_bit_BL = tf.bitwise.bitwise_and(features["flags"], np.uint8(bit)) > 0
    # Tokens at the beginning of a text that was cut inside a word are a unit of their own.
    return is_text_BL & (has_bit_BL | ~follows_text_BL)


def unit_lengths(is_start_BL: "tf.Tensor", is_text_BL: "tf.Tensor") -> "tf.Tensor":
    """Int32 [B, L]: at each start the tokens of its unit.

    A unit begins where a text does, so that every row begins with a start or with what is no text.
    """
    tf = tensorflow()
    is_border = tf.reshape(is_start_BL | ~is_text_BL, [-1])
    border_N = tf.cast(tf.where(is_border)[:, 0], tf.int32)
    size = tf.size(is_border)
    next_N = tf.concat([border_N[1:], size[None]], axis=0)
    return tf.reshape(slots.placed(next_N - border_N, border_N, size), tf.shape(is_start_BL))


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
