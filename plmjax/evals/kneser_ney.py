"""An interpolated Kneser-Ney model: what one knows of a text by counting runs of a few tokens.

Chen & Goodman (1998), "An Empirical Study of Smoothing Techniques for Language Modeling", with the
modified discounts of its section 3, as in KenLM and SRILM: below the highest order a run of tokens
counts as often as it has different left neighbours, one with which a document begins as often as it
stands there, and the unigrams are interpolated with a uniform distribution.

nltk's `KneserNeyInterpolated` computes the same function for one discount (tests/evals compares),
but goes through all n-grams for each token: 0.3 s a token on a text of a million. The package of
KenLM on PyPI reads models and does not make them.
"""

import dataclasses

import numpy as np

ORDER = 5
NAME = f"kneser-ney {ORDER}"
_USUAL = (0.5, 1.0, 1.5)  # KenLM's, where a text is too small to estimate discounts


@dataclasses.dataclass(frozen=True)
class Level:
    """The n-grams of one order, G of them, and their contexts, the C (n-1)-grams.

    keys_G: int64, context * V + token, ascending; an n-gram's id is its index here, and a unigram's
      its token. alphas_G: float64, the n-gram's own share. gammas_C: float64, the weight of the
      order below, 1 where a context was never followed by anything.
    """

    keys_G: np.ndarray
    alphas_G: np.ndarray
    gammas_C: np.ndarray


@dataclasses.dataclass(frozen=True)
class KneserNey:
    """The model. unigram_V: float64 probabilities. levels: of bigrams and above."""

    unigram_V: np.ndarray
    levels: tuple[Level, ...]

    @classmethod
    def of(
        cls,
        tokens_T: np.ndarray,
        starts_D: np.ndarray,
        vocab_size: int,
        mark: int | None = None,
        order: int = ORDER,
        discounts: np.ndarray | None = None,
    ) -> "KneserNey":
        """Counts a text.

        Args:
          tokens_T: int ids of all documents, one after the other.
          starts_D: int, where each document begins; no n-gram crosses these.
          vocab_size: V.
          mark: the token that stands behind each document, and that the next one follows; it is
            predicted, too. None where there is nothing between documents.
          order: of the longest n-grams, 2 or more.
          discounts: float [order, 3], what is taken off counts of 1, 2, and 3 or more, unigrams
            first; None estimates them.
        """
        stream, is_start = _marked(tokens_T.astype(np.int64), starts_D, mark)
        predicted = ~is_start if mark is not None else np.ones(len(stream), bool)
        grams = stream  # ids of the n-grams that end at each place; -1 where they would cross
        contexts, counts = [np.zeros(vocab_size, np.int64)], []
        keys = [np.arange(vocab_size)]
        for n in range(1, order):
            before = np.append(-1, np.where(is_start[1:], -1, grams[:-1]))
            complete = before >= 0
            found, first, inverse, occurrences = np.unique(
                before[complete] * vocab_size + stream[complete],
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            # Each n-gram with a left neighbour stands at the end of some of these, once for each.
            ends = np.append(grams[complete][first], grams[predicted & ~complete & (grams >= 0)])
            counts.append(np.bincount(ends, minlength=len(keys[-1])))
            grams = np.full(len(stream), -1)
            grams[complete] = inverse
            keys.append(found)
            contexts.append(found // vocab_size)
            if n == order - 1:
                counts.append(occurrences)
        if discounts is None:
            discounts = np.array([estimated_discounts(count) for count in counts])
        sizes = [1, *map(len, keys)]
        shares = map(_shares, counts, contexts, sizes, discounts)
        (unigram_V, rest), *others = shares
        levels = (Level(k, *s) for k, s in zip(keys[1:], others, strict=True))
        return cls(unigram_V + rest[0] / vocab_size, tuple(levels))

    def probabilities(self, stream_T: np.ndarray, is_start_T: np.ndarray) -> np.ndarray:
        """P(token | up to order - 1 tokens before it): float64 [T].

        Args:
          stream_T: int ids.
          is_start_T: bool, where what is before is not seen.
        """
        stream, vocab_size = stream_T.astype(np.int64), len(self.unigram_V)
        result, grams = self.unigram_V[stream], stream
        for level in self.levels:
            before = np.append(-1, np.where(is_start_T[1:], -1, grams[:-1]))
            wanted = before * vocab_size + stream
            index = np.minimum(np.searchsorted(level.keys_G, wanted), len(level.keys_G) - 1)
            known = (before >= 0) & (level.keys_G[index] == wanted)
            own = np.where(known, level.alphas_G[index], 0.0)
            result = np.where(before >= 0, own + level.gammas_C[before] * result, result)
            grams = np.where(known, index, -1)
        return result


def estimated_discounts(counts_G: np.ndarray) -> tuple[float, float, float]:
    """Chen & Goodman's discounts of counts of 1, 2, and 3 or more, from how often 1 to 4 occur."""
    ones, twos, threes, fours = (np.count_nonzero(counts_G == count) for count in (1, 2, 3, 4))
    if not (ones and twos and threes and fours):
        return _USUAL
    y = ones / (ones + 2 * twos)
    raw = (1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes)
    return (
        raw
        if all(0 < value <= most for value, most in zip(raw, (1, 2, 3), strict=True))
        else (_USUAL)
    )


def kneser_ney_baseline(
    model: KneserNey,
    stream_T: np.ndarray,
    is_start_T: np.ndarray,
    predicted_T: np.ndarray,
    term: str,
) -> dict[str, dict[str, float]]:
    """The model's loss, in nats, on the predicted tokens of a text.

    Args:
      model: of the training text.
      stream_T, is_start_T, predicted_T: see `plmjax.evals.text_size.joined_rows`.
      term: the objective's term that predicts tokens.
    """
    losses = -np.log(model.probabilities(stream_T, is_start_T)[predicted_T])
    return {NAME: {f"{term}_loss": float(losses.mean())}}


def _marked(
    tokens_T: np.ndarray, starts_D: np.ndarray, mark: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The documents, each with the mark before and behind it; and where each begins."""
    is_start = np.zeros(len(tokens_T), bool)
    is_start[starts_D] = True
    if mark is None:
        return tokens_T, is_start
    ends_D = np.append(starts_D[1:], len(tokens_T))
    around_D = np.stack([starts_D, ends_D], axis=1).reshape(-1)
    opens_D = np.tile([True, False], len(starts_D))
    return np.insert(tokens_T, around_D, mark), np.insert(
        np.zeros_like(is_start), around_D, opens_D
    )


def _shares(
    counts_G: np.ndarray, contexts_G: np.ndarray, contexts: int, discounts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each n-gram keeps of its context's probability [G], and what is left of each [C]."""
    totals_C = np.bincount(contexts_G, counts_G, contexts)
    taken_G = np.append(0.0, discounts)[np.minimum(counts_G, 3)]
    left_C = np.bincount(contexts_G, taken_G, contexts)
    left_C = np.where(totals_C > 0, left_C / np.maximum(totals_C, 1), 1.0)
    return (counts_G - taken_G) / np.maximum(totals_C[contexts_G], 1), left_C
