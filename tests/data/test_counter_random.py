import numpy as np
import scipy.stats

from plmjax.data.counter_random import below, draw, fold, key_of, uniform
from plmjax.data.host_tensorflow import tensorflow

KEYS = fold(key_of(7, "test"), np.arange(500, dtype=np.uint64))


def test_tensorflow_gives_the_bits_of_numpy():
    tf = tensorflow()
    tensors = tf.constant(KEYS)
    bits = draw(KEYS, "purpose", 33)
    assert draw(tensors, "purpose", 33).numpy().tobytes() == bits.tobytes()
    other = draw(tensors, "purpose", 33)
    assert uniform(other).numpy().tobytes() == uniform(bits).tobytes()
    assert below(other, 30522).numpy().tobytes() == below(bits, 30522).tobytes()
    graph = tf.function(lambda keys: uniform(draw(keys, "purpose", 33)))
    assert graph(tensors).numpy().tobytes() == uniform(bits).tobytes()


def test_it_is_splitmix64():
    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    assert mix(golden) == 0xE220A8397B1DCDAF  # the generator's published first output for seed 0
    key, counter = 2**63 + 12345, 2**64 - 3
    result = fold(np.array(key, np.uint64), np.array(counter, np.uint64))
    assert int(result) == mix(key ^ mix((counter + golden) % 2**64))


def test_uniform_is_uniform_and_independent_between_purposes():
    first, second = (uniform(draw(KEYS, purpose, 200)).reshape(-1) for purpose in ("a", "b"))
    counts, _ = np.histogram(first, bins=100, range=(0, 1))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 3 / np.sqrt(first.size)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 3 / np.sqrt(first.size)
    assert first.min() >= 0 and first.max() < 1


def test_below_reaches_every_value_equally():
    values = below(draw(KEYS, "below", 200), 7)
    counts = np.bincount(values.reshape(-1), minlength=7)
    assert len(counts) == 7
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_nothing_repeats_over_counters_and_purposes():
    bits = np.concatenate([draw(KEYS, purpose, 200).reshape(-1) for purpose in "abc"])
    assert len(np.unique(bits)) == len(bits)
