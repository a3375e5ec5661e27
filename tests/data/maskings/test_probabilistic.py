import numpy as np
import pytest
import scipy.stats

from plmjax.data.maskings import ProbabilisticMasking
from tests.data.maskings.helpers import assert_eighty_ten_ten, is_text, run, selected, used

L = 64


def test_every_number_of_targets_is_as_likely(english):
    features = english.features(20000, L)
    masking = ProbabilisticMasking(max_rate=0.5)
    counts = used(run(masking.bind(english.vocabulary, L), features)).sum(1)
    assert counts.min() == 1 and counts.max() == 32
    assert scipy.stats.chisquare(np.bincount(counts)[1:]).pvalue > 1e-3


def test_a_ratio_of_one_masks_all_of_the_text(english):
    """More can be asked for than there is: the specials count for the limit and are no targets."""
    features = english.features(6400, L)
    result = run(ProbabilisticMasking().bind(english.vocabulary, L), features)
    counts, text = used(result).sum(1), int(is_text(features)[0].sum())
    observed = np.bincount(counts, minlength=text + 1)[1:]
    expected = np.full(text, 6400 / L)
    expected[-1] *= L - text + 1
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3
    places = selected(result).sum(0)[is_text(features)[0]]
    assert places.min() > 0.45 * 6400 and scipy.stats.chisquare(places).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(2.0, 5.0), (0.5, 0.5)])
def test_the_beta_prior(english, shape):
    features = english.features(20000, L)
    masking = ProbabilisticMasking("beta", max_rate=0.5, beta_a=shape[0], beta_b=shape[1])
    counts = used(run(masking.bind(english.vocabulary, L), features)).sum(1)
    edges = scipy.stats.beta(*shape).cdf(np.arange(33) / 32)
    expected = np.diff(edges) * 20000
    observed = np.bincount(counts, minlength=33)[1:]
    rare = expected < 10
    observed = [*observed[~rare], observed[rare].sum()]
    expected = [*expected[~rare], expected[rare].sum()]
    if expected[-1] < 5:
        observed = [*observed[:-2], observed[-2] + observed[-1]]
        expected = [*expected[:-2], expected[-2] + expected[-1]]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_eighty_ten_ten(english):
    features = english.features(5000, L)
    result = run(ProbabilisticMasking().bind(english.vocabulary, L), features)
    ids = np.arange(english.vocabulary.vocab_size)
    assert_eighty_ten_ten(result, english.vocabulary.mask_id, ids)
