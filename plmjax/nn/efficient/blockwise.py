"""Softmax attention of blocks of queries to some blocks of keys.

Rows are cut into n blocks of S places and filled up with places that nobody may look at. Each block
of queries scores only the keys in its parts, so that time and memory grow as L times their number.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.nn.efficient.kinds import window_block
from plmjax.nn.norms import dropout
from plmjax.nn.visible import Visible, may_look
from plmjax.types import Train


@flax.struct.dataclass
class Places:
    """What decides who may look at whom, at some places; S may come after more axes.

    mask_BS: int, 1 for tokens. segment_BS: int, or None. place_1S: int, counted in the row.
    """

    mask_BS: jax.Array
    segment_BS: jax.Array | None
    place_1S: jax.Array


@flax.struct.dataclass
class Part:
    """Keys that blocks of queries look at.

    key_BnJHK, value_BnJHK: of each block; without the axis n where all blocks have the same.
    allowed_BnHSJ: bool, who may look at them; axes may have the size 1.
    """

    key_BnJHK: jax.Array
    value_BnJHK: jax.Array
    allowed_BnHSJ: jax.Array


def places_of(visible: Visible, length: int) -> Places:
    """All places of the rows, arrays [B, L]."""
    return Places(visible.mask_BM, visible.segments_BL, jnp.arange(length)[None])


def blocked(tree: Any, size: int) -> Any:
    """Arrays [B, L, ...] as [B, n, S, ...], filled up with zeros."""

    def cut(x: jax.Array) -> jax.Array:
        padding = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
        return jnp.pad(x, padding).reshape(x.shape[0], -1, size, *x.shape[2:])

    return jax.tree.map(cut, tree)


def joined(x_BnSHK: jax.Array, length: int) -> jax.Array:
    """Blocks as rows again: [B, L, H, K]."""
    return x_BnSHK.reshape(x_BnSHK.shape[0], -1, *x_BnSHK.shape[3:])[:, :length]


def neighbours(tree: Any, ahead: bool = True) -> Any:
    """From [B, n, S, ...] to [B, n, J, ...]: each block after the one before it, and before the one
    ahead of it. Zeros stand where there is none."""

    def near(x: jax.Array) -> jax.Array:
        count = x.shape[1]
        padded = jnp.pad(x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2))
        shifts = (0, 1, 2) if ahead else (0, 1)
        return jnp.concatenate([padded[:, i : i + count] for i in shifts], axis=2)

    return jax.tree.map(near, tree)


def allowed(own: Places, seen: Places, causal: bool = False, reach: int = 0) -> jax.Array:
    """Who may look at whom: bool [B, n, S, J], or without n; `causal` and `reach` as in Visible."""
    return may_look(
        own.place_1S,
        seen.place_1S,
        seen.mask_BS,
        None if own.segment_BS is None else (own.segment_BS, seen.segment_BS),
        causal,
        reach,
    )


def attend(
    module: nn.Module, query_BnSHK: jax.Array, parts: Sequence[Part], train: Train
) -> jax.Array:
    """One softmax over the keys of all parts: [B, n, S, H, K].

    Args:
      module: whose `settings` say how; dropout is drawn from its rng.
      query_BnSHK: float.
      parts: what they look at.
      train: whether dropout is on.
    """
    s = module.settings
    scale = s.head_size**-0.5 if s.scale_scores else 1.0
    scores = []
    for part in parts:
        equation = f"BnSHK,{_axes(part.key_BnJHK)}->BnHSJ"
        scores_BnHSJ = scale * jnp.einsum(
            equation, query_BnSHK, part.key_BnJHK, preferred_element_type=jnp.float32
        )
        scores.append(scores_BnHSJ + jnp.where(part.allowed_BnHSJ, 0.0, s.mask_value))
    probabilities_BnHSJ = jax.nn.softmax(jnp.concatenate(scores, axis=-1)).astype(s.dtype)
    probabilities_BnHSJ = dropout(probabilities_BnHSJ, s.attention_dropout, module, train)
    mixed_BnSHK, start = 0, 0
    for part, scores_BnHSJ in zip(parts, scores, strict=True):
        own = probabilities_BnHSJ[..., start : start + scores_BnHSJ.shape[-1]]
        start += scores_BnHSJ.shape[-1]
        equation = f"BnHSJ,{_axes(part.value_BnJHK)}->BnSHK"
        mixed_BnSHK += jnp.einsum(equation, own, part.value_BnJHK)
    return mixed_BnSHK


def _axes(x: jax.Array) -> str:
    return "BnJHK" if x.ndim == 5 else "BJHK"


def to_window(
    query_BLHK: jax.Array,
    key_BLHK: jax.Array,
    value_BLHK: jax.Array,
    visible: Visible,
    reach: int,
    first: int = 0,
) -> tuple[jax.Array, Places, Part]:
    """The blocks of a window.

    Args:
      query_BLHK, key_BLHK, value_BLHK: float.
      visible: of padding, segments and order.
      reach: the largest distance.
      first: keys before this place are left out.

    Returns:
      The queries [B, n, S, H, K], their places, and the keys that they see.
    """
    length = query_BLHK.shape[1]
    places = places_of(visible, length)
    if first:
        is_later = places.place_1S >= first
        places = dataclasses.replace(places, mask_BS=places.mask_BS * is_later)
    arrays = blocked((query_BLHK, key_BLHK, value_BLHK, places), min(window_block(reach), length))
    query_BnSHK, key_BnSHK, value_BnSHK, own = arrays
    near = neighbours((key_BnSHK, value_BnSHK, own), ahead=not visible.causal)
    is_allowed = allowed(own, near[2], visible.causal, reach)
    return query_BnSHK, own, Part(near[0], near[1], is_allowed[:, :, None])


def windowed(
    module: nn.Module,
    query_BLHK: jax.Array,
    key_BLHK: jax.Array,
    value_BLHK: jax.Array,
    visible: Visible,
    train: Train,
) -> jax.Array:
    """What full attention under the mask of `settings.reach` gives to every token: [B, L, H, K].

    Padding may get something else: the few keys it scores are not all keys.
    """
    arrays = (query_BLHK, key_BLHK, value_BLHK)
    query_BnSHK, _, part = to_window(*arrays, visible, module.settings.reach)
    return joined(attend(module, query_BnSHK, [part], train), query_BLHK.shape[1])
