"""Embedding tables."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from plmjax.nn.initializers import bert_normal, named
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, VOCAB, constrain, ways

NEVER = -1e9
"""The logit of a vocabulary entry that is only padding. Finite, so that 0 * NEVER is 0."""


class TokenTable(nn.Module):
    """A token embedding table that doubles as the output projection.

    The table has `vocab_size` rows rounded up to `multiple`, which keeps matrix products aligned
    and lets the vocabulary be split over devices. The extra rows start at zero and get no
    gradient, and their logits are NEVER, so they cannot be chosen. `make_init` makes the
    initialiser from `initializer_range`.
    """

    vocab_size: int
    width: int
    multiple: int
    initializer_range: float
    dtype: DTypeLike
    make_init: Callable[[float], Initializer] = bert_normal

    @property
    def rows(self) -> int:
        """V with padding: how many rows the table has and how many logits there are."""
        return -(-self.vocab_size // self.multiple) * self.multiple

    def setup(self):
        self.embedding = self.param(
            "embedding",
            named(self._padded(self.make_init(self.initializer_range)), VOCAB, EMBED),
            (self.rows, self.width),
            jnp.float32,
        )

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Looks up ids, int [...]: float [..., D] in `dtype`.

        Where rows are split over devices, each looks up what it has and takes zeros for the rest,
        and the sum is the result: the table stays where it is, and so does its gradient. Source:
        Megatron-LM (Shoeybi et al. 2019), vocabulary-parallel embedding.
        """
        parts = ways(VOCAB, EMBED)
        if parts == 1:
            return self.embedding[ids].astype(self.dtype)
        # Left to itself, XLA gathers the table where there are fewer rows than ids.
        rows = self.rows // parts
        table_PRD = self.embedding.reshape(parts, rows, self.width)
        table_PRD = constrain(table_PRD, VOCAB, None, EMBED)
        found_PD = table_PRD[:, ids % rows].astype(self.dtype)  # [P, ..., D]
        is_own_P1 = ids // rows == jnp.arange(parts).reshape(-1, *(1,) * ids.ndim)
        return jnp.where(is_own_P1[..., None], found_PD, 0).sum(0)

    def logits(self, x_BMD: jax.Array, bias_V: jax.Array | float = 0.0) -> jax.Array:
        """Scores of every token: float32 [B, M, V], V padded."""
        table_VD = self.embedding.astype(self.dtype)
        logits_BMV = jnp.einsum("BMD,VD->BMV", x_BMD, table_VD, preferred_element_type=jnp.float32)
        real_V = jnp.arange(table_VD.shape[0]) < self.vocab_size
        return constrain(jnp.where(real_V, logits_BMV + bias_V, NEVER), BATCH, LENGTH, VOCAB)

    def _padded(self, init: Initializer) -> Initializer:
        def padded_init(key, shape, dtype):
            rows_VD = init(key, (self.vocab_size, shape[1]), dtype)
            return jnp.pad(rows_VD, ((0, shape[0] - self.vocab_size), (0, 0)))

        return padded_init
