"""Attention of two streams with relative positions and memory (XLNet, Yang et al. 2019).

Source: zihangdai/xlnet modeling.py.
"""

from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.nn.attention import Attention, of_pairs
from plmjax.nn.dense import dense
from plmjax.nn.implementations import layouts
from plmjax.nn.initializers import kernel_init, named
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout
from plmjax.nn.relative import shifted, shifted_at
from plmjax.parallel.rules import (
    BATCH,
    EMBED,
    HEAD_WIDTH,
    HEADS,
    LENGTH,
    TYPES,
    WIDTH,
    constrain,
)
from plmjax.types import Train

_OFFSETS = ("content_offset", "position_offset", "segment_offset")


@flax.struct.dataclass
class Streams:
    """What layers are given beside the residual. In place of `plmjax.nn.visible.Visible`.

    The residual has Q = L + T places: the content stream's L, and after them the query stream's T.
    There are M keys: the memory, and after it the content stream.

    relative_GPD: `dtype`, vectors of the P = M + L distances M, M - 1, ... -L + 1; with G = 2 also
      those of text that runs backwards.
    adder_BQM: float32, what is added to scores.
    backward_B: int, which of the G a row has; not read where G = 1.
    differs_BQM: bool, whether query and key have different token types; None for no such term.
    targets_BT: int, the places of the query stream; None without.
    offsets: what all layers add to queries, [H, K] each; None where each has its own.
    length, mem_len, reuse_len: L, and as of Config.
    layer: int scalar, filled in by the stack.
    """

    BY_ROW: ClassVar = ("adder_BQM", "backward_B", "differs_BQM", "targets_BT")
    """As of `Visible`."""

    relative_GPD: jax.Array
    adder_BQM: jax.Array
    backward_B: jax.Array | None
    differs_BQM: jax.Array | None
    targets_BT: jax.Array | None
    offsets: tuple[jax.Array, ...] | None
    length: int = flax.struct.field(pytree_node=False)
    mem_len: int = flax.struct.field(pytree_node=False)
    reuse_len: int = flax.struct.field(pytree_node=False)
    layer: jax.Array | int = 0


def relative_scores(
    query_BQHK: jax.Array,
    key_BMHK: jax.Array,
    relative_GPHK: jax.Array,
    offsets: tuple[jax.Array, ...],
    segment_SHK: jax.Array,
    streams: Streams,
) -> jax.Array:
    """Scores before they are scaled and masked: float32 [B, H, Q, M].

    (q + content offset) . k  +  (q + position offset) . r[distance]
    +  (q + segment offset) . s[0 where the types are equal, else 1].

    Args:
      query_BQHK, key_BMHK: projections of both streams and of the keys.
      relative_GPHK: the projection of `streams.relative_GPD`.
      offsets: of content, position and segment: [H, K] each.
      segment_SHK: of equal and of different token types: S = 2.
      streams: which query stands where.
    """
    keys, length = key_BMHK.shape[1], streams.length
    content_BQHK, place_BQHK, segment_BQHK = (
        query_BQHK + offset_HK.astype(query_BQHK.dtype) for offset_HK in offsets
    )
    scores_BHQM = jnp.einsum(
        "BQHK,BMHK->BHQM", content_BQHK, key_BMHK, preferred_element_type=jnp.float32
    )
    distances, relative = "PHK", relative_GPHK[0]
    if len(relative_GPHK) > 1:
        distances, relative = "BPHK", relative_GPHK[streams.backward_B]
    place_BHQP = jnp.einsum(
        f"BQHK,{distances}->BHQP", place_BQHK, relative, preferred_element_type=jnp.float32
    )
    place_BHQM = shifted(place_BHQP[:, :, :length], keys)
    if streams.targets_BT is not None:
        of_targets = shifted_at(place_BHQP[:, :, length:], streams.targets_BT, keys)
        place_BHQM = jnp.concatenate([place_BHQM, of_targets], axis=2)
    scores_BHQM += place_BHQM
    if streams.differs_BQM is not None:
        segment_BHQS = jnp.einsum(
            "BQHK,SHK->BHQS",
            segment_BQHK,
            segment_SHK.astype(query_BQHK.dtype),
            preferred_element_type=jnp.float32,
        )
        same, other = segment_BHQS[..., :1], segment_BHQS[..., 1:]
        scores_BHQM += jnp.where(streams.differs_BQM[:, None], other, same)
    return scores_BHQM


