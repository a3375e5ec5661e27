"""Encodes each word once: text has few different words, and tokenizers look at one at a time."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

_KEPT_CHARACTERS = 2_000_000  # of all words that are remembered, some 50 MB


class WordCache:
    """Encodes texts by their words, for a tokenizer to which a text is its words one by one.

    What is remembered is bounded, and changes no id.
    """

    def __init__(
        self,
        cut: Callable[[str], list[str]],
        encode: Callable[[list[str]], Sequence[Sequence[int]]],
    ):
        """Sets up an empty cache.

        Args:
          cut: gives words of a text whose ids, one word after the other, are the text's.
          encode: gives the ids of each of some words.
        """
        self._cut = cut
        self._encode = encode
        self._ids: dict[str, Sequence[int]] = {}
        self._characters = 0

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text: int32 arrays [length of the text]."""
        words_of_texts = [self._cut(text) for text in texts]
        words = list(itertools.chain.from_iterable(words_of_texts))
        ids = self._with(words)
        found = [ids[word] for word in words]
        counts = np.fromiter(map(len, found), np.int64, len(found))
        flat = np.fromiter(itertools.chain.from_iterable(found), np.int32, int(counts.sum()))
        # Of the tokens before each word, those before each text's first and after its last.
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        ends = before[np.cumsum([len(some) for some in words_of_texts], dtype=np.int64)].tolist()
        return [flat[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def _with(self, words: list[str]) -> dict[str, Sequence[int]]:
        """The ids of these words, and of any others."""
        ids = self._ids
        new = list(set(words).difference(ids))
        if new:
            if self._characters > _KEPT_CHARACTERS:
                # Another dictionary, so that a thread that reads the old one can go on.
                ids, self._characters = {}, 0
                new = list(set(words))
                self._ids = ids
            ids.update(zip(new, self._encode(new), strict=True))
            self._characters += sum(map(len, new))
        return ids
