"""What is done to scores before a token is taken: pure functions of logits, float32 [B, V].

A token that may not be taken gets -inf. Each equals the class of the same purpose in transformers,
generation/logits_process.py, but that padding in front of a prompt is not a part of it.
"""

import jax
import jax.numpy as jnp

NOT = -jnp.inf


def without_ends(logits_BV: jax.Array, ends: tuple[int, ...], allowed: jax.Array) -> jax.Array:
    """No token that ends a text, unless `allowed`: bool scalar, or [B, 1]."""
    is_end_V = jnp.isin(jnp.arange(logits_BV.shape[1]), jnp.asarray(ends, jnp.int32))
    return jnp.where(is_end_V & ~allowed, NOT, logits_BV)


def forced(logits_BV: jax.Array, token: int, now: jax.Array) -> jax.Array:
    """That token alone, with a score of 0, where `now`: bool scalar."""
    is_token_V = jnp.arange(logits_BV.shape[1]) == token
    return jnp.where(now, jnp.where(is_token_V, 0.0, NOT), logits_BV)


def penalised(logits_BV: jax.Array, seen_BV: jax.Array, penalty: jax.Array) -> jax.Array:
    """Scores of tokens that have been are divided by `penalty`, those below 0 multiplied."""
    lower_BV = jnp.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty)
    return jnp.where(seen_BV, lower_BV, logits_BV)


def pushed_out(
    logits_BV: jax.Array, taken_BV: jax.Array, penalty: jax.Array, spared: tuple[int, ...]
) -> jax.Array:
    """Log-probabilities, those of tokens that were taken multiplied by `penalty`, but of `spared`.

    Source: the code released with Yuefu (Liao et al. 2019), whose penalty is 1000: since they are
    below 0, what was taken is behind all others, unless it is all but certain.
    """
    log_BV = jax.nn.log_softmax(logits_BV)
    is_spared_V = jnp.isin(jnp.arange(logits_BV.shape[1]), jnp.asarray(spared, jnp.int32))
    return jnp.where(taken_BV & ~is_spared_V, log_BV * penalty, log_BV)


def without(logits_BV: jax.Array, banned: tuple[int, ...]) -> jax.Array:
    """None of these tokens."""
    is_banned_V = jnp.isin(jnp.arange(logits_BV.shape[1]), jnp.asarray(banned, jnp.int32))
    return jnp.where(is_banned_V, NOT, logits_BV)


def without_repeats(
    logits_BV: jax.Array, tokens_BM: jax.Array, begin_B: jax.Array, end: jax.Array, size: int
) -> jax.Array:
    """No token that would end a row of `size` tokens which has been before.

    Args:
      logits_BV: float32.
      tokens_BM: int, the texts so far, from place begin_B up to `end`, int scalar.
      begin_B, end: places.
      size: at least 1.
    """
    rows, places = tokens_BM.shape
    if places < size:
        return logits_BV
    last = jax.lax.dynamic_slice_in_dim(tokens_BM, end + 1 - size, size - 1, axis=1)
    starts_W = jnp.arange(places - size + 1)
    matches_BW = (starts_W >= begin_B[:, None]) & (starts_W + size <= end)
    for i in range(size - 1):
        matches_BW &= tokens_BM[:, i : i + len(starts_W)] == last[:, i : i + 1]
    # What does not match is written behind the last token, where nobody looks.
    vocabulary = logits_BV.shape[1]
    banned_BW = jnp.where(matches_BW, tokens_BM[:, size - 1 :], vocabulary)
    row_B1 = jnp.arange(rows)[:, None]
    is_banned_BV = jnp.zeros(logits_BV.shape, bool).at[row_B1, banned_BW].set(True, mode="drop")
    return jnp.where(is_banned_BV, NOT, logits_BV)


def top_k(logits_BV: jax.Array, count: int) -> jax.Array:
    """The `count` best tokens, and those that tie with the last of them."""
    best_BK, _ = jax.lax.top_k(logits_BV, min(count, logits_BV.shape[1]))
    return jnp.where(logits_BV < best_BK[:, -1:], NOT, logits_BV)


def top_p(logits_BV: jax.Array, p: jax.Array, rule: str = "huggingface") -> jax.Array:
    """The best tokens whose probabilities sum to p (Holtzman et al. 2020).

    Args:
      logits_BV: float32.
      p: in (0, 1].
      rule: `huggingface` keeps the token that crosses p; `gpt2` (openai/gpt-2 sample.py) does not,
        but always keeps the best. Of tokens of equal probability at the border all are kept with
        the first and none with the second, where the originals keep some, or all.
    """
    probabilities_BV = jax.nn.softmax(logits_BV)
    order_BV = _ordered(probabilities_BV)
    if rule == "huggingface":
        kept_BV = order_BV >= _border(order_BV, probabilities_BV, p)
    else:
        kept_BV = order_BV >= _border(order_BV, probabilities_BV, p, inclusive=True)
        kept_BV |= logits_BV == logits_BV.max(1, keepdims=True)
    return jnp.where(kept_BV, logits_BV, NOT)


def typical(logits_BV: jax.Array, mass: jax.Array) -> jax.Array:
    """The tokens whose information is closest to the entropy, until they sum to `mass`.

    Source: Meister et al. 2022, Locally Typical Sampling.
    """
    log_BV = jax.nn.log_softmax(logits_BV)
    probabilities_BV = jnp.exp(log_BV)
    terms_BV = jnp.where(probabilities_BV > 0, probabilities_BV * log_BV, 0.0)
    entropy_B1 = -terms_BV.sum(1, keepdims=True)
    distance_BV = jnp.abs(-log_BV - entropy_B1)
    order_BV = _ordered(jnp.float32(jnp.inf)) - _ordered(distance_BV)
    kept_BV = order_BV >= _border(order_BV, probabilities_BV, mass)
    return jnp.where(kept_BV, logits_BV, NOT)


def _ordered(x: jax.Array) -> jax.Array:
    """Integers in the order of floats that are not below 0: uint32."""
    return jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)


def _border(
    order_BV: jax.Array, weights_BV: jax.Array, mass: jax.Array, inclusive: bool = False
) -> jax.Array:
    """The least number above which there is less weight than `mass`: uint32 [B, 1].

    Those at it count with those above where `inclusive`, and may then make up all of the mass.
    Found bit by bit, which takes 31 sums over the row and no sort: on accelerators a sort of a
    vocabulary takes far longer, on CPUs too.

    Args:
      order_BV: uint32, below 2^31.
      weights_BV: float32.
      mass: float scalar.
    """

    def is_enough(at_B1: jax.Array) -> jax.Array:
        if inclusive:
            above_BV = jnp.where(order_BV >= at_B1, weights_BV, 0.0)
            return above_BV.sum(1, keepdims=True) <= mass
        above_BV = jnp.where(order_BV > at_B1, weights_BV, 0.0)
        return above_BV.sum(1, keepdims=True) < mass

    def with_bit(index: jax.Array, below_B1: jax.Array) -> jax.Array:
        # The largest number at which there is too much weight above; the border is the next.
        next_B1 = below_B1 | (jnp.uint32(1) << (30 - index).astype(jnp.uint32))
        return jnp.where(is_enough(next_B1), below_B1, next_B1)

    zero_B1 = jnp.zeros((len(order_BV), 1), jnp.uint32)
    found_B1 = jax.lax.fori_loop(0, 31, with_bit, zero_B1)
    return jnp.where(is_enough(found_B1), found_B1, found_B1 + 1)
