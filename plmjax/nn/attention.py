"""Self-attention."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.nn.dense import dense
from plmjax.nn.initializers import bert_normal
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout
from plmjax.nn.positions import functional_positions
from plmjax.parallel.rules import BATCH, EMBED, HEAD_WIDTH, HEADS, LENGTH, WIDTH, constrain


@flax.struct.dataclass
class Visible:
    """Which keys a query may attend to.

    mask_BL: int, 1 for keys that may be attended to, 0 for padding.
    segments_BL: int, of keys and queries: only within the same number; None for all.
    causal: whether only keys at or before the query's place.
    """

    mask_BL: jax.Array
    segments_BL: jax.Array | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=False)

    def adder(self, mask_value: float) -> jax.Array:
        """What is added to scores: float32 [B, 1 or L, L] (query, key)."""
        is_visible = self.mask_BL[:, None, :] == 1
        if self.segments_BL is not None:
            queries_BL1, keys_B1L = self.segments_BL[:, :, None], self.segments_BL[:, None, :]
            is_visible = is_visible & (queries_BL1 == keys_B1L)
        if self.causal:
            place_L = jnp.arange(self.mask_BL.shape[1])
            is_visible = is_visible & (place_L[:, None] >= place_L)
        return jnp.where(is_visible, 0.0, mask_value)


class SelfAttention(nn.Module):
    """Multi-head self-attention with biased projections, as in BERT.

    Scores and softmax are float32. Keys that are not visible get `mask_value` added; padded
    queries are computed like any other and nobody looks at them. With `max_relative` every key and
    value gets the vector of its place relative to the query (NEZHA, `functional_positions`).
    """

    settings: LayerSettings

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
        s = self.settings
        B, L, D = x_BLD.shape
        init, axes = bert_normal(s.initializer_range), (HEADS, HEAD_WIDTH)
        # Once, so that the backward pass keeps one copy for the three projections.
        x_ND = x_BLD.reshape(B * L, D)

        def project(name: str) -> jax.Array:
            features = (s.num_heads, s.head_size)
            heads_NHK = dense(features, (EMBED, *axes), axes, init, s.dtype, name)(x_ND)
            return constrain(heads_NHK.reshape(B, L, *features), BATCH, LENGTH, *axes)

        query_BLHK, key_BLHK, value_BLHK = project("query"), project("key"), project("value")
        scores_BHLL = jnp.einsum(
            "BLHK,BMHK->BHLM", query_BLHK, key_BLHK, preferred_element_type=jnp.float32
        )
        relative_LMK = None
        if s.max_relative:
            relative_LMK = functional_positions(L, s.max_relative, s.head_size).astype(s.dtype)
            scores_BHLL += jnp.einsum(
                "BLHK,LMK->BHLM", query_BLHK, relative_LMK, preferred_element_type=jnp.float32
            )
        scores_BHLL = scores_BHLL * s.head_size**-0.5
        adder_BLL = visible.adder(s.mask_value)
        probabilities_BHLL = jax.nn.softmax(scores_BHLL + adder_BLL[:, None])
        probabilities_BHLL = probabilities_BHLL.astype(s.dtype)
        probabilities_BHLL = dropout(probabilities_BHLL, s.attention_dropout, self, train)
        mixed_BLHK = jnp.einsum("BHLM,BMHK->BLHK", probabilities_BHLL, value_BLHK)
        if relative_LMK is not None:
            mixed_BLHK += jnp.einsum("BHLM,LMK->BLHK", probabilities_BHLL, relative_LMK)
        out = bert_normal(s.residual_range)
        return dense(D, (*axes, EMBED), (WIDTH,), out, s.dtype, "output")(mixed_BLHK)
