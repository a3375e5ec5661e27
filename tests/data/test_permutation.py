import numpy as np
import pytest
import scipy.stats

from plmjax.data.counter_random import key_of
from plmjax.data.permutation import permuted


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 1000, 65536, 65537])
def test_is_a_bijection(n):
    result = permuted(np.arange(n), n, key_of(3))
    assert np.array_equal(np.sort(result), np.arange(n))


def test_keys_give_different_orders_and_places_are_uniform():
    places = np.array([permuted(np.arange(10), 10, key_of(seed)) for seed in range(1500)])
    assert len({tuple(row) for row in places}) > 1490
    for thing in range(10):
        assert scipy.stats.chisquare(np.bincount(places[:, thing], minlength=10)).pvalue > 1e-4


def test_an_index_is_sent_to_the_same_place_in_any_company():
    alone = np.concatenate([permuted(np.array([i]), 999, key_of(1)) for i in range(50)])
    assert np.array_equal(alone, permuted(np.arange(50), 999, key_of(1)))
