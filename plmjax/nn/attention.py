"""Self-attention."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from plmjax.nn.dense import dense
from plmjax.nn.initializers import bert_normal
from plmjax.nn.norms import dropout
from plmjax.parallel.rules import BATCH, EMBED, HEAD_WIDTH, HEADS, LENGTH, WIDTH, constrain


@flax.struct.dataclass
class Visible:
    """Which keys a query may attend to.

    mask_BL: int, 1 for keys that may be attended to, 0 for padding.
    segments_BL: int, of keys and queries: only within the same number; None for all.
    """

    mask_BL: jax.Array
    segments_BL: jax.Array | None = None

    def adder(self, mask_value: float) -> jax.Array:
        """What is added to scores: float32 [B, 1, L] or, with segments, [B, L, L] (query, key)."""
        is_visible = self.mask_BL[:, None, :] == 1
        if self.segments_BL is not None:
            queries_BL1, keys_B1L = self.segments_BL[:, :, None], self.segments_BL[:, None, :]
            is_visible = is_visible & (queries_BL1 == keys_B1L)
        return jnp.where(is_visible, 0.0, mask_value)


class SelfAttention(nn.Module):
    """Multi-head self-attention with biased projections, as in BERT.

    Scores and softmax are float32. Keys that are not visible get `mask_value` added; padded
    queries are computed like any other and nobody looks at them.
    """

    num_heads: int
    head_size: int
    dropout_rate: float
    initializer_range: float
    mask_value: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BLD: jax.Array, visible: Visible, train: bool) -> jax.Array:
        """Attends within each row.

        Args:
          x_BLD: float, `dtype`.
          visible: which keys may be attended to.
          train: whether dropout is on; needs the rng `dropout`.

        Returns:
          float [B, L, D], `dtype`, after the output projection.
        """
        B, L, D = x_BLD.shape
        init, axes = bert_normal(self.initializer_range), (HEADS, HEAD_WIDTH)
        # Once, so that the backward pass keeps one copy for the three projections.
        x_ND = x_BLD.reshape(B * L, D)

        def project(name: str) -> jax.Array:
            features = (self.num_heads, self.head_size)
            heads_NHK = dense(features, (EMBED, *axes), axes, init, self.dtype, name)(x_ND)
            return constrain(heads_NHK.reshape(B, L, *features), BATCH, LENGTH, *axes)

        query_BLHK, key_BLHK, value_BLHK = project("query"), project("key"), project("value")
        scores_BHLL = jnp.einsum(
            "BLHK,BMHK->BHLM", query_BLHK, key_BLHK, preferred_element_type=jnp.float32
        )
        scores_BHLL = scores_BHLL * self.head_size**-0.5
        adder_BLL = visible.adder(self.mask_value)
        probabilities_BHLL = jax.nn.softmax(scores_BHLL + adder_BLL[:, None])
        probabilities_BHLL = probabilities_BHLL.astype(self.dtype)
        probabilities_BHLL = dropout(probabilities_BHLL, self.dropout_rate, self, train)
        mixed_BLHK = jnp.einsum("BHLM,BMHK->BLHK", probabilities_BHLL, value_BLHK)
        return dense(D, (*axes, EMBED), (WIDTH,), init, self.dtype, "output")(mixed_BLHK)
