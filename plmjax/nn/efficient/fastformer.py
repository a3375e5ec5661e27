"""Fastformer's additive attention (Wu et al. 2021), as in the notebook of wuch15/Fastformer."""

import jax
import jax.numpy as jnp

from plmjax.nn.attention import Attention
from plmjax.nn.dense import dense
from plmjax.nn.efficient.refuse import refuse
from plmjax.nn.initializers import kernel_init
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import (
    BATCH,
    HEAD_WIDTH,
    HEADS,
    LENGTH,
    SCORES,
    WIDTH,
    constrain,
)
from plmjax.types import Train


class FastformerAttention(Attention):
    """The queries' weighted mean times every key; the mean of that times every query.

    The queries are the values too, and are added to the result of `transform`, before the
    projection that all kinds end with. Weights of a head are scores of the whole query or key, of
    all heads, unlike in the paper. They have no dropout, as in the notebook.
    """

    projects_values = False

    def mix_from(
        self,
        x_BLD: jax.Array,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """As of `Attention`; time and memory grow as L."""
        s = self.settings
        refuse(s, visible)

        def mean(name: str, x_BLHK: jax.Array) -> jax.Array:
            axes, init = (HEADS, HEAD_WIDTH, SCORES), kernel_init(s, s.num_heads * s.head_size)
            score = dense(s.num_heads, axes, (SCORES,), init, s.dtype, name, s.bias)
            scores_BLH = score(x_BLHK).astype(jnp.float32) * s.head_size**-0.5
            adder_BL1 = visible.adder(1, s.mask_value)[:, 0, :, None]
            weights_BLH = jax.nn.softmax(scores_BLH + adder_BL1, axis=1).astype(s.dtype)
            return jnp.einsum("BLH,BLHK->BHK", weights_BLH, x_BLHK)

        query_BHK = mean("query_score", query_BLHK)
        key_BHK = mean("key_score", key_BMHK * query_BHK[:, None])
        width, axes = s.num_heads * s.head_size, (HEADS, HEAD_WIDTH, WIDTH)
        transform = dense(
            width, axes, (WIDTH,), kernel_init(s, width), s.dtype, "transform", s.bias
        )
        mixed_BLD = transform(key_BHK[:, None] * query_BLHK)
        mixed_BLHK = constrain(
            mixed_BLD.reshape(query_BLHK.shape), BATCH, LENGTH, HEADS, HEAD_WIDTH
        )
        return mixed_BLHK + query_BLHK
