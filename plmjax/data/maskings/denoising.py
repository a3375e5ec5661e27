"""BART's noises: sentence permutation, text infilling, deletion, insertion and rotation."""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data.flags import SENTENCE, WORD
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    check_at_least,
    check_share,
    table_of_lengths,
)
from plmjax.data.maskings.infilling import Infilling
from plmjax.data.maskings.span_corruption import encoder_decoder_spec
from plmjax.data.maskings.units import Units

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Denoising:
    """BART's noises (fairseq, `DenoisingDataset`), in its order; each rate may be 0.

    1. Of a sequence's n sentences ceil(n * permute_sentences) are permuted among each other.
    2. Infilling: spans of Poisson(poisson_mean) words, each beginning at a random word, until
       ceil(mask_rate * words) words are covered, the last span cut to that. A span becomes one
       <mask>, or, with `random_share`, a random token; empty spans are inserted between tokens.
    3. ceil(delete_rate * tokens) random tokens are deleted (of the paper; fairseq has none).
    4. ceil(insert_rate * tokens) tokens are inserted at random places: `random_share` of them
       random, the others <mask>.
    5. With probability `rotate_probability` the text is rotated to begin at a random token.

    The first and the last token, <s> and </s>, keep their places, so a sequence has to be <s> text
    </s>, or [CLS] text [SEP] where the vocabulary has these. Sentences and words begin where the
    flags say. The decoder reads the text behind </s> and its targets are the text. Should
    insertions make the encoder's sequence too long, its end is cut off and counted as overflow.

    Attributes:
      mask_rate: share of the words that infilling covers.
      poisson_mean: words of a span on average.
      permute_sentences: share of the sentences that is permuted.
      random_share: how often a random token is shown in place of <mask>.
      delete_rate, insert_rate: shares of the tokens.
      rotate_probability: how often a sequence is rotated.
    """

    mask_rate: float = 0.3
    poisson_mean: float = 3.0
    permute_sentences: float = 1.0
    random_share: float = 0.1
    delete_rate: float = 0.0
    insert_rate: float = 0.0
    rotate_probability: float = 0.0

    def __post_init__(self):
        for name in ("mask_rate", "permute_sentences", "random_share", "delete_rate"):
            check_share(name, getattr(self, name))
        check_share("insert_rate", self.insert_rate)
        check_share("rotate_probability", self.rotate_probability)
        check_at_least("poisson_mean", self.poisson_mean, 0.5)

    def input_length(self, seq_len: int) -> int:
        """The most tokens that fit into `seq_len` with those that `insert_rate` inserts."""
        n = seq_len
        while n > 1 and n + math.ceil(n * self.insert_rate) > seq_len:
            n -= 1
        return n

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        raw = self.input_length(seq_len)
        mask_id = vocabulary.require("mask", "denoising")
        pad_id = vocabulary.require("pad", "denoising")
        has_eos = vocabulary.eos_id is not None
        eos_id = vocabulary.require("eos" if has_eos else "sep", "denoising")
        random_tokens = slots.RandomTokens(np.arange(1, vocabulary.vocab_size, dtype=np.int32))
        infilling = Infilling(self.mask_rate, self.poisson_mean, raw)

        def noise(features: Features) -> Features:
            tf = tensorflow()
            seeds_B, tokens_BN = features["seeds"], features["tokens"]
            is_token_BN = features["attention_mask"] > 0
            body = _body(features)
            is_word_BN = body & (tf.bitwise.bitwise_and(features["flags"], np.uint8(WORD)) > 0)
            shown_BN = tokens_BN
            if self.permute_sentences > 0:
                order_BN = self._sentence_order(features, body)
                shown_BN = slots.taken_at(tokens_BN, order_BN)
                is_word_BN = slots.taken_at(is_word_BN, order_BN)
            gone_BN = tf.zeros_like(body)
            inserted_B = slots.none_of(tokens_BN)
            if self.mask_rate > 0:
                state_BN, inserted_B = infilling.marks(seeds_B, body, is_word_BN)
                gone_BN = state_BN == infilling.DELETED
                bits_BN = slots.bits_of(seeds_B, "shown in spans", raw)
                is_random_BN = slots.high(bits_BN) < round(self.random_share * slots.WORD_OF_BITS)
                random_BN = random_tokens.draw(slots.low(bits_BN))
                span_BN = tf.where(is_random_BN, random_BN, mask_id)
                shown_BN = tf.where(state_BN == infilling.MASKED, span_BN, shown_BN)
            if self.delete_rate > 0:
                gone_BN |= self._deleted(seeds_B, body & ~gone_BN)
            kept_BN, count_B = _closed_up(shown_BN, is_token_BN & ~gone_BN, pad_id)
            tokens_BL, length_B = self._inserted(
                seeds_B,
                raw + infilling.draws,
                kept_BN,
                count_B,
                inserted_B,
                seq_len,
                (mask_id, random_tokens),
            )
            if self.rotate_probability > 0:
                tokens_BL = self._rotated(seeds_B, tokens_BL, tf.minimum(length_B, seq_len))
            is_used_BL = tf.range(seq_len) < length_B[:, None]
            first_B1 = tf.fill([tf.shape(tokens_BN)[0], 1], eos_id)
            return {
                "tokens": tf.where(is_used_BL, tokens_BL, pad_id),
                "attention_mask": tf.cast(is_used_BL, tf.int32),
                "decoder_tokens": tf.concat([first_B1, tokens_BN[:, :-1]], axis=1),
                "decoder_targets": tokens_BN,
                "decoder_weights": tf.cast(is_token_BN, tf.float32),
                "overflow": tf.maximum(length_B - seq_len, 0),
            }

        return BoundMasking(raw, encoder_decoder_spec(seq_len, raw), noise)

    def _sentence_order(self, features: Features, body_BN: "tf.Tensor") -> "tf.Tensor":
        """Int32 [B, N]: where each token comes from when the sentences are permuted."""
        tf = tensorflow()
        batch, width = tf.shape(body_BN)[0], body_BN.shape[1]
        follows_BN = tf.pad(body_BN[:, :-1], [[0, 0], [1, 0]])
        has_bit_BN = tf.bitwise.bitwise_and(features["flags"], np.uint8(SENTENCE)) > 0
        sentences = Units.from_starts(body_BN & (has_bit_BN | ~follows_BN), body_BN)
        S = sentences.width
        table = table_of_lengths(lambda n: math.ceil(n * self.permute_sentences), width)
        permuted_B1 = tf.gather(table, sentences.count_B)[:, None]
        keys_BS = slots.order_keys(features["seeds"], "permuted sentences", S)
        keys_BS = tf.where(sentences.exists_BW, keys_BS, -1)
        # The drawn sentences in random order go to the places of the same sentences in order.
        drawn_BS = tf.math.top_k(keys_BS, S)[1]
        is_drawn_BS = tf.range(S) < permuted_B1
        places_BS = slots.ascending(tf.where(is_drawn_BS, drawn_BS, S))
        at_BS = places_BS + tf.range(batch)[:, None] * (S + 1)
        stays = tf.reshape(tf.repeat(tf.range(S + 1)[None], batch, axis=0), [-1])
        order = tf.tensor_scatter_nd_update(
            stays, tf.reshape(at_BS, [-1, 1]), tf.reshape(tf.where(is_drawn_BS, drawn_BS, S), [-1])
        )
        order_BS = tf.reshape(order, [batch, S + 1])[:, :-1]

        lengths_BS = slots.taken_at(sentences.lengths_BW, order_BS)
        first_B1 = sentences.starts_BW[:, :1]
        begins_BS = tf.where(
            sentences.exists_BW, first_B1 + tf.cumsum(lengths_BS, axis=1, exclusive=True), width
        )
        marks_BN = marked(begins_BS, tf.ones_like(begins_BS), width)
        now_BN = tf.cumsum(marks_BN, axis=1) - 1
        shift_BS = slots.taken_at(sentences.starts_BW, order_BS) - begins_BS
        place_N = tf.range(width)
        return tf.where(body_BN, place_N + slots.taken_at(shift_BS, now_BN), place_N)

    def _deleted(self, seeds_B: "tf.Tensor", candidates_BN: "tf.Tensor") -> "tf.Tensor":
        tf = tensorflow()
        width = candidates_BN.shape[1]
        table = table_of_lengths(lambda n: math.ceil(n * self.delete_rate), width)
        wanted_B = tf.gather(table, tf.reduce_sum(tf.cast(candidates_BN, tf.int32), axis=1))
        keys_BN = tf.where(candidates_BN, slots.order_keys(seeds_B, "deleted", width), -1)
        positions_BM = slots.picked(keys_BN, wanted_B, max(1, int(table[-1])))
        return marked(positions_BM, tf.ones_like(positions_BM), width) > 0

    def _inserted(
        self,
        seeds_B: "tf.Tensor",
        longest: int,
        kept_BN: "tf.Tensor",
        count_B: "tf.Tensor",
        empty_B: "tf.Tensor",
        seq_len: int,
        tokens: tuple[int, slots.RandomTokens],
    ) -> tuple["tf.Tensor", "tf.Tensor"]:
        """Inserts for empty spans and for `insert_rate`: tokens [B, L] and lengths, uncut."""
        tf = tensorflow()
        rate = table_of_lengths(lambda n: math.ceil(n * self.insert_rate), longest)
        random = table_of_lengths(lambda n: math.ceil(n * self.random_share), longest)
        more_B = tf.where(count_B > 2, tf.gather(rate, count_B + empty_B), 0)
        empty_B = tf.where(count_B > 1, empty_B, 0)
        new_B = empty_B + more_B
        length_B = count_B + new_B
        width = tf.maximum(tf.reduce_max(length_B), seq_len)
        keys_BW = slots.order_keys(seeds_B, "inserted", width)
        place_W = tf.range(width)
        is_inside_BW = (place_W > 0) & (place_W < length_B[:, None] - 1)
        chosen_BK = tf.math.top_k(tf.where(is_inside_BW, keys_BW, -1), tf.reduce_max(new_B))[1]
        rank_K = tf.range(tf.shape(chosen_BK)[1])
        random_B = tf.gather(random, empty_B) + tf.gather(random, more_B)
        kind_BK = tf.where(rank_K < random_B[:, None], 2, 1)
        chosen_BK = tf.where(rank_K < new_B[:, None], chosen_BK, seq_len)
        marks_BL = marked(tf.minimum(chosen_BK, seq_len), kind_BK, seq_len)
        is_new_BL = marks_BL > 0
        passed_BL = tf.cumsum(tf.cast(is_new_BL, tf.int32), axis=1)
        old_BL = slots.taken_at(kept_BN, tf.range(seq_len) - passed_BL)
        mask_id, random_tokens = tokens
        word_BL = slots.low(slots.bits_of(seeds_B, "inserted tokens", seq_len))
        new_BL = tf.where(marks_BL == 2, random_tokens.draw(word_BL), mask_id)
        return tf.where(is_new_BL, new_BL, old_BL), length_B

    def _rotated(
        self, seeds_B: "tf.Tensor", tokens_BL: "tf.Tensor", length_B: "tf.Tensor"
    ) -> "tf.Tensor":
        tf = tensorflow()
        bits_B = slots.bits_of(seeds_B, "rotation", 1)[:, 0]
        is_rotated_B = slots.high(bits_B) < round(self.rotate_probability * slots.WORD_OF_BITS)
        body_B = tf.maximum(length_B - 2, 1)
        offset_B = tf.where(is_rotated_B, slots.scaled(slots.low(bits_B), length_B - 1), 0)
        place_L = tf.range(tokens_BL.shape[1])
        turned_BL = 1 + (place_L - 1 + offset_B[:, None]) % body_B[:, None]
        is_body_BL = (place_L > 0) & (place_L < length_B[:, None] - 1)
        return slots.taken_at(tokens_BL, tf.where(is_body_BL, turned_BL, place_L))


