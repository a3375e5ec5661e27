"""Multi-head attention."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.nn.dense import dense
from plmjax.nn.implementations import layouts
from plmjax.nn.implementations.entrance import attend
from plmjax.nn.initializers import kernel_init
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout
from plmjax.nn.positions import rotated
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import (
    BATCH,
    EMBED,
    HEAD_WIDTH,
    HEADS,
    LENGTH,
    RESIDUAL_LENGTH,
    WIDTH,
    constrain,
    ways,
)
from plmjax.types import Train

CACHE_AXES = (BATCH, HEADS, LENGTH, HEAD_WIDTH)
"""Of kept keys and values. A head's stand one behind the other: each token reads them all, and
where heads were the inner axis they would be transposed each time."""


def of_pairs(module: nn.Module, function: Callable[..., jax.Array], *arrays: Any) -> jax.Array:
    """`function(module, *arrays)`; with `remat_pairs` its backward pass keeps nothing but `arrays`.

    Source: Megatron-LM's selective recomputation (Korthikanti et al. 2022).
    """
    if module.settings.remat_pairs:
        function = nn.remat(function, policy=jax.checkpoint_policies.nothing_saveable)
    return function(module, *arrays)


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or with `cross` to `visible.source_BSD`.

    Scores and softmax are float32. Keys that are not visible get `mask_value` added, or are left
    out (`plmjax.nn.implementations.entrance`); padded queries are computed like any other and
    nobody looks at them. With `max_relative` every key and value gets the vector of its place
    relative to the query (NEZHA, `functional_positions`), with `rotary_base` queries and keys are
    turned by their places.

    Where `visible.start` is given, keys and values are kept in the collection `cache`, [B, H, M, K]
    each (CACHE_AXES): those of a call's L places are written at `start` and the rest is as earlier
    calls left it. A source is looked at in the call that has it and remembered for those that have
    not.

    Where the mesh splits rows, queries, keys and values are moved for it as `sequence_attention`
    says. Other kinds of attention are subclasses with a `mix` or `mix_from` of their own; where
    `projects_values` is False the queries are the values too.

    Attributes:
      settings: of the layer. cross: whether keys and values are made of the source.
      width: of the result; 0 for that of what queries are made of.
    """

    settings: LayerSettings
    cross: bool = False
    width: int = 0
    projects_values = True

    @nn.compact
    def __call__(
        self,
        x_BLD: jax.Array,
        visible: Visible,
        train: Train,
        keys_BMD: jax.Array | None = None,
        values_BMD: jax.Array | None = None,
    ) -> jax.Array:
        """Attends within each row.

        Args:
          x_BLD: float, `dtype`, what queries are made of.
          visible: which keys may be attended to.
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
          keys_BMD: what keys and values are made of; default x_BLD, or the source.
          values_BMD: what values are made of, if not of that; its D may be another.

        Returns:
          float [B, L, D], `dtype`, after the output projection; D is `width`.
        """
        s = self.settings
        if keys_BMD is None:
            keys_BMD = visible.source_BSD if self.cross else x_BLD
        # Once, so that the backward pass keeps one copy for the three projections; see `dense`.
        x_ND = x_BLD if ways(RESIDUAL_LENGTH) > 1 else x_BLD.reshape(-1, x_BLD.shape[-1])
        keys_ND = x_ND if keys_BMD is x_BLD else keys_BMD
        query_BLHK = self.heads("query", x_ND).reshape(*x_BLD.shape[:2], -1, s.head_size)
        query_BLHK = constrain(query_BLHK, BATCH, LENGTH, HEADS, HEAD_WIDTH)
        key_BMHK = value_BMHK = None
        if keys_BMD is not None:
            shape = (*keys_BMD.shape[:2], s.num_heads, s.head_size)

            def made(name: str, of: jax.Array) -> jax.Array:
                heads_BMHK = self.heads(name, of).reshape(shape)
                return constrain(heads_BMHK, BATCH, LENGTH, HEADS, HEAD_WIDTH)

            key_BMHK, value_BMHK = made("key", keys_ND), query_BLHK
            if self.projects_values:
                value_BMHK = made("value", keys_ND if values_BMD is None else values_BMD)
        if s.rotary_base and not self.cross:
            places_L = visible.query_places(x_BLD.shape[1])
            query_BLHK = rotated(query_BLHK, places_L, s.rotary_base, s.rotary_neighbours)
            key_BMHK = rotated(key_BMHK, places_L, s.rotary_base, s.rotary_neighbours)
        if visible.start is not None:
            key_BMHK, value_BMHK = self._kept(key_BMHK, value_BMHK, visible)

        def mix(module: Attention, *arrays: jax.Array) -> jax.Array:
            return module.mix_from(*arrays, visible, train)

        ready = layouts.ready(s.sequence_attention, query_BLHK, key_BMHK, value_BMHK)
        mixed_BLHK = layouts.back(of_pairs(self, mix, x_BLD, *ready))
        width, axes = self.width or x_BLD.shape[-1], (HEADS, HEAD_WIDTH, EMBED)
        out = kernel_init(s, s.num_heads * s.head_size, adds=True)
        out_BLD = dense(width, axes, (WIDTH,), out, s.dtype, "output", s.bias)(mixed_BLHK)
        return dropout(out_BLD, s.attention_out_dropout, self, train)

    def heads(self, name: str, x: jax.Array) -> jax.Array:
        """A projection to heads: [..., D] to [..., H, K]."""
        s, axes = self.settings, (HEADS, HEAD_WIDTH)
        unscaled = s.fan_in and name.endswith("query") and not s.scale_scores
        init = kernel_init(s, x.shape[-1] * (s.head_size if unscaled else 1))
        features = (s.num_heads, s.head_size)
        return dense(features, (EMBED, *axes), axes, init, s.dtype, name, s.bias)(x)

    def mix_from(
        self,
        x_BLD: jax.Array,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """`mix`, for kinds that also need what queries are made of."""
        return self.mix(query_BLHK, key_BMHK, value_BMHK, visible, train)

    def mix(
        self,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """What each query makes of the values: [B, L, H, K].

        By the implementation that the settings name, see `plmjax.nn.implementations.choice`. Time
        grows as L * M, or as L * reach where the reach is short.
        """
        return attend(self, query_BLHK, key_BMHK, value_BMHK, visible, train)

    def _kept(
        self, key: jax.Array | None, value: jax.Array | None, visible: Visible
    ) -> tuple[jax.Array, jax.Array]:
        """Writes what a call has into the cache, and reads all there is: [B, M, H, K] each."""
        s = self.settings
        seen = visible.source_mask_BS if self.cross else visible.mask_BM
        shape = (seen.shape[0], s.num_heads, seen.shape[1], s.head_size)
        names = ("cached_key", "cached_value")
        kept = [self.variable("cache", name, jnp.zeros, shape, s.dtype) for name in names]
        if key is not None:
            at = (0, 0, 0 if self.cross else visible.start, 0)
            for variable, made in zip(kept, (key, value), strict=True):
                whole = jax.lax.dynamic_update_slice(variable.value, made.swapaxes(1, 2), at)
                variable.value = constrain(whole, *CACHE_AXES)
        return kept[0].value.swapaxes(1, 2), kept[1].value.swapaxes(1, 2)
