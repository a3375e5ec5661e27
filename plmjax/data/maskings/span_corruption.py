"""T5's span corruption: spans give way to sentinels, and the targets are the spans."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    Spec,
    check_at_least,
    table_of_lengths,
)
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


def encoder_decoder_spec(encoder_length: int, decoder_length: int) -> Spec:
    """What encoder-decoders read."""
    integer, real = np.dtype(np.int32), np.dtype(np.float32)
    return {
        "tokens": ((encoder_length,), integer),
        "attention_mask": ((encoder_length,), integer),
        "decoder_tokens": ((decoder_length,), integer),
        "decoder_targets": ((decoder_length,), integer),
        "decoder_weights": ((decoder_length,), real),
        "overflow": ((), integer),
    }


@dataclasses.dataclass(frozen=True)
class SpanCorruption:
    """T5's (text-to-text-transfer-transformer, `span_corruption`, `random_spans_noise_mask`).

    Of n tokens round(noise_density * n) are noise, in round(noise / mean_noise_span_length) spans.
    Noise and the rest are both split at random into that many segments, none empty, and alternate,
    beginning with text and ending with noise; spans are fewer where there is not that much text
    (high densities). The encoder reads the text with a sentinel for each
    span and </s>; the targets are each span after its sentinel, and </s>. The decoder's first
    token is the padding.

    The layout delivers as many tokens as make `seq_len` for the encoder (568 for 512), bare text:
    what it put between texts would be treated like any token.

    Attributes:
      noise_density: share of the tokens that is noise.
      mean_noise_span_length: tokens of a span.
    """

    noise_density: float = 0.15
    mean_noise_span_length: float = 3.0

    def __post_init__(self):
        if not 0 < self.noise_density < 1:
            raise UserError(
                f"noise_density={self.noise_density} leaves no text or no noise; give a share "
                "between 0 and 1"
            )
        check_at_least("mean_noise_span_length", self.mean_noise_span_length, 1)

    def counts(self, n: int) -> tuple[int, int]:
        """Noise tokens and spans of n tokens."""
        if n < 2:
            return 0, 0
        noise = min(max(round(n * self.noise_density), 1), n - 1)
        spans = max(round(noise / self.mean_noise_span_length), 1)
        return noise, min(spans, noise, n - noise)

    def lengths(self, n: int) -> tuple[int, int]:
        """What n tokens become: tokens of the encoder and of the targets, </s> included."""
        noise, spans = self.counts(n)
        return n - noise + spans + 1, noise + spans + 1

    def input_length(self, seq_len: int) -> int:
        """The most tokens that the encoder has room for."""
        if seq_len < 4:
            raise UserError(f"seq_len={seq_len} is too short for span corruption; give 4 or more")
        n = seq_len - 2
        while self.lengths(n + 1)[0] <= seq_len:
            n += 1
        # As the original: with a density of one half the targets shall not be the longer ones.
        if self.noise_density == 0.5 and self.lengths(n)[1] > seq_len:
            n -= 1
        return n

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        raw = self.input_length(seq_len)
        spans = self.counts(raw)[1]
        if spans > len(vocabulary.sentinel_ids):
            raise UserError(
                f"seq_len={seq_len} makes {spans} spans and the vocabulary has "
                f"{len(vocabulary.sentinel_ids)} sentinels; give a shorter seq_len, longer spans, "
                "or a tokenizer with more <extra_id_...> tokens"
            )
        eos_id = vocabulary.require("eos", "span corruption")
        pad_id = vocabulary.require("pad", "span corruption")
        sentinels_S = np.array(vocabulary.sentinel_ids[:spans], np.int32)
        noise_of = table_of_lengths(lambda n: self.counts(n)[0], raw)
        spans_of = table_of_lengths(lambda n: self.counts(n)[1], raw)
        decoder_length = self.lengths(raw)[1]

        def corrupt(features: Features) -> Features:
            tf = tensorflow()
            seeds_B, tokens_BN = features["seeds"], features["tokens"]
            count_B = tf.reduce_sum(features["attention_mask"], axis=1)
            noise_B, spans_B = tf.gather(noise_of, count_B), tf.gather(spans_of, count_B)
            text_B = count_B - noise_B
            noise_BS = segment_ends(seeds_B, "noise", noise_B, spans_B, spans, noise_of[-1])
            text_BS = segment_ends(seeds_B, "text", text_B, spans_B, spans, raw - 1)

            S = tf.range(spans)
            is_span_BS = spans_B[:, None] > S
            before_BS = tf.pad(noise_BS[:, :-1], [[0, 0], [1, 0]])
            in_encoder_BS = tf.where(is_span_BS, text_BS + S, seq_len)
            in_decoder_BS = tf.where(is_span_BS, before_BS + S, decoder_length)
            encoder = _Woven(in_encoder_BS, tf.pad(noise_BS, [[0, 0], [1, 0]]), sentinels_S, eos_id)
            decoder = _Woven(in_decoder_BS, tf.pad(text_BS, [[0, 0], [1, 0]]), sentinels_S, eos_id)
            end_B = text_B + spans_B
            tokens_BL = encoder.tokens(tokens_BN, end_B, seq_len, pad_id)
            targets_BT = decoder.tokens(tokens_BN, noise_B + spans_B, decoder_length, pad_id)
            first_B1 = tf.fill([tf.shape(tokens_BN)[0], 1], pad_id)
            used_BT = tf.range(decoder_length) <= (noise_B + spans_B)[:, None]
            return {
                "tokens": tokens_BL,
                "attention_mask": tf.cast(tf.range(seq_len) <= end_B[:, None], tf.int32),
                "decoder_tokens": tf.concat([first_B1, targets_BT[:, :-1]], axis=1),
                "decoder_targets": targets_BT,
                "decoder_weights": tf.cast(used_BT, tf.float32),
                "overflow": slots.none_of(tokens_BN),
            }

        return BoundMasking(raw, encoder_decoder_spec(seq_len, decoder_length), corrupt)


def segment_ends(
    seeds_B: "tf.Tensor",
    purpose: str,
    items_B: "tf.Tensor",
    segments_B: "tf.Tensor",
    most_segments: int,
    most_items: int,
) -> "tf.Tensor":
    """Splits `items_B` items into `segments_B` segments, none empty, each way equally likely.

    Returns:
      int32 [B, most_segments]: the end of each segment; those that a row has not are empty.
    """
    tf = tensorflow()
    gaps = max(int(most_items) - 1, 1)
    keys_BG = slots.order_keys(seeds_B, f"segments of {purpose}", gaps)
    keys_BG = tf.where(tf.range(gaps) < items_B[:, None] - 1, keys_BG, -1)
    cuts_BS = slots.picked(keys_BG, segments_B - 1, most_segments)
    ends_BS = tf.where(tf.range(most_segments) < segments_B[:, None] - 1, cuts_BS + 1, gaps + 1)
    return tf.minimum(ends_BS, items_B[:, None])


@dataclasses.dataclass(frozen=True, eq=False)
class _Woven:
    """Tokens between sentinels.

    Attributes:
      places_BS: where the sentinels stand; one past the end where a row has less.
      skipped_BS1: raw tokens left out before the tokens that follow 0, 1, ... sentinels.
      sentinels_S: their ids.
      eos_id: what ends the row.
    """

    places_BS: "tf.Tensor"
    skipped_BS1: "tf.Tensor"
    sentinels_S: np.ndarray
    eos_id: int

    def tokens(
        self, tokens_BN: "tf.Tensor", end_B: "tf.Tensor", length: int, pad_id: int
    ) -> "tf.Tensor":
        """Int32 [B, length], </s> at `end_B` and padding after it."""
        tf = tensorflow()
        batch = tf.shape(tokens_BN)[0]
        place_L = tf.range(length)
        at_BS = self.places_BS + tf.range(batch)[:, None] * (length + 1)
        marks = slots.placed(tf.ones_like(at_BS), at_BS, batch * (length + 1))
        marks_BL = tf.reshape(marks, [batch, length + 1])[:, :length]
        passed_BL = tf.cumsum(marks_BL, axis=1)
        source_BL = place_L - passed_BL + slots.taken_at(self.skipped_BS1, passed_BL)
        raw_BL = slots.taken_at(tokens_BN, source_BL)
        sentinel_BL = tf.gather(self.sentinels_S, tf.maximum(passed_BL - 1, 0))
        woven_BL = tf.where(marks_BL > 0, sentinel_BL, raw_BL)
        woven_BL = tf.where(place_L < end_B[:, None], woven_BL, pad_id)
        return tf.where(place_L == end_B[:, None], self.eos_id, woven_BL)
