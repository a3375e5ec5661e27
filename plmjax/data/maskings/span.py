"""SpanBERT's span masking, with the targets of its span-boundary objective."""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data import counter_random
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    check_at_least,
    check_share,
    mlm_spec,
    slots_for,
    table_of_lengths,
)
from plmjax.data.maskings.ngram import lengths_drawn
from plmjax.data.maskings.units import Units

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class SpanMasking:
    """SpanBERT's masking (facebookresearch/SpanBERT, `PairWithSpanMaskingScheme`).

    Spans are drawn until ceil(mask_rate * tokens of text) tokens are masked: a length of 1 to
    `max_words` words with weights p * (1 - p)**(length - 1), and an anchor, any token that is not
    masked yet; the span goes from the first token of the anchor's word to the end of its last word,
    or of the text, over what is masked already, and is cut where the budget ends. Spans that touch
    are one span. 80% of the spans become [MASK], 10% stay, 10% become tokens drawn from the
    training text, all tokens of a span alike.

    The span-boundary objective predicts the first `max_span_targets` tokens of a span from the
    tokens on both sides of it. It adds, for each of the M slots, `sbo_left`, `sbo_right` (positions
    of those two), `sbo_index` (0 for the first token of the span), int32 [B, M], and `sbo_weights`
    float32 [B, M]: 0 for unused slots, tokens further inside, and spans at an edge of the text.
    Its targets are `masked_targets`.

    Attributes:
      mask_rate: share of the text that is masked.
      max_predictions: slots for targets; 0 for as many as the rate asks for.
      geometric_p: the parameter of the lengths' distribution.
      max_words: the longest length.
      max_span_targets: tokens of a span that the span-boundary objective predicts; 0 leaves its
        keys out, for masked language modelling alone.
    """

    mask_rate: float = 0.15
    max_predictions: int = 0
    geometric_p: float = 0.2
    max_words: int = 10
    max_span_targets: int = 15

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)
        check_share("geometric_p", self.geometric_p, above_zero=True)
        check_at_least("max_words", self.max_words, 1)
        check_at_least("max_span_targets", self.max_span_targets, 0)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        wanted = table_of_lengths(lambda n: math.ceil(n * self.mask_rate), seq_len)
        slots_M = slots_for(self.max_predictions, int(wanted[-1]), seq_len)
        ids = np.arange(vocabulary.vocab_size, dtype=np.int32)
        counts = vocabulary.require_counts("span masking").copy()
        counts[list(vocabulary.special_ids)] = 0
        rule = slots.Replacement(
            vocabulary.require("mask", "span masking"), slots.RandomTokens(ids, counts)
        )

        def mask(features: Features) -> Features:
            return self._masked(features, wanted, slots_M, rule)

        spec = mlm_spec(seq_len, slots_M)
        if not self.max_span_targets:
            return BoundMasking(seq_len, spec, mask)
        integer = ((slots_M,), np.dtype(np.int32))
        spec |= {"sbo_left": integer, "sbo_right": integer, "sbo_index": integer}
        return BoundMasking(seq_len, spec | {"sbo_weights": spec["masked_weights"]}, mask)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of lengths 1, 2, ... words."""
        return tuple((1 - self.geometric_p) ** n for n in range(self.max_words))

    def _masked(
        self, features: Features, wanted: np.ndarray, slots_M: int, rule: slots.Replacement
    ) -> Features:
        tf = tensorflow()
        seeds_B, tokens_BL = features["seeds"], features["tokens"]
        length = tokens_BL.shape[1]
        is_text_BL = slots.is_text(features)
        budget_B = tf.gather(wanted, tf.reduce_sum(tf.cast(is_text_BL, tf.int32), axis=1))
        selected_BL = drawn_spans(features, is_text_BL, budget_B, self.weights)
        positions_BM, overflow_B = slots.compacted(selected_BL, slots_M)

        is_used_BM = positions_BM < length
        joins_BM = tf.pad(positions_BM[:, 1:] == positions_BM[:, :-1] + 1, [[0, 0], [1, 0]])
        is_first_BM = is_used_BM & ~joins_BM
        span_BM = tf.maximum(tf.cumsum(tf.cast(is_first_BM, tf.int32), axis=1) - 1, 0)
        kind_BM = slots.taken_at(slots.bits_of(seeds_B, "replacement of spans", slots_M), span_BM)
        token_BM = slots.bits_of(seeds_B, "replacement", slots_M)
        shown_BM = rule.shown(slots.taken_at(tokens_BL, positions_BM), kind_BM, token_BM)
        masked = slots.targets_of(features, positions_BM, overflow_B)
        masked["tokens"] = slots.written(tokens_BL, positions_BM, shown_BM)
        if not self.max_span_targets:
            return masked
        return masked | self._boundaries(is_text_BL, positions_BM)

    def _boundaries(self, is_text_BL: "tf.Tensor", positions_BM: "tf.Tensor") -> Features:
        """The keys of the span-boundary objective."""
        tf = tensorflow()
        length = is_text_BL.shape[1]
        left_BM, right_BM = _sides(positions_BM, length)
        index_BM = positions_BM - left_BM - 1
        is_inside_BM = (left_BM >= 0) & (right_BM < length) & (positions_BM < length)
        is_inside_BM &= slots.taken_at(is_text_BL, left_BM) & slots.taken_at(is_text_BL, right_BM)
        is_target_BM = is_inside_BM & (index_BM < self.max_span_targets)
        return {
            "sbo_left": tf.where(is_target_BM, left_BM, 0),
            "sbo_right": tf.where(is_target_BM, right_BM, 0),
            "sbo_index": tf.where(is_target_BM, index_BM, 0),
            "sbo_weights": tf.cast(is_target_BM, tf.float32),
        }


def _sides(positions_BM: "tf.Tensor", length: int) -> tuple["tf.Tensor", "tf.Tensor"]:
    """The positions left and right of the run of consecutive positions that each slot is in."""
    tf = tensorflow()
    slot_M = tf.range(tf.shape(positions_BM)[1])
    # A position less its slot is the same number throughout a run, and larger in the next one.
    run_BM = tf.where(positions_BM < length, positions_BM - slot_M, length)
    first_BM = tf.searchsorted(run_BM, run_BM, side="left")
    after_BM = tf.searchsorted(run_BM, run_BM, side="right")
    return run_BM + first_BM - 1, run_BM + after_BM


def drawn_spans(
    features: Features, is_text_BL: "tf.Tensor", budget_B: "tf.Tensor", weights: tuple[float, ...]
) -> "tf.Tensor":
    """Bool [B, L]: the tokens of random spans, exactly `budget_B` of each row."""
    tf = tensorflow()
    batch, length = tf.shape(is_text_BL)[0], is_text_BL.shape[1]
    row_B = tf.range(batch) * length
    words = Units.of(features)
    word_BL = tf.cumsum(tf.cast(words.is_start_BL, tf.int32), axis=1) - 1
    ends_BW = words.starts_BW + words.lengths_BW
    interruption_BL, _ = slots.compacted(~is_text_BL, length)
    before_BL = tf.cumsum(tf.cast(~is_text_BL, tf.int32), axis=1)
    bound_B = tf.reduce_max(tf.where(is_text_BL, tf.range(1, length + 1), 0), axis=1)
    is_text = tf.reshape(is_text_BL, [-1])
    keys_B = counter_random.fold(features["seeds"], counter_random.key_of("masked spans"))

    def draw(step: "tf.Tensor", left_B: "tf.Tensor", taken: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        bits_B = counter_random.fold(keys_B, step)
        anchor_B = slots.scaled(slots.high(bits_B), bound_B)
        words_B = lengths_drawn(slots.low(bits_B), weights)
        at_B = row_B + anchor_B
        is_good_B = tf.gather(is_text, at_B) & (tf.gather(taken, at_B) == 0) & (left_B > 0)
        word_B = slots.taken_at(word_BL, anchor_B[:, None])[:, 0]
        begin_B = slots.taken_at(words.starts_BW, word_B[:, None])[:, 0]
        end_B = slots.taken_at(ends_BW, (word_B + words_B - 1)[:, None])[:, 0]
        stop_B1 = slots.taken_at(before_BL, anchor_B[:, None])
        end_B = tf.minimum(end_B, slots.taken_at(interruption_BL, stop_B1)[:, 0])
        end_B = tf.where(is_good_B, end_B, begin_B)

        place_BS = begin_B[:, None] + tf.range(tf.reduce_max(end_B - begin_B))
        at_BS = row_B[:, None] + tf.minimum(place_BS, length - 1)
        is_free_BS = (place_BS < end_B[:, None]) & (tf.gather(taken, at_BS) == 0)
        is_free_BS &= tf.cumsum(tf.cast(is_free_BS, tf.int32), axis=1) <= left_B[:, None]
        new_BS = tf.cast(is_free_BS, tf.int32)
        taken = tf.tensor_scatter_nd_max(
            taken, tf.reshape(at_BS, [-1, 1]), tf.reshape(new_BS, [-1])
        )
        return step + np.uint64(1), left_B - tf.reduce_sum(new_BS, axis=1), taken

    start = (tf.constant(0, tf.uint64), budget_B, tf.zeros([batch * length], tf.int32))
    shapes = (tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([None]))
    *_, taken = tf.while_loop(
        lambda step, left_B, taken: tf.reduce_any(left_B > 0), draw, start, shape_invariants=shapes
    )
    return tf.reshape(taken, [batch, length]) > 0
