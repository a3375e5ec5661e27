"""Performer's attention, FAVOR+ (Choromanski et al. 2021).

Source: google-research/performer, fast_attention/jax/fast_attention.py.
"""

import jax
import jax.numpy as jnp

from plmjax.nn.efficient.linear import KernelAttention
from plmjax.nn.visible import Visible

HIGHEST = 60.0
"""The largest exponent: sums of so large features are finite still."""


def orthogonal_features(seed: int, layer: jax.Array | int, features: int, width: int) -> jax.Array:
    """Random directions: float32 [F, K], which follow from the arguments alone.

    In blocks of K rows they are orthogonal, each uniform on the sphere; their lengths are those of
    independent normal vectors.
    """
    key = jax.random.fold_in(jax.random.key(seed), layer)
    of_blocks, of_lengths = jax.random.split(key)
    blocks = -(-features // width)
    q, r = jnp.linalg.qr(jax.random.normal(of_blocks, (blocks, width, width)))
    # A decomposition is free in its signs, and machines differ.
    q *= jnp.where(jnp.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None]
    rows_FK = q.swapaxes(1, 2).reshape(-1, width)[:features]
    lengths_F = jnp.linalg.norm(jax.random.normal(of_lengths, (features, width)), axis=1)
    return rows_FK * lengths_F[:, None]


def softmax_features(
    x_BLHK: jax.Array, direction_FK: jax.Array, shift: str, mask_BL: jax.Array | None = None
) -> jax.Array:
    """Features whose products are on average exp(q k / sqrt(K)) up to a factor: [B, L, H, F].

    Args:
      x_BLHK: float32, queries or keys.
      direction_FK: float32, random.
      shift: what exponents are lowered by, which weights that sum to 1 do not see but for the 1e-6
        that is added: `place`, the largest projection of each place (queries), `row`, that of all
        of the row's tokens (keys), or `none`, so that nobody sees what comes later (keys of
        decoders, where the reference takes the row's and so a glimpse of the future).
      mask_BL: int, 1 for tokens; for `row`.
    """
    scaled_BLHK = x_BLHK * x_BLHK.shape[-1] ** -0.25
    projected_BLHF = jnp.einsum("BLHK,FK->BLHF", scaled_BLHK, direction_FK)
    half_BLH1 = jnp.square(scaled_BLHK).sum(-1, keepdims=True) / 2
    largest = 0.0
    if shift == "place":
        largest = projected_BLHF.max(-1, keepdims=True)
    elif shift == "row":
        is_token = mask_BL[:, :, None, None] == 1
        largest = jnp.where(is_token, projected_BLHF, -1e4).max((1, 3), keepdims=True)
    exponent_BLHF = projected_BLHF - half_BLH1 - jax.lax.stop_gradient(largest)
    root = direction_FK.shape[0] ** -0.5
    return root * (jnp.exp(jnp.minimum(exponent_BLHF, HIGHEST)) + 1e-6)


def relu_features(x_BLHK: jax.Array, direction_FK: jax.Array) -> jax.Array:
    """The generalised kernel with ReLU, of projections that are not scaled: [B, L, H, F]."""
    return jax.nn.relu(jnp.einsum("BLHK,FK->BLHF", x_BLHK, direction_FK)) + 1e-3


class PerformerAttention(KernelAttention):
    """Random features, drawn from the kind's seed and the layer's number, and never again.

    The reference may draw them anew in training; here a step, a restart and an export all have the
    same.
    """

    def features(
        self, query_BLHK: jax.Array, key_BMHK: jax.Array, visible: Visible
    ) -> tuple[jax.Array, jax.Array]:
        """As of `KernelAttention`, of directions that queries and keys share."""
        s, kind = self.settings, self.settings.attention
        direction_FK = orthogonal_features(kind.seed, visible.layer, kind.features, s.head_size)
        query, key = query_BLHK.astype(jnp.float32), key_BMHK.astype(jnp.float32)
        if kind.kernel == "relu":
            return relu_features(query, direction_FK), relu_features(key, direction_FK)
        shift = "none" if visible.causal else "row"
        of_keys = softmax_features(key, direction_FK, shift, visible.mask_BM)
        return softmax_features(query, direction_FK, "place"), of_keys
