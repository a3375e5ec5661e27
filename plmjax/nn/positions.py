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


def rotated(
    x_BLHK: jax.Array, places_L: jax.Array, base: float, neighbours: bool = False
) -> jax.Array:
    """Queries or keys turned by their places, so that scores see distances (Su et al. 2021).

    Pair k of K / 2 is a point that is turned by place * base^(-2k/K). It is number k of the first
    half of K and its partner in the second, as in GPT-NeoX and ModernBERT; with `neighbours` it is
    numbers 2k and 2k + 1, as in the paper and ZhuiyiTechnology/roformer. The result has the dtype
    of the argument; angles are float32.
    """
    half = x_BLHK.shape[-1] // 2
    angle_LK = places_L[:, None] * base ** (-jnp.arange(half) / half)
    cosine_LHK, sine_LHK = jnp.cos(angle_LK)[:, None], jnp.sin(angle_LK)[:, None]
    x = x_BLHK.astype(jnp.float32)
    first, second = (x[..., ::2], x[..., 1::2]) if neighbours else jnp.split(x, 2, axis=-1)
    turned = (first * cosine_LHK - second * sine_LHK, second * cosine_LHK + first * sine_LHK)
    y = jnp.stack(turned, axis=-1) if neighbours else jnp.concatenate(turned, axis=-1)
    return y.reshape(x.shape).astype(x_BLHK.dtype)


def relative_buckets(
    offsets: jax.Array, buckets: int, max_distance: int, bidirectional: bool
) -> jax.Array:
    """T5's numbers of the distances between keys and queries: int32, the shape of `offsets`.

    The first half of the numbers are distances of their own, the others grow as the logarithm up to
    max_distance, and what is farther has the last. With `bidirectional` keys behind the query have
    half of all numbers; without, they all have 0, the number of the query itself. The rounding is
    that of float32. Source: tensorflow/mesh transformer_layers.py.

    Args:
      offsets: int, the key's place less the query's.
      buckets: how many numbers there are.
      max_distance: more than half of the numbers of one direction.
      bidirectional: whether queries see keys behind them.
    """
    each = buckets // 2 if bidirectional else buckets
    exact = each // 2
    # A table of all distances, so that every device rounds alike.
    distance = np.arange(max_distance + 1)
    times = (np.maximum(distance, exact) / exact).astype(np.float32)
    share = np.log(times) / np.float32(np.log(max_distance / exact))
    large = np.minimum(exact + (share * (each - exact)).astype(np.int32), each - 1)
    table = jnp.asarray(np.where(distance < exact, distance, large).astype(np.int32))
    far = jnp.abs(offsets) if bidirectional else jnp.maximum(-offsets, 0)
    found = table[jnp.minimum(far, max_distance)]
    return found + each * (offsets > 0) if bidirectional else found


def along_diagonals(values_HW: jax.Array, length: int) -> jax.Array:
    """A matrix [H, L, M] with one value a diagonal: that of i, j is number j - i + L - 1.

    It is cut from copies of the row that lie one after the other, which takes no gather, and its
    gradient no scatter.

    Args:
      values_HW: of W = L + M - 1 diagonals, from the lower left to the upper right.
      length: L.
    """
    heads, width = values_HW.shape
    rows_HLW = jnp.broadcast_to(
        jnp.pad(values_HW, ((0, 0), (0, 1)))[:, None], (heads, length, width + 1)
    )
    flat = rows_HLW.reshape(heads, -1)[:, length - 1 :][:, : length * width]
    return flat.reshape(heads, length, width)[:, :, : width - length + 1]
