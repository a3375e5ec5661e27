"""Random numbers that are pure functions of a key and a counter, in NumPy and in TensorFlow.

Every draw of the input is `fold(key, counter)`: no state, so that any example can be made again on
any host, in any order. The mixing function is splitmix64's finaliser (Steele, Lea and Flood 2014).
Each function takes uint64 NumPy arrays or uint64 TensorFlow tensors and gives the same bits.
"""

import hashlib
from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def key_of(*parts: int | str) -> np.ndarray:
    """A uint64 scalar array that depends on all parts, such as a run's seed and a purpose."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return np.array(int.from_bytes(digest[:8], "little"), np.uint64)


def fold(keys: Any, counters: Any) -> Any:
    """New keys (uint64) from keys and counters (both uint64, broadcast against each other).

    For one key, different counters give different results; the results are also the random bits
    themselves.
    """
    with np.errstate(over="ignore"):  # NumPy warns of the wrap-around for scalars alone
        if not (_is_numpy(keys) and _is_numpy(counters)):
            return _mix(keys ^ _mix(counters + _GOLDEN))
        return _mix_in_place(keys ^ _mix_in_place(counters + _GOLDEN))


def draw(keys_B: Any, purpose: str, n: int) -> Any:
    """Random bits [B, n] uint64: row i is a function of `keys_B[i]` and the purpose alone."""
    positions_N = np.arange(n, dtype=np.uint64)
    return fold(fold(keys_B, key_of(purpose))[:, None], positions_N[None, :])


def uniform(bits: Any) -> Any:
    """Float64 in [0, 1), from the upper 53 of the random bits."""
    return _cast(_shifted_right(bits, 11), "float64") * 2.0**-53


def below(bits: Any, bounds: Any) -> Any:
    """Int64 in [0, bound), each equally likely to within bound / 2**53.

    `bounds` is an int or an array of int64 that broadcasts.
    """
    return _cast(uniform(bits) * _cast(bounds, "float64"), "int64")


def _mix(z: Any) -> Any:
    z = (z ^ _shifted_right(z, 30)) * _FACTORS[0]
    z = (z ^ _shifted_right(z, 27)) * _FACTORS[1]
    return z ^ _shifted_right(z, 31)


def _mix_in_place(z: np.ndarray) -> np.ndarray:
    """`_mix` for NumPy: a third of the time, as only the caller knows the array."""
    shifted = z >> np.uint64(30)
    for factor, places in zip(_FACTORS, (np.uint64(27), np.uint64(31)), strict=True):
        z ^= shifted
        z *= factor
        shifted = z >> places
    z ^= shifted
    return z


def _is_numpy(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | int)


def _shifted_right(z: Any, places: int) -> Any:
    if _is_numpy(z):
        return z >> np.uint64(places)
    from plmjax.data.host_tensorflow import tensorflow

    return tensorflow().bitwise.right_shift(z, np.uint64(places))


def _cast(value: Any, dtype: str) -> Any:
    if _is_numpy(value):
        return np.asarray(value).astype(dtype)
    from plmjax.data.host_tensorflow import tensorflow

    return tensorflow().cast(value, dtype)
