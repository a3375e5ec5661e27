"""A random order of n things in constant memory."""

import numpy as np

from plmjax.data import counter_random

_ROUNDS = 6


def permuted(indexes: np.ndarray, n: int, key: np.ndarray) -> np.ndarray:
    """Where a random permutation of range(n), chosen by `key`, sends `indexes`.

    A Feistel network permutes the smallest even power of two that holds n; results outside of
    range(n) go through it again until they fall inside (cycle walking, Black and Rogaway 2002),
    which takes fewer than four turns on average.

    Args:
      indexes: int64 array of any shape, in [0, n).
      n: how many things there are, at least 1.
      key: uint64 scalar from `counter_random`.

    Returns:
      int64 array of the shape of `indexes`, in [0, n).
    """
    half_bits = max(1, ((n - 1).bit_length() + 1) // 2)
    round_keys = counter_random.fold(key, np.arange(_ROUNDS, dtype=np.uint64))
    result = _feistel(indexes.astype(np.uint64), half_bits, round_keys)
    while (outside := result >= n).any():
        result[outside] = _feistel(result[outside], half_bits, round_keys)
    return result.astype(np.int64)


def _feistel(values: np.ndarray, half_bits: int, round_keys: np.ndarray) -> np.ndarray:
    bits, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> bits, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (counter_random.fold(round_key, right) & mask)
    return (left << bits) | right
