"""The types that every room shares: a batch, and the loss an objective makes of it."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

Batch = Mapping[str, jax.Array]
"""Named arrays, each with the (global) batch on axis 0."""

OF_TYPE = "/"
"""Between a type and a figure of it alone, in the names of scores: `PER/f1`."""

OVERFLOW = "overflow"
"""Batch key, int [B]: targets that the masking wanted and that found no slot. Objectives do not see
it; the metric of the same name is its mean over examples."""

Train = bool | jax.Array
"""Whether dropout is on: False, or int [B], the number of each row in the batch of the update, by
which its dropout is drawn, so that it is the same however the batch is cut into microbatches and
laid out on devices. True numbers the rows from 0."""

Spec = Mapping[str, tuple[tuple[int, ...], Any]]
"""Shape and dtype of each array of a batch."""


@flax.struct.dataclass
class Mean:
    """A weighted sum and its weight, both float32 scalars, so that means add exactly.

    Adding the parts of a batch (microbatches, hosts, evaluation batches) and dividing once gives
    the mean over all of it; means of means do not.
    """

    sum: jax.Array
    weight: jax.Array

    @classmethod
    def of(cls, values: jax.Array, weights: jax.Array) -> "Mean":
        """The weighted sum of `values` (any shape) with `weights` (same shape)."""
        weights = weights.astype(jnp.float32)
        return cls((values.astype(jnp.float32) * weights).sum(), weights.sum())

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.sum + other.sum, self.weight + other.weight)

    def value(self) -> jax.Array:
        """The mean; 0 where nothing had weight."""
        return self.sum / jnp.maximum(self.weight, 1e-5)


@flax.struct.dataclass
class Loss:
    """What an objective returns for a batch or a part of one.

    The loss is the sum over `terms` of each term's mean times its factor: BERT's is the mean over
    masked positions plus the mean over sentence pairs, which no single weight can express.
    `metrics` are reported and not differentiated. Keys must not depend on the data; neither may a
    term's weight depend on the parameters. Terms are reported without their `factors`, which are
    pairs of a name and a number; a term that is not among them has 1.
    """

    terms: dict[str, Mean]
    metrics: dict[str, Mean]
    factors: tuple[tuple[str, float], ...] = flax.struct.field(pytree_node=False, default=())

    def total(self, weights: Mapping[str, jax.Array] | None = None) -> jax.Array:
        """The loss, float32 scalar.

        `weights`: each term's, by which its sum is divided, where this is a part of a batch; None
        for a whole one.
        """
        factors = dict(self.factors)
        means = {
            name: term.value() if weights is None else Mean(term.sum, weights[name]).value()
            for name, term in self.terms.items()
        }
        return sum(factors.get(name, 1.0) * mean for name, mean in means.items())

    def __add__(self, other: "Loss") -> "Loss":
        return jax.tree.map(jnp.add, self, other)
