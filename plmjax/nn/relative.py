"""Transformer-XL's relative positions (Dai et al. 2019): a projection of sinusoids of distances."""

import jax
import jax.numpy as jnp


def distance_sinusoids(distances_P: jax.Array, width: int) -> jax.Array:
    """A vector of each distance: float32 [P, D], all sines and then all cosines.

    Args:
      distances_P: int or float, query less key.
      width: D, even.
    """
    frequencies = 10000.0 ** (-jnp.arange(0, width, 2) / width)
    angles = distances_P[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def shifted(scores_BHLP: jax.Array, keys: int) -> jax.Array:
    """From scores of distances to scores of keys: [B, H, L, M], out[i, j] = scores[i, L - i + j].

    Column p of the argument is the distance M - p of a query from a key, where the L queries are
    the last of M places. Each row is cut out one place after that of the query before; the reshapes
    do it without a gather (`rel_shift` of kimiyoung/transformer-xl).

    Args:
      scores_BHLP: of P = M + L distances.
      keys: M.
    """
    *heads, length, distances = scores_BHLP.shape
    turned = scores_BHLP.reshape(*heads, distances, length)[..., 1:, :]
    return turned.reshape(*heads, length, distances - 1)[..., :keys]


def shifted_at(scores_BHTP: jax.Array, places_BT: jax.Array, keys: int) -> jax.Array:
    """`shifted` for some queries only: [B, H, T, M].

    Args:
      scores_BHTP: as of `shifted`.
      places_BT: int, which of the L queries each is.
      keys: M.
    """
    starts_BT = scores_BHTP.shape[-1] - keys - places_BT

    def cut(scores_HP: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(scores_HP, start, keys, axis=1)

    of_queries = jax.vmap(cut, in_axes=(1, 0), out_axes=1)
    return jax.vmap(of_queries)(scores_BHTP, starts_BT)
