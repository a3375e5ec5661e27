"""Sentences with a word left out, and what a model puts there."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

MIN_TOKENS, MAX_TOKENS = 8, 24
MIN_LETTERS = 3


class Split(Protocol):
    """Sentences of a token store: sentence i has tokens offsets[i] to offsets[i + 1]."""

    sentence_offsets: np.ndarray

    def read(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The tokens of ranges, one after the other."""


@dataclasses.dataclass(frozen=True)
class Blank:
    """A sentence with a word left out.

    tokens: int ids, with the frame's special tokens. position: of the missing word. sentence: where
    the tokens of text are. language: its number, for models that are told.
    """

    tokens: np.ndarray
    position: int
    sentence: slice
    language: int = 0

    @property
    def answer(self) -> int:
        """The id of the word that stood there."""
        return int(self.tokens[self.position])


def pick_blanks(
    split: Split,
    tokenizer: Any,
    count: int,
    seed: int,
    frame: tuple[tuple[int, ...], tuple[int, ...]],
    language: int = 0,
) -> list[Blank]:
    """Sentences from all over the split, each with one whole word to guess.

    Sentences have 8 to 24 tokens; the word is one token of at least three letters, or a Chinese
    character. The same seed picks the same. There may be fewer than `count` in a small split.
    `frame`: the special ids before and after a sentence. `language`: the number of the split's.
    """
    random = np.random.default_rng(seed)
    lengths = np.diff(split.sentence_offsets)
    fitting = np.flatnonzero((lengths >= MIN_TOKENS) & (lengths <= MAX_TOKENS))
    word = np.array([_is_word(token) for token in tokenizer.vocabulary])
    blanks: list[Blank] = []
    for sentence in random.permutation(fitting):
        start = split.sentence_offsets[sentence]
        ids = split.read(np.array([start]), np.array([lengths[sentence]])).astype(np.int32)
        ends = np.append(tokenizer.word_starts[ids[1:]], True)
        whole = np.flatnonzero(word[ids] & ends)
        # A sentence that is mostly names and signs shows nothing.
        if len(whole) < len(ids) // 2:
            continue
        tokens = np.concatenate([frame[0], ids, frame[1]]).astype(np.int32)
        begin = len(frame[0])
        sentence_at = slice(begin, begin + len(ids))
        position = int(random.choice(whole)) + begin
        blanks.append(Blank(tokens, position, sentence_at, language))
        if len(blanks) == count:
            break
    return blanks


def _is_word(token: str) -> bool:
    letters = token.lstrip("\u2581\u0120")  # the marks of SentencePiece and byte-level BPE
    return letters.isalpha() and (len(letters) >= MIN_LETTERS or "\u4e00" <= letters[0] <= "\u9fff")


def fill_blanks(
    blanks: list[Blank],
    tokenizer: Any,
    spec: Mapping[str, tuple[tuple[int, ...], Any]],
    masked_logits: Callable[[Mapping[str, np.ndarray]], jax.Array],
    top: int = 5,
) -> list[dict[str, Any]]:
    """What the model puts in the blanks.

    Args:
      blanks: as many as fit a batch are used.
      tokenizer: with the special ids and the vocabulary.
      spec: shape and dtype of each array of a batch.
      masked_logits: from a host batch to float [B, M, V], the blank in slot 0.
      top: how many words to return.

    Returns:
      For each blank `text` with `____` in it, `answer`, and `guesses`, the most likely words with
      their probabilities.
    """
    batch = {key: np.zeros(shape, dtype) for key, (shape, dtype) in spec.items()}
    batch["tokens"][:] = tokenizer.pad_id
    rows, length = batch["tokens"].shape
    blanks = [blank for blank in blanks if len(blank.tokens) <= length][:rows]
    for row, blank in enumerate(blanks):
        size = len(blank.tokens)
        batch["tokens"][row, :size] = blank.tokens
        batch["tokens"][row, blank.position] = tokenizer.mask_id
        batch["attention_mask"][row, :size] = 1
        batch["masked_positions"][row, 0] = blank.position
        if "segment_ids" in batch:
            batch["segment_ids"][row, :size] = 1
        if "positions" in batch:
            batch["positions"][row, :size] = np.arange(size)
        if "languages" in batch:
            batch["languages"][row] = blank.language
    logits_BV = np.asarray(jax.device_get(masked_logits(batch)))[:, 0, : tokenizer.vocab_size]
    filled = []
    for row, blank in enumerate(blanks):
        probabilities_V = np.exp(logits_BV[row] - logits_BV[row].max())
        probabilities_V /= probabilities_V.sum()
        best = np.argsort(-probabilities_V)[:top]
        before = tokenizer.decode(blank.tokens[blank.sentence.start : blank.position])
        after = tokenizer.decode(blank.tokens[blank.position + 1 : blank.sentence.stop])
        filled.append(
            {
                "text": f"{before} ____ {after}".strip(),
                "answer": tokenizer.vocabulary[blank.answer],
                "guesses": [[tokenizer.vocabulary[i], float(probabilities_V[i])] for i in best],
            }
        )
    return filled
