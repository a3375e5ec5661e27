"""The chain of tags against all sequences there are, one by one in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from plmjax.nn import crf

B, L, C = 6, 6, 4
PRESENT = np.array(
    [
        [1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 0],  # between what stands around a text
        [0, 1, 0, 0, 1, 1],  # words of several pieces
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 1, 0],
    ],
    bool,
)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(11)
    scores = 2 * rng.standard_normal((B, L, C))
    tags = rng.integers(0, C, (B, L))
    chain = [2 * rng.standard_normal(shape) for shape in ((C,), (C, C), (C,))]
    return scores, tags, chain


def score(scores, tags, chain) -> float:
    start, follow, end = chain
    places = sum(row[tag] for row, tag in zip(scores, tags, strict=True))
    return (
        start[tags[0]]
        + places
        + sum(follow[a, b] for a, b in itertools.pairwise(tags))
        + (end[tags[-1]])
    )


def every(scores, chain):
    """All sequences of tags, and the score of each."""
    found = list(itertools.product(range(C), repeat=len(scores)))
    return found, np.array([score(scores, tags, chain) for tags in found])


def ours(given):
    scores, tags, chain = given
    narrow = [jnp.asarray(x, jnp.float32) for x in chain]
    return jnp.asarray(scores, jnp.float32), jnp.asarray(tags), narrow


def test_probabilities_are_those_of_all_sequences(given):
    scores, tags, chain = given
    wide, labels, narrow = ours(given)
    found = jax.jit(crf.log_likelihood)(wide, labels, jnp.asarray(PRESENT), crf.Chain(*narrow))
    for row, here in enumerate(PRESENT):
        expected = 0.0
        if here.any():
            _, of_all = every(scores[row][here], chain)
            expected = score(scores[row][here], tags[row][here], chain) - logsumexp(of_all)
        assert float(found[row]) == pytest.approx(expected, abs=1e-5)


def test_gradients_are_what_is_there_less_what_is_expected(given):
    """Of a log-linear model they are counts: of each tag and each pair of neighbours."""
    scores, tags, chain = given
    wide, labels, narrow = ours(given)

    def total(scores, chain):
        return crf.log_likelihood(scores, labels, jnp.asarray(PRESENT), crf.Chain(*chain)).sum()

    found = jax.jit(jax.grad(total, argnums=(0, 1)))(wide, narrow)
    of_scores, of_chain = np.zeros((B, L, C)), [np.zeros_like(x) for x in chain]
    for row, here in enumerate(PRESENT):
        if not here.any():
            continue
        places = np.flatnonzero(here)
        sequences, of_all = every(scores[row][here], chain)
        shares = np.exp(of_all - logsumexp(of_all))
        truth = tuple(tags[row][here])
        for some, share in [(truth, 1.0), *zip(sequences, -shares, strict=True)]:
            np.add.at(of_scores[row], (places, list(some)), share)
            of_chain[0][some[0]] += share
            of_chain[2][some[-1]] += share
            for pair in itertools.pairwise(some):
                of_chain[1][pair] += share
    np.testing.assert_allclose(found[0], of_scores, atol=1e-5)
    for mine, theirs in zip(found[1], of_chain, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5)


def test_the_best_sequence_is_the_best_of_all(given):
    scores, _, chain = given
    wide, _, narrow = ours(given)
    found = np.asarray(jax.jit(crf.best_tags)(wide, jnp.asarray(PRESENT), crf.Chain(*narrow)))
    for row, here in enumerate(PRESENT):
        expected = np.zeros(L, int)
        if here.any():
            sequences, of_all = every(scores[row][here], chain)
            expected[here] = sequences[of_all.argmax()]
        np.testing.assert_array_equal(found[row], expected)


def test_the_best_tag_of_a_place_is_not_the_one_it_says_itself(given):
    """A tag that none may follow is not taken, however much its place is for it."""
    scores = jnp.zeros((1, 3, 2)).at[0, 1, 1].set(5.0)
    chain = crf.Chain(jnp.zeros(2), jnp.array([[0.0, -4.0], [-4.0, 0.0]]), jnp.zeros(2))
    everywhere = jnp.ones((1, 3), bool)
    assert crf.best_tags(scores, everywhere, chain).tolist() == [[1, 1, 1]]
    apart = chain.replace(end_C=jnp.array([0.0, -9.0]), start_C=jnp.array([0.0, -9.0]))
    assert crf.best_tags(scores, everywhere, apart).tolist() == [[0, 0, 0]]


def test_scores_that_are_large_stay_finite(given):
    wide, labels, narrow = ours(given)
    chain = crf.Chain(*narrow).replace(follow_CC=jnp.full((C, C), -1e4))

    def total(scores):
        return crf.log_likelihood(1e3 * scores, labels, jnp.asarray(PRESENT), chain).sum()

    value, slopes = jax.value_and_grad(total)(wide)
    assert np.isfinite(value) and np.isfinite(slopes).all()
