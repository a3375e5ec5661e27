"""MacBERT's masking: words give way to similar words, and [MASK] is never shown."""

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
    check_shares_left,
    mlm_spec,
    slots_for,
    table_of_lengths,
)
from plmjax.data.maskings.ngram import check_weights, picked_ngrams
from plmjax.data.maskings.similar_words import MOST_TOKENS, SimilarWords, piece_hash
from plmjax.data.maskings.token import budgets
from plmjax.data.maskings.units import Units
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class SimilarWordMasking:
    """MacBERT's masking ("MLM as correction"; Cui et al. 2020), by n-grams of whole words.

    N-grams are picked as `ngram.NgramMasking` does, n = 1 to 4 with 40, 30, 20 and 10%, until
    floor(mask_rate * length) tokens are used up (one at least). Each word of them by itself is
    shown as its similar word (80%), a random word (10%) or itself (10%). A random word is any of
    the table's with as many tokens, or random tokens of text where the word is longer than those.

    Words without a similar one become random words, and random words are 10% of the picked tokens
    in all: these words come first, and the others become random as often as is left of the 10%. So
    80, 10 and 10% hold over each example while the table knows 8 of 9 tokens; of words that it does
    not know beyond that, some stay as they are. The paper says as much of the shares, and leaves
    open what happens where a similar word has another number of tokens: the table has similar words
    of the same number only (`similar_words.SimilarWords`).

    Attributes:
      words: path of the table, which `python -m plmjax.similar_words` makes; empty for the
        corpus's own, which is made of its text before the first step, where none is there yet.
      mask_rate: share of the tokens that is picked.
      max_predictions: most targets of an example; 0 for as many as the rate asks for.
      weights: of n = 1, 2, ... words; they need not sum to 1.
      similar_share, random_share: how much of the picked text is shown as similar and as random
        words; with a random_share of 0, words without a similar one stay as they are.
    """

    words: str = ""
    mask_rate: float = 0.15
    max_predictions: int = 0
    weights: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    similar_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self):
        check_share("mask_rate", self.mask_rate)
        check_share("similar_share", self.similar_share)
        check_share("random_share", self.random_share)
        check_shares_left("similar_share+random_share", self.similar_share, self.random_share)
        check_weights(self.weights)

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        path = self.words or vocabulary.similar_words
        table = SimilarWords.load(path) if path else SimilarWords.stand_in(vocabulary.vocab_size)
        if table.vocab_size != vocabulary.vocab_size:
            raise UserError(
                f"words={path} was made for {table.vocab_size} tokens and the vocabulary has "
                f"{vocabulary.vocab_size}; make the table with this tokenizer"
            )
        slots_M = slots_for(self.max_predictions, max(1, int(self.mask_rate * seq_len)), seq_len)
        wanted = table_of_lengths(lambda n: min(slots_M, max(1, int(n * self.mask_rate))), seq_len)
        text = slots.RandomTokens(vocabulary.text_ids)
        lookup = _Lookup(table, text)

        def mask(features: Features) -> Features:
            tf = tensorflow()
            seeds_B, tokens_BL = features["seeds"], features["tokens"]
            words = Units.of(features)
            is_taken_BW = picked_ngrams(words, seeds_B, budgets(features, wanted), self.weights)
            positions_BM, overflow_B = slots.compacted(words.tokens_of(is_taken_BW), slots_M)
            is_first_BM = slots.taken_at(words.is_start_BL, positions_BM)
            is_first_BM &= positions_BM < seq_len
            original_BM = slots.taken_at(tokens_BL, positions_BM)
            pieces = _Pieces.of(original_BM, is_first_BM, positions_BM < seq_len)

            # A word draws by the slot of its first token; that slot's bits are all its own.
            bits_BM = slots.bits_of(seeds_B, "replacement of words", slots_M)
            kind_BM = slots.taken_at(slots.high(bits_BM), pieces.first_BM)
            similar_BM, is_known_BM = lookup.similar(original_BM, pieces)
            random_BM = lookup.random(slots.low(bits_BM), pieces)
            similar_share_BM, changed_share_BM = self._shares(is_known_BM, positions_BM < seq_len)
            kind_BM = tf.cast(kind_BM, tf.float64) / slots.WORD_OF_BITS
            shown_BM = tf.where(kind_BM < similar_share_BM, similar_BM, random_BM)
            shown_BM = tf.where(kind_BM < changed_share_BM, shown_BM, original_BM)
            masked = slots.targets_of(features, positions_BM, overflow_B)
            return masked | {"tokens": slots.written(tokens_BL, positions_BM, shown_BM)}

        return BoundMasking(seq_len, mlm_spec(seq_len, slots_M), mask, shows_mask=False)

    def _shares(
        self, is_known_BM: "tf.Tensor", is_used_BM: "tf.Tensor"
    ) -> tuple["tf.Tensor", "tf.Tensor"]:
        """Of each slot's word, float64 [B, M]: how often similar; how often similar or random."""
        tf = tensorflow()
        changed = tf.constant(self.similar_share + self.random_share, tf.float64)
        count_B1, unknown_B1 = (
            tf.reduce_sum(tf.cast(slots_BM, tf.float64), axis=1, keepdims=True)
            for slots_BM in (is_used_BM, is_used_BM & ~is_known_BM)
        )
        random_B1 = self.random_share * count_B1
        unknown_share_B1 = tf.minimum(changed, random_B1 / tf.maximum(unknown_B1, 1))
        left_B1 = tf.maximum(random_B1 - changed * unknown_B1, 0)
        known_share_B1 = left_B1 / tf.maximum(count_B1 - unknown_B1, 1)
        similar_BM = tf.where(is_known_BM, changed - known_share_B1, 0)
        return similar_BM, tf.where(is_known_BM, changed, unknown_share_B1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Pieces:
    """Slots as pieces of words, which are whole and fill neighbouring slots.

    Attributes:
      first_BM: int32, the slot of the word's first token.
      index_BM: int32, which token of the word.
      length_BM: int32, tokens of the word.
      hash_BM: int64, of the word.
    """

    first_BM: "tf.Tensor"
    index_BM: "tf.Tensor"
    length_BM: "tf.Tensor"
    hash_BM: "tf.Tensor"

    @classmethod
    def of(
        cls, tokens_BM: "tf.Tensor", is_first_BM: "tf.Tensor", is_used_BM: "tf.Tensor"
    ) -> "_Pieces":
        tf = tensorflow()
        slot_M = tf.range(tf.shape(tokens_BM)[1])
        word_BM = tf.cumsum(tf.cast(is_first_BM, tf.int32), axis=1)
        word_BM = tf.where(is_used_BM, word_BM, 1 << 20)
        first_BM = tf.searchsorted(word_BM, word_BM, side="left")
        after_BM = tf.searchsorted(word_BM, word_BM, side="right")
        index_BM = slot_M - first_BM
        hashes_BM = piece_hash(tf.cast(tokens_BM, tf.uint64), tf.cast(index_BM, tf.uint64))
        sums_BM = tf.cumsum(tf.bitcast(hashes_BM, tf.int64), axis=1)  # wraps around, as it should
        before_BM = slots.taken_at(tf.pad(sums_BM, [[0, 0], [1, 0]])[:, :-1], first_BM)
        hash_BM = slots.taken_at(sums_BM, after_BM - 1) - before_BM
        return cls(first_BM, index_BM, after_BM - first_BM, hash_BM)


class _Lookup:
    """Similar and random words for pieces."""

    def __init__(self, table: SimilarWords, text: slots.RandomTokens):
        self._table = table
        self._text = text
        lengths_K = (table.words_KT >= 0).sum(axis=1)
        self._by_length = np.argsort(lengths_K, kind="stable").astype(np.int32)
        counts = np.bincount(lengths_K, minlength=MOST_TOKENS + 2)
        self._counts = counts.astype(np.int64)
        self._starts = (np.cumsum(counts) - counts).astype(np.int32)

    def similar(self, tokens_BM: "tf.Tensor", pieces: _Pieces) -> tuple["tf.Tensor", "tf.Tensor"]:
        """The piece of the similar word, and whether the table has the word."""
        tf = tensorflow()
        table = self._table
        flat = tf.searchsorted(table.hashes_K, tf.reshape(pieces.hash_BM, [-1]))
        row_BM = tf.reshape(tf.minimum(flat, len(table.hashes_K) - 1), tf.shape(tokens_BM))
        at_BM = row_BM * MOST_TOKENS + tf.minimum(pieces.index_BM, MOST_TOKENS - 1)
        # Hashes may collide: every token of the word has to be the table's, and none may be left.
        is_same_BM = tf.gather(table.words_KT.reshape(-1), at_BM) == tokens_BM
        same_BM = tf.cumsum(tf.cast(is_same_BM, tf.int32), axis=1)
        before_BM = slots.taken_at(tf.pad(same_BM, [[0, 0], [1, 0]])[:, :-1], pieces.first_BM)
        last_BM = pieces.first_BM + pieces.length_BM - 1
        lengths_K = (table.words_KT >= 0).sum(axis=1).astype(np.int32)
        is_known_BM = slots.taken_at(same_BM, last_BM) - before_BM == pieces.length_BM
        is_known_BM &= tf.gather(lengths_K, row_BM) == pieces.length_BM
        return tf.gather(table.similar_KT.reshape(-1), at_BM), is_known_BM

    def random(self, word_BM: "tf.Tensor", pieces: _Pieces) -> "tf.Tensor":
        """The piece of a random word of as many tokens; `word_BM` are random bits of the slots."""
        tf = tensorflow()
        length_BM = tf.minimum(pieces.length_BM, MOST_TOKENS + 1)
        counts_BM = tf.gather(self._counts, length_BM)
        drawn_BM = slots.scaled(slots.taken_at(word_BM, pieces.first_BM), counts_BM)
        place_BM = tf.gather(self._starts, length_BM) + drawn_BM
        row_BM = tf.gather(self._by_length, tf.minimum(place_BM, len(self._by_length) - 1))
        at_BM = row_BM * MOST_TOKENS + tf.minimum(pieces.index_BM, MOST_TOKENS - 1)
        piece_BM = tf.gather(self._table.words_KT.reshape(-1), at_BM)
        return tf.where(counts_BM > 0, piece_BM, self._text.draw(word_BM))
