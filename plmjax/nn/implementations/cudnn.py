"""Full attention by cuDNN's fused kernels, on NVIDIA GPUs."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from plmjax.nn.implementations.layouts import on_each_device, whole_rows
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.visible import Visible


def mixed(
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    seen: Visible,
    settings: LayerSettings,
    reach: int,
    implementation: str = "cudnn",
) -> jax.Array:
    """What each query makes of the values: [B, L, H, K].

    Padding, segments and the window go in as a mask [B, L, M], which all heads share, since masks
    by length would take padding to stand behind the text; that a model is causal is said as well,
    which lets the kernel leave out half of the blocks. The window is in the mask alone.

    Args:
      query_BLHK, key_BMHK, value_BMHK: bfloat16 or float16.
      seen: which keys may be attended to.
      settings: of the layer.
      reach: the largest distance; 0 for any.
      implementation: as of `jax.nn.dot_product_attention`; tests have no GPU.
    """
    length, keys = query_BLHK.shape[1], key_BMHK.shape[1]
    allowed_BLM = seen.allowed(length, reach)
    allowed_BLM = jnp.broadcast_to(allowed_BLM, (len(query_BLHK), length, keys))

    def on_device(query: jax.Array, key: jax.Array, value: jax.Array, allowed: jax.Array):
        return jax.nn.dot_product_attention(
            query,
            key,
            value,
            mask=allowed[:, None],
            scale=settings.head_size**-0.5 if settings.scale_scores else 1.0,
            is_causal=seen.causal,
            implementation=implementation,
        )

    rows = whole_rows()
    specs = (rows, rows, rows, PartitionSpec(rows[0]))
    return on_each_device(on_device, specs, rows)(query_BLHK, key_BMHK, value_BMHK, allowed_BLM)
