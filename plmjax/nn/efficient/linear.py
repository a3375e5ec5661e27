"""Attention by kernels, and linear attention: Transformers are RNNs (Katharopoulos et al. 2020).

Source: idiap/fast-transformers, linear_attention.py and causal_linear_attention.py.
"""

import jax
import jax.numpy as jnp

from plmjax.nn.attention import Attention
from plmjax.nn.efficient.kernels import all_keys, keys_before, quadratic
from plmjax.nn.efficient.refuse import refuse
from plmjax.nn.visible import Visible
from plmjax.types import Train


class KernelAttention(Attention):
    """Keys weighed by products of features, `features` of a subclass, and not by softmax.

    Weights sum to 1, padding has none. There are no probabilities, so there is no dropout of them.
    Sums are float32. With a cache all pairs of new queries and kept keys are scored.
    """

    epsilon = 0.0
    """Added to the sum of weights."""

    def features(
        self, query_BLHK: jax.Array, key_BMHK: jax.Array, visible: Visible
    ) -> tuple[jax.Array, jax.Array]:
        """Features of queries and keys, float32 [B, L, H, F] and [B, M, H, F], none below 0."""
        raise NotImplementedError

    def mix(
        self,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """As of `Attention`; time and memory grow as L."""
        s = self.settings
        refuse(s, visible, causal=True, rotary=True)
        query_BLHF, key_BMHF = self.features(query_BLHK, key_BMHK, visible)
        key_BMHF = jnp.where(visible.mask_BM[:, :, None, None] == 1, key_BMHF, 0.0)
        arrays = (query_BLHF, key_BMHF, value_BMHK)
        if visible.start is not None:
            above_BLHK, below_BLH = quadratic(*arrays, visible.allowed(query_BLHK.shape[1]))
        else:
            above_BLHK, below_BLH = (keys_before if visible.causal else all_keys)(*arrays)
        # A row of padding alone has no weights at all.
        below_BLH = jnp.where(below_BLH > 0, below_BLH, 1.0) + self.epsilon
        return (above_BLHK / below_BLH[..., None]).astype(s.dtype)


class LinearAttention(KernelAttention):
    """The features are elu(x) + 1, of queries and keys as they are: not scaled."""

    epsilon = 1e-6

    def features(
        self, query_BLHK: jax.Array, key_BMHK: jax.Array, visible: Visible
    ) -> tuple[jax.Array, jax.Array]:
        """As of `KernelAttention`, F = K."""
        return tuple(jax.nn.elu(x.astype(jnp.float32)) + 1.0 for x in (query_BLHK, key_BMHK))
