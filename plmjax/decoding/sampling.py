"""Drawing tokens."""

import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 128
"""Tokens of the vocabulary that are looked at together."""


def prompt_number(prompt: Sequence[int]) -> int:
    """A number of the tokens of a prompt, below 2^32.

    It makes draws for different prompts independent of each other with the same seed.
    """
    return zlib.crc32(np.asarray(prompt, "<i4").tobytes())


def row_keys(seeds_B: jax.Array, prompts_B: jax.Array, samples_B: jax.Array) -> jax.Array:
    """The key of each text: of nothing that depends on what is decoded beside it.

    Args:
      seeds_B: uint32. prompts_B: uint32, see `prompt_number`. samples_B: int, the number of the
        text among those of its prompt.
    """

    def key(seed: jax.Array, prompt: jax.Array, sample: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), prompt), sample)

    return jax.vmap(key)(seeds_B, prompts_B, samples_B)


def best(logits_BV: jax.Array) -> jax.Array:
    """The token of each row that has the highest score, the first of those that tie: int32 [B].

    By blocks, whose maxima vectorise: on CPUs a plain argmax takes forty times as long.
    """
    blocks_BWX = _blocks(logits_BV, -jnp.inf)
    highest_BW = blocks_BWX.max(2)
    block_B = highest_BW.argmax(1)
    inside_BX = jnp.take_along_axis(blocks_BWX, block_B[:, None, None], axis=1)[:, 0]
    return (block_B * BLOCK + inside_BX.argmax(1)).astype(jnp.int32)


def drawn(logits_BV: jax.Array, keys_B: jax.Array, step: jax.Array) -> jax.Array:
    """A token for each row by the probabilities of its scores: int32 [B].

    By the inverse of the distribution function, in two steps: a block of the vocabulary, and a
    token in it. A draw for each token (the Gumbel maximum) takes as many random numbers as there
    are scores, which takes longer than the layers of a small model.

    Args:
      logits_BV: float32; -inf is never drawn.
      keys_B: see `row_keys`.
      step: int scalar, the number of the token.
    """
    uniform_B2 = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, step), (2,)))(
        keys_B
    )
    weights_BWX = _blocks(jnp.exp(logits_BV - logits_BV.max(1, keepdims=True)), 0.0)
    block_B = _at(weights_BWX.sum(2), uniform_B2[:, 0])
    inside_BX = jnp.take_along_axis(weights_BWX, block_B[:, None, None], axis=1)[:, 0]
    return block_B * BLOCK + _at(inside_BX, uniform_B2[:, 1])


def _blocks(x_BV: jax.Array, filler: float) -> jax.Array:
    """[B, W, BLOCK], with `filler` behind the last."""
    rows, vocabulary = x_BV.shape
    padding = ((0, 0), (0, -vocabulary % BLOCK))
    return jnp.pad(x_BV, padding, constant_values=filler).reshape(rows, -1, BLOCK)


def _at(weights_BX: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """Where each row's sum of weights passes a share of all of it: int32 [B], of a weight above 0.

    Args:
      weights_BX: float32, not all 0.
      uniform_B: float32, in [0, 1).
    """
    sums_BX = jnp.cumsum(weights_BX, axis=1)
    at_B = (sums_BX <= uniform_B[:, None] * sums_BX[:, -1:]).sum(1)
    # A share that is rounded up to all of it would pass nowhere.
    places_X = jnp.arange(weights_BX.shape[1])
    last_B = jnp.where(weights_BX > 0, places_X, 0).max(1)
    return jnp.minimum(at_B, last_B).astype(jnp.int32)
