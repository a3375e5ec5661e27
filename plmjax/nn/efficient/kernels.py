"""Attention by a kernel of features: sums over keys in place of a softmax over scores.

Each query weighs each key by the product of their features, which are not negative. Sums over keys
can then be made once for all queries.
"""

import jax
import jax.numpy as jnp

CHUNK = 128
"""Of places that a causal sum scores one by one."""


def all_keys(
    query_BLHF: jax.Array, key_BMHF: jax.Array, value_BMHK: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Every query sees every key: what `quadratic` gives, in time L * F * K.

    Args:
      query_BLHF: float32, features of queries.
      key_BMHF: float32, features of keys; 0 for those that nobody may look at.
      value_BMHK: float; its dtype is that of the products.

    Returns:
      The weighted sums of values [B, L, H, K] and the sums of weights [B, L, H], float32.
    """
    dtype = value_BMHK.dtype
    sum_BHKF = _product("BMHF,BMHK->BHKF", key_BMHF, value_BMHK, dtype)
    above_BLHK = _product("BLHF,BHKF->BLHK", query_BLHF, sum_BHKF, dtype)
    return above_BLHK, jnp.einsum("BLHF,BHF->BLH", query_BLHF, key_BMHF.sum(1))


def keys_before(
    query_BLHF: jax.Array, key_BLHF: jax.Array, value_BLHK: jax.Array, chunk: int = CHUNK
) -> tuple[jax.Array, jax.Array]:
    """Every query sees the keys up to its own place; arguments and result as of `all_keys`.

    Sums over the chunks before are kept, which takes L * F * K / chunk, and within a chunk every
    pair is scored, which takes L * chunk.
    """
    length, dtype = query_BLHF.shape[1], value_BLHK.dtype
    size = min(chunk, length)

    def cut(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, 0), (0, -length % size), (0, 0), (0, 0)])
        return padded.reshape(x.shape[0], -1, size, *x.shape[2:])

    query_BnSHF, key_BnSHF, value_BnSHK = cut(query_BLHF), cut(key_BLHF), cut(value_BLHK)
    sums_BnHKF = _before(_product("BnSHF,BnSHK->BnHKF", key_BnSHF, value_BnSHK, dtype))
    sums_BnHF = _before(key_BnSHF.sum(2))
    weights_BnHSJ = _product("BnSHF,BnJHF->BnHSJ", query_BnSHF, key_BnSHF, dtype)
    weights_BnHSJ = jnp.where(jnp.tri(size, dtype=bool), weights_BnHSJ, 0.0)
    above_BnSHK = _product("BnHSJ,BnJHK->BnSHK", weights_BnHSJ, value_BnSHK, dtype)
    above_BnSHK += _product("BnSHF,BnHKF->BnSHK", query_BnSHF, sums_BnHKF, dtype)
    below_BnSH = jnp.moveaxis(weights_BnHSJ.sum(-1), 2, 3)
    below_BnSH += jnp.einsum("BnSHF,BnHF->BnSH", query_BnSHF, sums_BnHF)
    above_BLHK, below_BLH = (
        x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length] for x in (above_BnSHK, below_BnSH)
    )
    return above_BLHK, below_BLH


def quadratic(
    query_BLHF: jax.Array, key_BMHF: jax.Array, value_BMHK: jax.Array, allowed_BLM: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Every query sees the keys it is allowed to, bool [B, 1 or L, M], and every pair is scored.

    For a few queries after a cache of keys; arguments and result else as of `all_keys`.
    """
    dtype = value_BMHK.dtype
    weights_BHLM = _product("BLHF,BMHF->BHLM", query_BLHF, key_BMHF, dtype)
    weights_BHLM = jnp.where(allowed_BLM[:, None], weights_BHLM, 0.0)
    above_BLHK = _product("BHLM,BMHK->BLHK", weights_BHLM, value_BMHK, dtype)
    return above_BLHK, jnp.moveaxis(weights_BHLM.sum(-1), 1, 2)


def _before(x_Bn: jax.Array) -> jax.Array:
    """Sums over the chunks before each."""
    return jnp.pad(jnp.cumsum(x_Bn[:, :-1], axis=1), [(0, 0), (1, 0)] + [(0, 0)] * (x_Bn.ndim - 2))


def _product(equation: str, a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Of arrays in `dtype`, summed in float32."""
    a, b = a.astype(dtype), b.astype(dtype)
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)