class TwoStreamAttention(Attention):
    """Attention of both streams to the content stream and its memory.

    In the collection `memory` it keeps `content`, [B, M - L, D], the inputs of earlier calls.
    """

    @nn.compact
    def __call__(self, x_BQD: jax.Array, streams: Streams, train: Train) -> jax.Array:
        """What both streams add to the residual: float [B, Q, D], `dtype`."""
        s = self.settings
        keys_BMD = self._remembered(x_BQD[:, : streams.length], streams)
        made = (
            constrain(self.heads(name, x), BATCH, LENGTH, HEADS, HEAD_WIDTH)
            for name, x in (("query", x_BQD), ("key", keys_BMD), ("value", keys_BMD))
        )
        query_BQHK, key_BMHK, value_BMHK = layouts.ready(s.sequence_attention, *made)
        relative_GPHK = self.heads("relative", streams.relative_GPD)
        offsets = streams.offsets or head_offsets(self, s)
        segment_init = named(kernel_init(s, 1), TYPES, HEADS, HEAD_WIDTH)
        segment_SHK = self.param("segment_embedding", segment_init, (2, s.num_heads, s.head_size))

        def mix(module: TwoStreamAttention, value_BMHK: jax.Array, *arrays: Any) -> jax.Array:
            scores_BHQM = relative_scores(*arrays, streams)
            masked_BHQM = scores_BHQM * s.head_size**-0.5 + streams.adder_BQM[:, None]
            probabilities_BHQM = jax.nn.softmax(masked_BHQM).astype(s.dtype)
            probabilities_BHQM = dropout(probabilities_BHQM, s.attention_dropout, module, train)
            return jnp.einsum("BHQM,BMHK->BQHK", probabilities_BHQM, value_BMHK)

        arrays = (query_BQHK, key_BMHK, relative_GPHK, offsets, segment_SHK)
        mixed_BQHK = of_pairs(self, mix, value_BMHK, *arrays)
        mixed_BQHK = layouts.back(mixed_BQHK)
        out, axes = kernel_init(s, s.num_heads * s.head_size, adds=True), (HEADS, HEAD_WIDTH, EMBED)
        width = x_BQD.shape[-1]
        return dense(width, axes, (WIDTH,), out, s.dtype, "output", s.bias)(mixed_BQHK)

    def _remembered(self, content_BLD: jax.Array, streams: Streams) -> jax.Array:
        """The memory and the content stream: [B, M, D]. Keeps what the next call remembers."""
        whole, earlier = content_BLD, self.get_variable("memory", "content")
        if earlier is not None:
            whole = jnp.concatenate([earlier.astype(content_BLD.dtype), content_BLD], axis=1)
        keeps = self.is_mutable_collection("memory") and not self.is_initializing()
        if keeps and streams.mem_len:
            behind = streams.length - (streams.reuse_len or streams.length)
            end = whole.shape[1] - max(behind, 0)
            kept = whole[:, max(end - streams.mem_len, 0) : end]
            self.put_variable("memory", "content", jax.lax.stop_gradient(kept))
        return whole


def head_offsets(module: nn.Module, settings: LayerSettings) -> tuple[jax.Array, ...]:
    """The module's own parameters of what is added to queries: [H, K] each.

    They are drawn and not zero, and the original decays them: they are no biases.
    """
    init = named(kernel_init(settings, 1), HEADS, HEAD_WIDTH)
    shape = (settings.num_heads, settings.head_size)
    return tuple(module.param(name, init, shape) for name in _OFFSETS)
