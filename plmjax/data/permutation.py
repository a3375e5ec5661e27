"""A random order of n things in constant memory."""

import numpy as np

from plmjax.data import counter_random

_ROUNDS = 6
_FEWEST_BITS = 4  # the network mixes less well below


def permuted(indexes: np.ndarray, n: int | np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where a random permutation of range(n), chosen by `key`, sends `indexes`.

    A Feistel network permutes the smallest power of two that holds n; results outside of range(n)
    go through it again until they fall inside (cycle walking, Black and Rogaway 2002), which takes
    less than two turns on average. An odd number of bits is halved unevenly, and the halves change
    each other by turns.

    Args:
      indexes: int64 array of any shape, in [0, n).
      n: how many things there are, at least 1; or an int64 array of the shape of `indexes`, for
        as many permutations.
      key: uint64 scalar from `counter_random`, or an array beside an array of n.

    Returns:
      int64 array of the shape of `indexes`, in [0, n).
    """
    shape = indexes.shape
    result = indexes.astype(np.uint64).reshape(-1)
    bounds = np.asarray(n, np.uint64).reshape(-1)
    # frexp's exponent of an integer is its bit length, exactly up to 2**53.
    bits = np.maximum(np.frexp(bounds - np.uint64(1))[1], _FEWEST_BITS).astype(np.uint64)
    right_bits = bits >> np.uint64(1)
    rounds = np.arange(_ROUNDS, dtype=np.uint64)[:, None]
    keys = counter_random.fold(np.reshape(key, (1, -1)), rounds)
    many = len(bounds) > 1
    result = _feistel(result, bits - right_bits, right_bits, keys)
    again = np.flatnonzero(result >= bounds)
    while len(again):
        of = again if many else slice(None)
        halves = (bits - right_bits)[of], right_bits[of]
        walked = _feistel(result[again], *halves, keys[:, of] if many else keys)
        result[again] = walked
        again = again[walked >= bounds[of]]
    return result.astype(np.int64).reshape(shape)


def _feistel(
    values: np.ndarray, left_bits: np.ndarray, right_bits: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    one = np.uint64(1)
    left, right = values >> right_bits, values & ((one << right_bits) - one)
    masks = (one << left_bits) - one, (one << right_bits) - one
    for number, key in enumerate(keys):
        if number % 2:
            right = right ^ (counter_random.fold(key, left) & masks[1])
        else:
            left = left ^ (counter_random.fold(key, right) & masks[0])
    return (left << right_bits) | right
