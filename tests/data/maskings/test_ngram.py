import numpy as np
import pytest

from plmjax.data.maskings import NgramMasking
from tests.data.maskings.helpers import (
    assert_eighty_ten_ten,
    assert_share,
    low_words,
    order_of,
    run,
    selected,
    used,
    words_of,
)

L = 128
ALBERT = (1.0, 1 / 2, 1 / 3)
MACBERT = (0.4, 0.3, 0.2, 0.1)


def drawn_lengths(words32, weights):
    ends = np.rint(np.cumsum(weights) / np.sum(weights) * 2**32)
    return [1 + int((word >= ends[:-1]).sum()) for word in words32]


def reference(words, order, lengths, budget):
    """google-research/albert, `create_masked_lm_predictions`, n drawn beforehand."""
    masked, covered = 0, set()
    for index in order:
        if masked >= budget:
            break
        n = lengths[index]
        ngram = [place for word in words[index : index + n] for place in word]
        n -= 1
        while masked + len(ngram) > budget:
            if n == 0:
                break
            ngram = [place for word in words[index : index + n] for place in word]
            n -= 1
        if masked + len(ngram) > budget:
            continue
        if covered & set(ngram):
            continue
        covered |= set(ngram)
        masked += len(ngram)
    return sorted(covered)


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("weights", [ALBERT, MACBERT], ids=["albert", "macbert"])
@pytest.mark.parametrize("rate", [0.15, 0.6])
def test_it_is_alberts_program(request, lengths, language, weights, rate):
    text = request.getfixturevalue(language)
    lengths = lengths[:150]
    features = text.features(len(lengths), L, lengths)
    result = run(NgramMasking(mask_rate=rate, weights=weights).bind(text.vocabulary, L), features)
    for row, length in enumerate(lengths.tolist()):
        words, seed = words_of(features, row), features["seeds"][row]
        order = order_of(seed, "masked n-grams", len(words))
        drawn = drawn_lengths(low_words(seed, "masked n-grams", len(words)), weights)
        expected = reference(words, order, drawn, max(1, round(rate * length)))
        assert result["masked_positions"][row][used(result)[row]].tolist() == expected


@pytest.mark.parametrize(
    ("weights", "shares"),
    [(ALBERT, (6 / 11, 3 / 11, 2 / 11)), (MACBERT, MACBERT)],
    ids=["albert", "macbert"],
)
def test_lengths_have_the_shares_of_the_weights(english, weights, shares):
    features = english.features(1500, L)
    counts = np.zeros(len(weights) + 1)
    for row in range(1500):
        words = words_of(features, row)
        drawn = drawn_lengths(
            low_words(features["seeds"][row], "masked n-grams", len(words)), weights
        )
        counts += np.bincount(drawn, minlength=len(weights) + 1)
    for n, share in enumerate(shares, 1):
        assert_share(counts[n], counts.sum(), share)


def test_budget_and_replacement(english):
    features = english.features(7000, L)
    result = run(NgramMasking().bind(english.vocabulary, L), features)
    counts = selected(result).sum(1)
    assert counts.max() == round(0.15 * L) and (counts == round(0.15 * L)).mean() > 0.99
    ids = np.arange(english.vocabulary.vocab_size)
    assert_eighty_ten_ten(result, english.vocabulary.mask_id, ids)