def marked(places_BN: "tf.Tensor", values_BN: "tf.Tensor", width: int) -> "tf.Tensor":
    """Int32 [B, width], the sum of the values at their places; places of `width` are left out."""
    tf = tensorflow()
    batch = tf.shape(places_BN)[0]
    flat_BN = places_BN + tf.range(batch)[:, None] * (width + 1)
    flat = slots.placed(values_BN, flat_BN, batch * (width + 1))
    return tf.reshape(flat, [batch, width + 1])[:, :-1]


def _body(features: Features) -> "tf.Tensor":
    """Bool [B, N]: everything from the first token of text to the last one."""
    tf = tensorflow()
    is_text_BN = slots.is_text(features)
    place_N = tf.range(is_text_BN.shape[1])
    first_B1 = tf.reduce_min(tf.where(is_text_BN, place_N, 1 << 20), axis=1, keepdims=True)
    last_B1 = tf.reduce_max(tf.where(is_text_BN, place_N, -1), axis=1, keepdims=True)
    return (place_N >= first_B1) & (place_N <= last_B1)


def _closed_up(
    tokens_BN: "tf.Tensor", is_kept_BN: "tf.Tensor", pad_id: int
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """The kept tokens without gaps, and their number in each row."""
    tf = tensorflow()
    width = tokens_BN.shape[1]
    positions_BN, _ = slots.compacted(is_kept_BN, width)
    closed_BN = tf.where(positions_BN < width, slots.taken_at(tokens_BN, positions_BN), pad_id)
    return closed_BN, tf.reduce_sum(tf.cast(is_kept_BN, tf.int32), axis=1)
