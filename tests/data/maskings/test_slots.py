"""The draws that all maskings share: statistics, and NumPy's bits."""

import numpy as np
import scipy.stats

from plmjax.data.counter_random import draw, fold, key_of
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots

SEEDS = fold(key_of(3, "slots"), np.arange(4000, dtype=np.uint64))


def tensors():
    return tensorflow().constant(SEEDS)


def test_bits_are_those_of_numpy_for_fixed_and_for_changing_widths():
    expected = draw(SEEDS, "purpose", 40)
    assert np.array_equal(slots.bits_of(tensors(), "purpose", 40), expected)
    width = tensorflow().constant(25)
    assert np.array_equal(slots.bits_of(tensors(), "purpose", width), expected[:, :25])


def test_both_halves_are_uniform_and_independent():
    bits = slots.bits_of(tensors(), "halves", 100)
    upper, lower = (half(bits).numpy().reshape(-1) for half in (slots.high, slots.low))
    for values in (upper, lower):
        assert values.min() >= 0 and values.max() < 2**32
        for shift in (0, 12, 24):
            assert scipy.stats.chisquare(np.bincount(values >> shift & 0xFF)).pvalue > 1e-3
    table = np.histogram2d(upper, lower, bins=16)[0]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3
    table = np.histogram2d(lower[:-1], lower[1:], bins=16)[0]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3


def test_scaled_reaches_every_value_equally():
    word = slots.low(slots.bits_of(tensors(), "scaled", 100))
    for bound in (2, 7, 1000):
        counts = np.bincount(slots.scaled(word, bound).numpy().reshape(-1), minlength=bound)
        assert len(counts) == bound and scipy.stats.chisquare(counts).pvalue > 1e-3


def test_random_tokens_follow_their_counts():
    ids = np.array([2, 5, 7, 8, 20], np.int32)
    word = slots.low(slots.bits_of(tensors(), "ids", 100))
    for counts in (None, np.array([0, 1, 5, 0, 94])):
        drawn = slots.RandomTokens(ids, counts).draw(word).numpy()
        shares = np.full(5, 0.2) if counts is None else counts / counts.sum()
        observed = np.array([(drawn == i).sum() for i in ids])
        assert observed.sum() == drawn.size and not observed[shares == 0].any()
        expected = shares[shares > 0] * drawn.size
        assert scipy.stats.chisquare(observed[shares > 0], expected).pvalue > 1e-3


def test_picked_and_compacted_positions():
    tf = tensorflow()
    rng = np.random.default_rng(0)
    keys = np.where(rng.random((200, 30)) < 0.6, rng.integers(0, 2**31, (200, 30)), -1)
    wanted = rng.integers(0, 12, 200)
    positions = slots.picked(tf.constant(keys, tf.int32), tf.constant(wanted, tf.int32), 9).numpy()
    selected = rng.random((200, 30)) < 0.3
    compact, overflow = slots.compacted(tf.constant(selected), 9)
    for row in range(200):
        order = [i for i in np.argsort(-keys[row]) if keys[row, i] >= 0]
        best = sorted(order[: min(wanted[row], 9)])
        assert positions[row].tolist() == best + [30] * (9 - len(best))
        places = np.flatnonzero(selected[row]).tolist()
        assert compact[row].numpy().tolist() == (places + [30] * 9)[:9]
        assert int(overflow[row]) == max(0, len(places) - 9)
