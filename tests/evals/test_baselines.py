"""The n-gram baselines against the textbook's formulas, a token at a time."""

import collections
import itertools
import math

import numpy as np
import pytest

from plmjax.evals import baselines
from plmjax.objectives.bert_pretraining import BertPretraining

V = 13
DOCUMENTS = [
    np.random.default_rng(seed).integers(5, V, size=size) for seed, size in enumerate((40, 1, 77))
]
TEXT = np.concatenate(DOCUMENTS)
STARTS = np.array([0, 40, 41])


def witten_bell(left: int, right: int) -> float:
    followers = collections.Counter()
    for document in DOCUMENTS:
        for a, b in itertools.pairwise(document):
            if a == left:
                followers[b] += 1
    unigram = (np.count_nonzero(right == TEXT) + 1) / (len(TEXT) + V)
    total, kinds = sum(followers.values()), len(followers)
    if not total:
        return unigram
    return (followers[right] + kinds * unigram) / (total + kinds)


@pytest.fixture
def counts():
    return baselines.NgramCounts.of(TEXT.astype(np.uint16), STARTS, V)


def test_bigram_is_witten_and_bells(counts):
    for left in range(V):
        for right in range(V):
            found = float(counts.bigram(np.array(left), np.array(right)))
            assert found == pytest.approx(witten_bell(left, right), rel=1e-12)


def test_both_are_distributions(counts):
    all_V = np.arange(V)
    assert counts.unigram(all_V).sum() == pytest.approx(1)
    for left in range(V):
        assert counts.bigram(np.full(V, left), all_V).sum() == pytest.approx(1)


def test_the_best_right_neighbour_is_the_most_frequent(counts):
    for left in range(5, V):
        best = max(witten_bell(left, right) for right in range(5, V))
        chosen = witten_bell(left, counts.best_right_V[left])
        # Interpolation may prefer another of two that are equally frequent neighbours.
        assert chosen >= best * 0.7
    assert counts.best_right_V[0] == np.bincount(TEXT).argmax()


def test_scores_on_masked_positions(counts):
    # The row is [CLS] 6 7 8; 7 and 8 are masked, so the bigram sees 6 and, under a mask, 7.
    batch = {
        "tokens": np.array([[2, 6, 4, 4]]),
        "masked_positions": np.array([[2, 3, 0]]),
        "masked_targets": np.array([[7, 8, 0]]),
        "masked_weights": np.array([[1.0, 1.0, 0.0]]),
        "label": np.array([1]),
        "label_weights": np.array([1.0]),
    }

    def labelled(batch):
        return {"nsp": (batch["label"], np.zeros(1, int))}

    found = baselines.ngram_baselines(
        *(counts, [batch], BertPretraining.neighbours, "mlm", labelled),
        shown=BertPretraining.shown,
    )
    bigram = -(math.log(witten_bell(6, 7)) + math.log(witten_bell(7, 8))) / 2
    assert found["bigram"]["mlm_loss"] == pytest.approx(bigram)
    # Beside the mask, 4, which no text has, it is a unigram.
    shown = -(math.log(witten_bell(6, 7)) + math.log(witten_bell(4, 8))) / 2
    assert found["shown bigram"]["mlm_loss"] == pytest.approx(shown)
    assert shown > bigram
    unigram = [-math.log((np.count_nonzero(t == TEXT) + 1) / (len(TEXT) + V)) for t in (7, 8)]
    assert found["unigram"]["mlm_loss"] == pytest.approx(np.mean(unigram))
    most_frequent = np.bincount(TEXT).argmax()
    assert found["unigram"]["mlm_accuracy"] == np.mean([t == most_frequent for t in (7, 8)])
    assert found["majority"]["nsp_accuracy"] == 1.0


def test_each_token_is_given_its_most_frequent_label():
    def told(batch):
        return {"capitals": batch}

    training = [(np.array([1, 1, 2]), np.array([1, 1, 0])), (np.array([1, 2]), np.array([0, 0]))]
    held_out = [(np.array([1, 1, 2, 3]), np.array([1, 0, 0, 1]))]
    found = baselines.token_majorities(training, held_out, told, 5)
    assert found == {"capitals_accuracy": 0.5}


def test_the_majority_is_that_of_what_looks_alike(counts):
    batch = {
        "tokens": np.array([[2, 6]]),
        "masked_positions": np.array([[1]]),
        "masked_targets": np.array([[7]]),
        "masked_weights": np.array([[1.0]]),
    }
    labels, seen = np.array([0, 0, 1, 2, 2, 1]), np.array([0, 0, 1, 1, 1, 1])
    batches = [batch | {"part": part} for part in (slice(0, 2), slice(2, 6))]
    found = baselines.ngram_baselines(
        *(counts, batches, BertPretraining.neighbours, "mlm"),
        lambda batch: {"order": (labels[batch["part"]], seen[batch["part"]])},
    )
    assert found["majority"]["order_accuracy"] == pytest.approx(4 / 6)
