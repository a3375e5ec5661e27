"""Normalisation layers, and dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from plmjax.nn.initializers import named
from plmjax.parallel.rules import WIDTH
from plmjax.types import Train


def layer_norm(
    epsilon: float, dtype: DTypeLike, name: str | None = None, bias: bool = True
) -> nn.LayerNorm:
    """Layer normalisation over the last axis, statistics in float32, output in `dtype`.

    The variance is the mean of squared deviations: with an epsilon of 1e-12, E[x^2] - E[x]^2
    loses too much. The backward pass keeps the input and computes the statistics again.
    """
    return nn.remat(nn.LayerNorm, prevent_cse=False)(
        epsilon=epsilon,
        dtype=dtype,
        param_dtype=jnp.float32,
        use_bias=bias,
        use_fast_variance=False,
        scale_init=named(nn.initializers.ones, WIDTH),
        bias_init=named(nn.initializers.zeros, WIDTH),
        name=name,
    )


def unbiased_norm(epsilon: float, dtype: DTypeLike, name: str | None = None) -> nn.LayerNorm:
    """`layer_norm` with a scale and no bias."""
    return layer_norm(epsilon, dtype, name, bias=False)


def rms_norm(epsilon: float, dtype: DTypeLike, name: str | None = None) -> nn.RMSNorm:
    """Division by the root of the mean square, in float32, and a scale: no mean, no bias (T5)."""
    return nn.remat(nn.RMSNorm, prevent_cse=False)(
        epsilon=epsilon,
        dtype=dtype,
        param_dtype=jnp.float32,
        scale_init=named(nn.initializers.ones, WIDTH),
        name=name,
    )


class NoNorm(nn.Module):
    """A scale and a bias for each element in place of a norm, without statistics (MobileBERT)."""

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Float [..., D] to the same in `dtype`."""
        shape = x.shape[-1:]
        scale_D = self.param("scale", named(nn.initializers.ones, WIDTH), shape, jnp.float32)
        bias_D = self.param("bias", named(nn.initializers.zeros, WIDTH), shape, jnp.float32)
        return (x * scale_D + bias_D).astype(self.dtype)


def no_norm(epsilon: float, dtype: DTypeLike, name: str | None = None) -> NoNorm:
    """`NoNorm`; there is nothing that an epsilon could be added to."""
    return NoNorm(dtype, name=name)


NORMS = {"layer": layer_norm, "unbiased": unbiased_norm, "rms": rms_norm, "no_norm": no_norm}
"""By the names that configs use."""


def dropout(x: jax.Array, rate: float, module: nn.Module, train: Train) -> jax.Array:
    """Zeroes each element of `x` with probability `rate`, and scales the rest to keep the mean.

    The mask is drawn from 16 random bits an element, half of what a float32 uniform takes, which
    makes the probability a multiple of 2**-16 (0.1 becomes 0.10001).

    Args:
      x: float [B, ...].
      rate: 0 to 1.
      module: whose rng `dropout` is used, folded with the number of each row.
      train: False for none, else which rows.
    """
    if train is False or rate == 0.0:
        return x
    keep = round((1.0 - rate) * 2**16)
    key = module.make_rng("dropout")
    rows_B = jnp.arange(len(x)) if train is True else train
    keys_B = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows_B)
    bits = jax.vmap(lambda key: jax.random.bits(key, x.shape[1:], jnp.uint16))(keys_B)
    kept = bits < jnp.uint16(keep) if keep < 2**16 else jnp.ones(x.shape, bool)
    return jnp.where(kept, x / jnp.asarray(keep / 2**16, x.dtype), jnp.zeros((), x.dtype))
