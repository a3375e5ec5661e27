"""What the host sees of texts while they are decoded."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from plmjax.decoding.beams import Search
from plmjax.decoding.loop import Texts

Stop = Callable[[list[int]], int | None]
"""From the new tokens of a text to how many of them to keep if it ends there; None if it does not.
It is asked every few tokens."""

OnTokens = Callable[[int, int, list[int]], None]
"""Takes the number of a prompt, that of its sample, and the tokens that follow those before."""


@dataclasses.dataclass(frozen=True)
class Continuation:
    """What follows a prompt.

    tokens: without the one that ended it.
    logprobs: of each token, and of the one that ended it, if one did; None where not asked for.
    score: of a beam search, see `length_penalty` of `DecodingConfig`; else the sum of `logprobs`,
      None without.
    finished: whether it ended by itself or by `stop`, and not by max_new_tokens.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None
    score: float | None = None
    finished: bool = False


class Watched:
    """The texts of a batch on the host.

    Args:
      indexes: the prompts of the batch. copies: texts of each.
      ends: tokens that end a text.
    """

    def __init__(self, indexes: Sequence[int], copies: int, ends: Sequence[int]):
        self.names = [(index, copy) for index in indexes for copy in range(copies)]
        self.ends = np.asarray(ends, np.int32)
        self.tokens: list[list[int]] = [[] for _ in self.names]
        self.ended = np.zeros(len(self.names), bool)
        self.by_stop = np.zeros(len(self.names), bool)
        self.count = 0

    def see(self, texts: Texts, stop: Stop | None, on_tokens: OnTokens | None) -> Texts:
        """Takes what is new to the host; returns the texts, those ended that `stop` has ended."""
        new_BT = fetched(_new(texts.tokens_BM, texts.begin + self.count))
        count = int(texts.count)
        new_BT, stopped = new_BT[: len(self.names), : count - self.count], False
        for row in np.flatnonzero(~self.ended):
            before, added = len(self.tokens[row]), new_BT[row]
            is_end = np.isin(added, self.ends)
            if is_end.any():
                added, self.ended[row] = added[: is_end.argmax()], True
            self.tokens[row] += added.tolist()
            kept = stop(self.tokens[row]) if stop else None
            if kept is not None:
                del self.tokens[row][kept:]
                stopped |= not self.ended[row]
                self.ended[row] = self.by_stop[row] = True
            if on_tokens and len(self.tokens[row]) > before:
                on_tokens(*self.names[row], self.tokens[row][before:])
        self.count = count
        if not stopped:
            return texts
        done_B = np.ones(len(texts.done_B), bool)
        done_B[: len(self.ended)] = self.ended
        return texts.replace(done_B=jax.device_put(done_B, texts.done_B.sharding))

    def continuations(self, texts: Texts) -> list[Continuation]:
        """What was seen, in order."""
        logprobs_BT = None if texts.logprobs_BT is None else fetched(texts.logprobs_BT)
        found = []
        for row, tokens in enumerate(self.tokens):
            logprobs = score = None
            if logprobs_BT is not None:
                has_end = self.ended[row] and not self.by_stop[row]
                logprobs = tuple(logprobs_BT[row, : len(tokens) + has_end].tolist())
                score = float(sum(logprobs))
            found.append(Continuation(tuple(tokens), logprobs, score, bool(self.ended[row])))
        return found


def of_search(
    search: Search, count: int, n_best: int, ends: Sequence[int]
) -> list[list[Continuation]]:
    """The best texts of the first `count` prompts of a beam search."""
    kept, begin = jax.tree.map(fetched, search.ended), int(search.begin)

    def text(prompt: int, rank: int) -> Continuation:
        length = kept.lengths_BW[prompt, rank]
        tokens = kept.tokens_BWM[prompt, rank, begin : begin + length].tolist()
        logprobs = None
        if kept.logprobs_BWT is not None:
            logprobs = tuple(kept.logprobs_BWT[prompt, rank, :length].tolist())
        is_finished = tokens[-1] in ends
        score = float(kept.scores_BW[prompt, rank])
        return Continuation(tuple(tokens[: length - is_finished]), logprobs, score, is_finished)

    return [[text(prompt, rank) for rank in range(n_best)] for prompt in range(count)]


@jax.jit
def _new(tokens_BM: jax.Array, begin: jax.Array) -> jax.Array:
    """Tokens from a place on, at the front."""
    return jnp.roll(tokens_BM, -begin, axis=1)


def fetched(x: jax.Array) -> np.ndarray:
    """All of an array on every host."""
    if x.is_fully_addressable:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)
