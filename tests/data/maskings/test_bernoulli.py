import math

import numpy as np
import scipy.stats

from plmjax.data.flags import SPECIAL
from plmjax.data.maskings import XlmMasking
from tests.data.maskings.helpers import (
    assert_eighty_ten_ten,
    assert_share,
    run,
    selected,
    used,
)

L = 128


def test_every_token_but_the_first_is_a_target_with_the_rate(english, lengths):
    features = english.features(len(lengths), L, lengths)
    result = run(XlmMasking().bind(english.vocabulary, L), features)
    chosen = selected(result)
    assert not chosen[:, 0].any() and not result["overflow"].any()
    assert_share(chosen.sum(), (lengths - 1).sum(), 0.15)
    # The number of targets of a row is binomial, not fixed.
    n = lengths - 1
    spread = (chosen.sum(1) - 0.15 * n) ** 2 / (n * 0.15 * 0.85)
    assert abs(spread.mean() - 1) < 3 * np.sqrt(2.2 / len(n))
    seps = (features["flags"] == SPECIAL) & (np.arange(L) > 0)
    assert_share(chosen[seps].sum(), seps.sum(), 0.15, least=2500)


def test_both_sides_of_a_pair_are_masked_alike(english):
    features = english.features(2000, L)
    chosen = selected(run(XlmMasking().bind(english.vocabulary, L), features))
    for side in (chosen[:, 1 : L // 2], chosen[:, L // 2 + 1 :]):
        assert_share(side.sum(), side.size, 0.15)


def test_eighty_ten_ten(english):
    features = english.features(7000, L)
    result = run(XlmMasking().bind(english.vocabulary, L), features)
    ids = np.arange(english.vocabulary.vocab_size)
    assert_eighty_ten_ten(result, english.vocabulary.mask_id, ids)


def test_a_rate_of_one_takes_all(english):
    features = english.features(5, L)
    result = run(XlmMasking(mask_rate=1.0).bind(english.vocabulary, L), features)
    assert (selected(result).sum(1) == L - 1).all() and not result["overflow"].any()


def test_rare_words_are_preferred_as_their_counts_say(english):
    """One draw of few: shares are those of count**-alpha; several: as drawn one by one."""
    vocabulary = english.vocabulary
    features = english.features(1, L)
    repeats = 60000
    many = {key: np.repeat(value, repeats, axis=0) for key, value in features.items()}
    many["seeds"] = english.features(repeats, L)["seeds"]
    candidates = (np.arange(L) > 0) & (features["tokens"][0] != vocabulary.sep_id)
    weights = np.maximum(vocabulary.token_counts[features["tokens"][0]], 1.0) ** -0.5
    weights = np.where(candidates, weights, 0)
    # [SEP] is not in the text that was counted: its weight is 0.
    for n in (1, 2):
        masking = XlmMasking(mask_rate=(n - 0.5) / L, sample_alpha=0.5)
        result = run(masking.bind(vocabulary, L), many)
        assert (used(result).sum(1) == math.ceil(masking.mask_rate * L)).all()
        counts = selected(result).sum(0)
        shares = weights / weights.sum()
        if n == 2:  # first this one, or another one first and then this one
            others = shares / (1 - shares)
            shares = shares * (1 + others.sum() - others)
        assert not counts[~candidates].any()
        test = scipy.stats.chisquare(counts[candidates], shares[candidates] * repeats)
        assert test.pvalue > 1e-3
