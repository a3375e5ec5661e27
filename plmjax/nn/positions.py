"""Ways to tell a Transformer where its tokens stand."""

import jax
import jax.numpy as jnp
import numpy as np


def functional_positions(length: int, max_relative: int, width: int) -> jax.Array:
    """NEZHA's vectors of the place of a key relative to a query: float32 [L, M, K].

    A constant table of 2R + 1 rows, interleaved sines and cosines of the row's number (not of the
    distance, as the paper writes), is read at clip(key - query, -R, R) + R. All heads and layers
    share it. Source: huawei-noah NEZHA-TF modeling.py.

    Args:
      length: of queries and keys.
      max_relative: R.
      width: K; where it is odd the last column is a sine.
    """
    row_R1 = np.arange(2 * max_relative + 1)[:, None]
    column_K = np.arange(width)
    angle_RK = row_R1 / np.power(10000.0, 2 * (column_K // 2) / width)
    table_RK = np.where(column_K % 2 == 0, np.sin(angle_RK), np.cos(angle_RK)).astype(np.float32)
    place_L = np.arange(length)
    index_LM = np.clip(place_L[None] - place_L[:, None], -max_relative, max_relative)
    return jnp.asarray(table_RK)[index_LM + max_relative]


def rotated(x_BLHK: jax.Array, places_L: jax.Array, base: float) -> jax.Array:
    """Queries or keys turned by their places, so that scores see distances (Su et al. 2021).

    Number k of the first half of K and its partner in the second are a point that is turned by
    place * base^(-2k/K), as in GPT-NeoX and ModernBERT. The result has the dtype of the argument;
    angles are float32.
    """
    half = x_BLHK.shape[-1] // 2
    angle_LK = places_L[:, None] * base ** (-jnp.arange(half) / half)
    cosine_LHK, sine_LHK = jnp.cos(angle_LK)[:, None], jnp.sin(angle_LK)[:, None]
    first, second = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
    turned = (first * cosine_LHK - second * sine_LHK, second * cosine_LHK + first * sine_LHK)
    return jnp.concatenate(turned, axis=-1).astype(x_BLHK.dtype)
