"""Steps that maskings share: random order, picking, a fixed number of slots, replacement.

Positions are int32 [B, M], ascending, and L (one past the last position) where a slot is unused.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data import counter_random
from plmjax.data.flags import SPECIAL
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings.base import Features
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

WORD_OF_BITS = 1 << 32


def is_text(features: Features) -> "tf.Tensor":
    """Bool [B, L]: tokens of the text, neither padding nor put there by the layout."""
    return (features["attention_mask"] > 0) & (features["flags"] < np.uint8(SPECIAL))


def bits_of(seeds_B: "tf.Tensor", purpose: str, width: int | np.ndarray) -> "tf.Tensor":
    """Random bits uint64 [B, width]; `width` may be an int32 scalar tensor."""
    tf = tensorflow()
    if isinstance(width, int):
        return counter_random.draw(seeds_B, purpose, width)
    keys_B = counter_random.fold(seeds_B, counter_random.key_of(purpose))
    counters_N = tf.cast(tf.range(tf.cast(width, tf.int64)), tf.uint64)
    return counter_random.fold(keys_B[:, None], counters_N[None, :])


def high(bits: "tf.Tensor") -> "tf.Tensor":
    """Int64 in [0, 2**32): the upper half of the random bits."""
    tf = tensorflow()
    return tf.cast(tf.bitwise.right_shift(bits, np.uint64(32)), tf.int64)


def low(bits: "tf.Tensor") -> "tf.Tensor":
    """Int64 in [0, 2**32): the lower half of the random bits."""
    tf = tensorflow()
    return tf.cast(tf.bitwise.bitwise_and(bits, np.uint64(WORD_OF_BITS - 1)), tf.int64)


def scaled(word: "tf.Tensor", bounds: "tf.Tensor | int") -> "tf.Tensor":
    """Int32 in [0, bound) from int64 in [0, 2**32), each equally likely to within 2**-32."""
    tf = tensorflow()
    product = word * tf.cast(bounds, tf.int64)
    return tf.cast(tf.bitwise.right_shift(product, np.int64(32)), tf.int32)


def order_keys(seeds_B: "tf.Tensor", purpose: str, width: int | np.ndarray) -> "tf.Tensor":
    """Int32 [B, width], not negative: the largest first is a random order."""
    tf = tensorflow()
    bits = bits_of(seeds_B, purpose, width)
    return tf.cast(tf.bitwise.right_shift(bits, np.uint64(33)), tf.int32)


def picked(keys_BL: "tf.Tensor", wanted_B: "tf.Tensor", slots: int) -> "tf.Tensor":
    """Positions [B, slots] of the `wanted_B` largest keys of each row; negative keys never."""
    tf = tensorflow()
    width = keys_BL.shape[1]
    values_BM, places_BM = tf.math.top_k(keys_BL, min(slots, width))
    is_used_BM = (tf.range(min(slots, width))[None] < wanted_B[:, None]) & (values_BM >= 0)
    positions_BM = ascending(tf.where(is_used_BM, places_BM, width))
    return tf.pad(positions_BM, [[0, 0], [0, max(0, slots - width)]], constant_values=width)


def ascending(values_BN: "tf.Tensor") -> "tf.Tensor":
    """Each row in ascending order."""
    tf = tensorflow()
    return -tf.math.top_k(-values_BN, tf.shape(values_BN)[1])[0]


def places_of(selected_BL: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor", "tf.Tensor"]:
    """What is selected, row by row, as int32 [N]: row, place in the row, rank in the row."""
    tf = tensorflow()
    width = selected_BL.shape[1] or tf.shape(selected_BL)[1]
    flat_N = tf.cast(tf.where(tf.reshape(selected_BL, [-1]))[:, 0], tf.int32)
    row_N = flat_N // width
    counts_B = tf.reduce_sum(tf.cast(selected_BL, tf.int32), axis=1)
    before_B = tf.cumsum(counts_B, exclusive=True)
    rank_N = tf.range(tf.shape(flat_N)[0]) - tf.gather(before_B, row_N)
    return row_N, flat_N - row_N * width, rank_N


def placed(values: "tf.Tensor", places: "tf.Tensor", size: "tf.Tensor | int") -> "tf.Tensor":
    """Int32 [size]: at each place the sum of its values; negative places are left out.

    Both int32, of one shape. A tenth of the time of `tf.scatter_nd`.
    """
    return tensorflow().math.unsorted_segment_sum(values, places, size)


def compacted(selected_BL: "tf.Tensor", slots: int) -> tuple["tf.Tensor", "tf.Tensor"]:
    """The selected positions in slots.

    Returns:
      positions [B, slots], the first ones of the row; and int32 [B], how many found no slot.
    """
    tf = tensorflow()
    batch, width = tf.shape(selected_BL)[0], selected_BL.shape[1]
    row_N, place_N, rank_N = places_of(selected_BL)
    target_N = tf.where(rank_N < slots, row_N * slots + rank_N, -1)
    # Places are counted from the end, so that an unused slot's zero means L.
    filled = placed(width - place_N, target_N, batch * slots)
    positions_BM = width - tf.reshape(filled, [batch, slots])
    counts_B = tf.reduce_sum(tf.cast(selected_BL, tf.int32), axis=1)
    return positions_BM, tf.maximum(counts_B - slots, 0)


def taken_at(values_BL: "tf.Tensor", places_BM: "tf.Tensor") -> "tf.Tensor":
    """`values_BL` at each of `places_BM`; places outside the row give its last value."""
    tf = tensorflow()
    batch, width = tf.shape(values_BL)[0], tf.shape(values_BL)[1]
    flat_BM = tf.clip_by_value(places_BM, 0, width - 1) + tf.range(batch)[:, None] * width
    return tf.gather(tf.reshape(values_BL, [-1]), flat_BM)


def written(
    tokens_BL: "tf.Tensor", positions_BM: "tf.Tensor", shown_BM: "tf.Tensor"
) -> "tf.Tensor":
    """The tokens with `shown_BM` at the positions, which differ from each other where used."""
    tf = tensorflow()
    batch, width = tf.shape(tokens_BL)[0], tokens_BL.shape[1]
    change_BM = shown_BM - taken_at(tokens_BL, positions_BM)
    flat_BM = tf.where(positions_BM < width, positions_BM + tf.range(batch)[:, None] * width, -1)
    return tokens_BL + tf.reshape(placed(change_BM, flat_BM, batch * width), [batch, width])


def targets_of(features: Features, positions_BM: "tf.Tensor", overflow_B: "tf.Tensor") -> Features:
    """The keys of masked language modelling except the masked tokens."""
    tf = tensorflow()
    tokens_BL = features["tokens"]
    is_used_BM = positions_BM < tokens_BL.shape[1]
    return {
        "masked_positions": tf.where(is_used_BM, positions_BM, 0),
        "masked_targets": tf.where(is_used_BM, taken_at(tokens_BL, positions_BM), 0),
        "masked_weights": tf.cast(is_used_BM, tf.float32),
        "overflow": overflow_B,
    }


def none_of(batch_of: "tf.Tensor") -> "tf.Tensor":
    """Int32 [B] zeros: the overflow of rules whose budget never exceeds the slots."""
    tf = tensorflow()
    return tf.zeros([tf.shape(batch_of)[0]], tf.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class RandomTokens:
    """A distribution over ids. `ids` int32, drawn equally often, or by `counts` int64 if given."""

    ids: np.ndarray
    counts: np.ndarray | None = None

    def __post_init__(self):
        if len(self.ids) == 0 or (self.counts is not None and self.counts.sum() <= 0):
            raise UserError("the vocabulary has no token of text to draw from; train another one")

    def draw(self, word: "tf.Tensor") -> "tf.Tensor":
        """Int32 ids from int64 in [0, 2**32), of the same shape."""
        tf = tensorflow()
        if self.counts is not None:
            # Boundaries in units of 2**-32 of all counts.
            ends = np.cumsum(self.counts.astype(np.float64))
            ends_V = np.rint(ends / ends[-1] * WORD_OF_BITS).astype(np.int64)
            flat = tf.searchsorted(ends_V, tf.reshape(word, [-1]), side="right")
            return tf.reshape(tf.gather(self.ids, flat), tf.shape(word))
        drawn = scaled(word, len(self.ids))
        first = int(self.ids[0])
        if int(self.ids[-1]) - first + 1 == len(self.ids):
            return drawn + first
        return tf.gather(self.ids, drawn)


@dataclasses.dataclass(frozen=True, eq=False)
class Replacement:
    """What is shown in the place of a target: [MASK], a random token, or the token itself."""

    mask_id: int
    random_tokens: RandomTokens
    mask_share: float = 0.8
    random_share: float = 0.1

    def shown(
        self, original_BM: "tf.Tensor", kind_bits_BM: "tf.Tensor", token_bits_BM: "tf.Tensor"
    ) -> "tf.Tensor":
        """Int32 [B, M]. The upper half of the kind's bits and the lower half of the token's."""
        tf = tensorflow()
        kind_BM = high(kind_bits_BM)
        random_BM = self.random_tokens.draw(low(token_bits_BM))
        is_mask_BM = kind_BM < round(self.mask_share * WORD_OF_BITS)
        is_changed_BM = kind_BM < round((self.mask_share + self.random_share) * WORD_OF_BITS)
        return tf.where(is_mask_BM, self.mask_id, tf.where(is_changed_BM, random_BM, original_BM))


def replaced(
    features: Features, positions_BM: "tf.Tensor", overflow_B: "tf.Tensor", rule: Replacement
) -> Features:
    """All keys of masked language modelling: each slot is shown by a draw of its own."""
    bits_BM = bits_of(features["seeds"], "replacement", positions_BM.shape[1])
    original_BM = taken_at(features["tokens"], positions_BM)
    shown_BM = rule.shown(original_BM, bits_BM, bits_BM)
    tokens_BL = written(features["tokens"], positions_BM, shown_BM)
    return {"tokens": tokens_BL} | targets_of(features, positions_BM, overflow_B)
