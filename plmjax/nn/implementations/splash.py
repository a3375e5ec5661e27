"""Full attention by JAX's splash kernels, on TPUs."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from plmjax.nn.implementations.layouts import on_each_device, whole_rows
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.visible import Visible

LANES = 128
"""Rows are multiples of it, the width of a TPU's registers."""

BLOCKS = (512, 256, LANES)
"""Queries and keys of a block; the first that fits is taken."""


def mixed(
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    seen: Visible,
    settings: LayerSettings,
    reach: int,
    interpret: bool = False,
) -> jax.Array:
    """What each query makes of the values: [B, L, H, K].

    Scores, softmax and sums are float32; in bfloat16 the queries are scaled before the product and
    probabilities are not rounded, unlike in `plmjax.nn.implementations.xla`. Blocks that a causal
    mask or a window hides are not computed; neither has scores in memory.

    Args:
      query_BLHK, key_BMHK, value_BMHK: float; L and M are multiples of LANES.
      seen: which keys may be attended to; a query that sees none gets anything that is finite.
      settings: of the layer.
      reach: the largest distance; 0 for any.
      interpret: computes it step by step on any machine, for tests.
    """
    # It takes half a second, which those who have no TPU need not wait.
    from jax.experimental.pallas.ops.tpu import splash_attention

    length, keys = query_BLHK.shape[1], key_BMHK.shape[1]
    numbers = seen.numbers(length)
    shape = (length, keys)
    if reach:
        ahead = 0 if seen.causal else reach
        mask = splash_attention.LocalMask(shape, (reach, ahead), offset=0)
    elif seen.causal:
        mask = splash_attention.CausalMask(shape)
    else:
        mask = splash_attention.FullMask(shape)
    scale = settings.head_size**-0.5 if settings.scale_scores else 1.0
    query_BLHK = (query_BLHK.astype(jnp.float32) * scale).astype(query_BLHK.dtype)

    def on_device(
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        number_BL: jax.Array,
        number_BM: jax.Array,
    ) -> jax.Array:
        kernel = splash_attention.make_splash_mha_single_device(
            splash_attention.MultiHeadMask([mask] * query_BLHK.shape[2]),
            block_sizes=_block_sizes(length, keys, reach),
            interpret=interpret,
        )
        by_head = (jnp.swapaxes(x, 1, 2) for x in (query_BLHK, key_BMHK, value_BMHK))
        segments = splash_attention.SegmentIds(number_BL, number_BM)
        mixed_BHLK = jax.vmap(kernel)(*by_head, segments)
        return jnp.swapaxes(mixed_BHLK, 1, 2).astype(value_BMHK.dtype)

    rows = whole_rows()
    specs = (rows, rows, rows, PartitionSpec(rows[0]), PartitionSpec(rows[0]))
    return on_each_device(on_device, specs, rows)(query_BLHK, key_BMHK, value_BMHK, *numbers)


def _block_sizes(length: int, keys: int, reach: int):
    from jax.experimental.pallas.ops.tpu.splash_attention import BlockSizes

    # Beyond the window a larger block would be mostly hidden.
    largest = max(reach, LANES) if reach else max(BLOCKS)
    of_queries, of_keys = (
        next(block for block in BLOCKS if size % block == 0 and block <= largest)
        for size in (length, keys)
    )
    return BlockSizes(
        block_q=of_queries,
        block_kv=of_keys,
        block_q_dkv=of_queries,
        block_kv_dkv=of_keys,
        block_q_dq=of_queries,
        block_kv_dq=of_keys,
    )
