"""The likelihood of whole texts, window by window."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np


def windows(tokens: int, longest: int, stride: int = 0) -> Iterator[tuple[int, int, int]]:
    """Which tokens are predicted together, and from which on: (first read, first scored, end).

    Each token is scored once. The first window scores all it has; those that follow score `stride`
    tokens, and read as many before them as the model has room for: with the longest stride one,
    the others being evaluated without overlap as by most (lm_eval's rolling windows); a shorter one
    overlaps (Megatron-LM's --overlapping-eval). The last one is filled up with context.

    Args:
      tokens: of the text; what stands before its first is told from a begin of its own.
      longest: how many tokens the model reads at once.
      stride: how many are scored at once; 0 for `longest`.
    """
    stride = min(stride or longest, longest)
    end = min(longest, tokens)
    yield 0, 0, end
    while end < tokens:
        first, end = end, min(end + stride, tokens)
        # The last token is predicted and not read.
        yield end - 1 - longest, first, end


@dataclasses.dataclass(frozen=True)
class InOrder:
    """How a masked language model is asked for the likelihood of a text.

    order: left, right or random. draws: random orders of each window. seed: of these.
    window: tokens told together; 0 for as many as the model was trained on.
    """

    order: str
    draws: int = 1
    seed: int = 0
    window: int = 0


def orders(tokens: int, order: str, draws: int, seed: int, window: int) -> list[np.ndarray]:
    """In which orders the tokens of a window are told, one after the other.

    Args:
      tokens: of the window.
      order: left, right or random.
      draws: how many random ones; of the others there is one.
      seed, window: of the draws.
    """
    left = np.arange(tokens)
    if order != "random":
        return [left if order == "left" else left[::-1]]
    random = np.random.default_rng((seed, window))
    return [random.permutation(tokens) for _ in range(draws)]


@dataclasses.dataclass(frozen=True)
class TextLikelihood:
    """The log-likelihood of a text and what it may be divided by.

    words: parts between white space, of the text as it is given. characters: of Chinese, say.
    """

    total: float
    tokens: int
    words: int
    characters: int
    bytes: int

    def __add__(self, other: "TextLikelihood") -> "TextLikelihood":
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return TextLikelihood(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def figures(self) -> dict[str, float]:
        """Perplexities by token, word, character and byte, and bits a byte."""
        counts = {
            "perplexity per token": self.tokens,
            "perplexity per word": self.words,
            "perplexity per character": self.characters,
            "perplexity per byte": self.bytes,
        }
        found = {name: _exp(-self.total / max(n, 1)) for name, n in counts.items()}
        return found | {"bits per byte": -self.total / max(self.bytes, 1) / math.log(2)}


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
