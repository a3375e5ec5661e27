"""What a model that has learned only word frequencies scores on the same tokens."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Split(Protocol):
    """Tokens in order, and where sentences and documents begin."""

    sentence_offsets: np.ndarray
    document_offsets: np.ndarray

    def blocks(self) -> Iterator[np.ndarray]:
        """All tokens, in arrays."""


@dataclasses.dataclass(frozen=True)
class NgramCounts:
    """Counts of tokens and of neighbours in a training text.

    unigram_V: int64, how often each token occurs.
    pairs_P, pair_counts_P: int64, `left * V + right` of each pair that occurs, ascending, and how
      often. left_counts_V, left_kinds_V: how often each token is a left neighbour, and of how many
      different tokens. best_right_V: the most frequent right neighbour; the most frequent token
      where there is none.
    """

    unigram_V: np.ndarray
    pairs_P: np.ndarray
    pair_counts_P: np.ndarray
    left_counts_V: np.ndarray
    left_kinds_V: np.ndarray
    best_right_V: np.ndarray

    @classmethod
    def of(cls, tokens_T: np.ndarray, starts_D: np.ndarray, vocab_size: int) -> "NgramCounts":
        """Counts a text.

        Args:
          tokens_T: int ids of all documents, one after the other.
          starts_D: int, where each document begins; no pair crosses these.
          vocab_size: V.
        """
        tokens_T = tokens_T.astype(np.int64)
        unigram_V = np.bincount(tokens_T, minlength=vocab_size)
        within = np.ones(len(tokens_T), bool)
        within[starts_D] = False
        pairs = tokens_T[:-1][within[1:]] * vocab_size + tokens_T[1:][within[1:]]
        pairs_P, pair_counts_P = np.unique(pairs, return_counts=True)
        left_P, right_P = np.divmod(pairs_P, vocab_size)
        best_right_V = np.full(vocab_size, unigram_V.argmax())
        rising = np.argsort(pair_counts_P, kind="stable")
        best_right_V[left_P[rising]] = right_P[rising]
        return cls(
            unigram_V=unigram_V,
            pairs_P=pairs_P,
            pair_counts_P=pair_counts_P,
            left_counts_V=np.bincount(left_P, pair_counts_P, vocab_size).astype(np.int64),
            left_kinds_V=np.bincount(left_P, minlength=vocab_size),
            best_right_V=best_right_V,
        )

    def unigram(self, tokens: np.ndarray) -> np.ndarray:
        """P(token), add-one smoothed: float64 like `tokens`."""
        return (self.unigram_V[tokens] + 1) / (self.unigram_V.sum() + len(self.unigram_V))

    def bigram(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """P(right | left), interpolated with the unigram by Witten and Bell (1991): float64."""
        keys = left.astype(np.int64) * len(self.unigram_V) + right
        index = np.minimum(np.searchsorted(self.pairs_P, keys), len(self.pairs_P) - 1)
        counts = np.where(self.pairs_P[index] == keys, self.pair_counts_P[index], 0)
        kinds, total = self.left_kinds_V[left], self.left_counts_V[left]
        mixed = (counts + kinds * self.unigram(right)) / np.maximum(total + kinds, 1)
        return np.where(total > 0, mixed, self.unigram(right))


def count_splits(splits: Sequence[Split], vocab_size: int, most: int) -> NgramCounts:
    """Counts the `first_documents` of each split."""
    return NgramCounts.of(*first_documents(splits, most), vocab_size)


def first_documents(splits: Sequence[Split], most: int) -> tuple[np.ndarray, np.ndarray]:
    """The first documents of each split, about `most` tokens together at the most.

    That bounds memory; splits that are larger get a larger share of it.

    Returns:
      Their tokens, one document after the other, and where each begins.
    """
    total = sum(int(split.sentence_offsets[-1]) for split in splits)
    starts, blocks, before = [], [], 0
    for split in splits:
        allowed = most * int(split.sentence_offsets[-1]) // max(total, 1)
        size = 0
        for block in split.blocks():
            blocks.append(block)
            size += len(block)
            if size >= allowed:
                break
        starts_D = split.sentence_offsets[split.document_offsets[:-1]]
        starts.append(before + starts_D[starts_D < size])
        before += size
    return np.concatenate(blocks), np.concatenate(starts)


def ngram_baselines(
    counts: NgramCounts,
    batches: Iterable[Mapping[str, np.ndarray]],
    neighbours: Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]],
    term: str,
    labelled: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]] | None = None,
    shown: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None,
) -> dict[str, dict[str, float]]:
    """Loss and accuracy of n-gram models on the tokens that `batches` ask for.

    The bigram sees the true left neighbour even where a masked model is shown [MASK], which is in
    the bigram's favour, and more so the longer the row of masks: within a word that is masked as a
    whole. The shown bigram sees what the model is shown, and is a unigram beside [MASK].

    Args:
      counts: of the training text.
      batches: as the objective reads them.
      neighbours: of an objective: left neighbours and targets of a batch.
      term: the objective's term that predicts tokens, such as mlm.
      shown: of an objective that hides tokens: the left neighbours as the model sees them.
      labelled: of an objective with labels: by the name of what they are about, such as nsp, the
        labels of a batch and what anybody can see of each.

    Returns:
      `unigram` and `bigram`, with `shown` also `shown bigram`, each with `{term}_loss` (nats) and
      `{term}_accuracy`, and where there are labels `majority` with `{task}_accuracy`, of the most
      frequent one among those of which the same is seen.
    """
    lefts, beside, targets, labels = [], [], [], collections.defaultdict(list)
    for batch in batches:
        left, target = neighbours(batch)
        lefts.append(left)
        targets.append(target)
        beside += [shown(batch)] if shown else []
        for task, found in (labelled(batch) if labelled else {}).items():
            labels[task].append(found)
    left, target = np.concatenate(lefts), np.concatenate(targets)
    results = {
        "unigram": {
            f"{term}_loss": float(-np.log(counts.unigram(target)).mean()),
            f"{term}_accuracy": float((target == counts.unigram_V.argmax()).mean()),
        },
        "bigram": _bigram_scores(counts, left, target, term),
    }
    if beside:
        results["shown bigram"] = _bigram_scores(counts, np.concatenate(beside), target, term)
    if labels:
        results["majority"] = {
            f"{task}_accuracy": _majority(*map(np.concatenate, zip(*found, strict=True)))
            for task, found in labels.items()
        }
    return results


def _bigram_scores(
    counts: NgramCounts, left: np.ndarray, target: np.ndarray, term: str
) -> dict[str, float]:
    return {
        f"{term}_loss": float(-np.log(counts.bigram(left, target)).mean()),
        f"{term}_accuracy": float((target == counts.best_right_V[left]).mean()),
    }


def token_majorities(
    training: Iterable[Mapping[str, np.ndarray]],
    held_out: Iterable[Mapping[str, np.ndarray]],
    told: Callable[[Mapping[str, np.ndarray]], Mapping[str, tuple[np.ndarray, np.ndarray]]],
    vocab_size: int,
) -> dict[str, float]:
    """The accuracy of giving each token the label that it has most often in training batches.

    Args:
      training, held_out: batches as the objective reads them.
      told: of an objective: by task the tokens that are asked about, and their labels, 0 or 1.
      vocab_size: V.

    Returns:
      `{task}_accuracy` of each task; a token that training does not have is given 0.
    """
    ones_V: dict[str, np.ndarray] = {}
    for batch in training:
        for task, (tokens, labels) in told(batch).items():
            votes_V = np.bincount(tokens, 2 * labels - 1, vocab_size)
            ones_V[task] = ones_V.get(task, 0) + votes_V
    right, total = collections.Counter(), collections.Counter()
    for batch in held_out:
        for task, (tokens, labels) in told(batch).items():
            right[task] += int(((ones_V[task][tokens] > 0) == labels).sum())
            total[task] += len(labels)
    return {f"{task}_accuracy": right[task] / max(total[task], 1) for task in ones_V}


def _majority(labels: np.ndarray, seen: np.ndarray) -> float:
    """The share of the most frequent label of each kind of what is seen; int arrays [n]."""
    right = sum(np.bincount(labels[seen == kind]).max() for kind in np.unique(seen))
    return float(right / max(len(labels), 1))
