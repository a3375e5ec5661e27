"""Dense layers."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from plmjax.nn.initializers import named
from plmjax.parallel.rules import RESIDUAL_LENGTH, ways


def dense(
    features: int | Sequence[int],
    kernel_axes: Sequence[str],
    bias_axes: Sequence[str],
    init: Initializer,
    dtype: DTypeLike,
    name: str | None = None,
    bias: bool = True,
) -> nn.DenseGeneral:
    """A projection of the last axes of [B, L, ...] to `features`.

    Args:
      features: the new axes.
      kernel_axes: logical names of the kernel's axes: those that are contracted, then `features`.
      bias_axes: logical names of the bias's axes.
      init: of the kernel; the bias starts at zero.
      dtype: of the product; parameters are float32.
      name: of the subtree of parameters.
      bias: whether it has one.
    """
    contracted = len(kernel_axes) - len(bias_axes)
    return nn.DenseGeneral(
        features,
        use_bias=bias,
        axis=tuple(range(-contracted, 0)),
        dtype=dtype,
        param_dtype=jnp.float32,
        kernel_init=named(init, *kernel_axes),
        bias_init=named(nn.initializers.zeros, *bias_axes),
        dot_general=_dot_general_of_rows,
        name=name,
    )


def _dot_general_of_rows(
    lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, **options: Any
) -> jax.Array:
    """`lax.dot_general` for [B, L, ...] with a kernel, computed on [B * L, ...].

    With one leading axis the gradient of the kernel contracts one axis and not two, which XLA on
    CPU does without transposing its operands first: the backward pass of a feed-forward layer
    takes 0.6 of the time. Elsewhere merging the leading axes is free, unless L is split: the merged
    axis of two that are could not be laid out on the mesh, and every device would compute it all.
    """
    if ways(RESIDUAL_LENGTH) > 1:
        return jax.lax.dot_general(lhs, rhs, dimension_numbers, **options)
    (contracted, kernel_axes), _ = dimension_numbers
    leading = lhs.shape[: lhs.ndim - len(contracted)]
    rows = lhs.reshape(-1, *lhs.shape[len(leading) :])
    axes = tuple(range(1, rows.ndim))
    out = jax.lax.dot_general(rows, rhs, ((axes, kernel_axes), ((), ())), **options)
    return out.reshape(*leading, *out.shape[1:])
