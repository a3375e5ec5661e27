"""Full attention in plain jax.numpy, which XLA compiles for any machine. It can do everything."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.nn.efficient.blockwise import windowed
from plmjax.nn.efficient.kinds import window_block
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout
from plmjax.nn.positions import functional_positions
from plmjax.nn.visible import Visible
from plmjax.types import Train


def mixed(
    module: nn.Module,
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    visible: Visible,
    train: Train,
) -> jax.Array:
    """What each query makes of the values: [B, L, H, K].

    Time and memory grow as L * M, or as L * reach where the reach is so short that it pays.

    Args:
      module: a `plmjax.nn.attention.Attention`; dropout is drawn from its rng.
      query_BLHK, key_BMHK, value_BMHK: float, `dtype`.
      visible: which keys may be attended to.
      train: whether dropout is on, and for which rows.
    """
    near = is_near(module.settings, module.cross, query_BLHK.shape[1], visible)
    compute = windowed if near else every_pair
    return compute(module, query_BLHK, key_BMHK, value_BMHK, visible, train)


def every_pair(
    module: nn.Module,
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    visible: Visible,
    train: Train,
) -> jax.Array:
    """`mixed`, with a score of every pair; those of hidden keys get `mask_value` added."""
    s, L = module.settings, query_BLHK.shape[1]
    scores_BHLM = jnp.einsum(
        "BLHK,BMHK->BHLM", query_BLHK, key_BMHK, preferred_element_type=jnp.float32
    )
    relative_LMK = None
    if s.max_relative and not module.cross:
        relative_LMK = functional_positions(L, s.max_relative, s.head_size).astype(s.dtype)
        scores_BHLM += jnp.einsum(
            "BLHK,LMK->BHLM", query_BLHK, relative_LMK, preferred_element_type=jnp.float32
        )
    if s.scale_scores:
        scores_BHLM = scores_BHLM * s.head_size**-0.5
    seen = visible.of_source() if module.cross else visible
    if seen.bias_HLM is not None:
        scores_BHLM += seen.bias_HLM
    adder_BLM = seen.adder(L, s.mask_value, 0 if module.cross else s.reach)
    probabilities_BHLM = jax.nn.softmax(scores_BHLM + adder_BLM[:, None]).astype(s.dtype)
    probabilities_BHLM = dropout(probabilities_BHLM, s.attention_dropout, module, train)
    mixed_BLHK = jnp.einsum("BHLM,BMHK->BLHK", probabilities_BHLM, value_BMHK)
    if relative_LMK is not None:
        mixed_BLHK += jnp.einsum("BHLM,LMK->BLHK", probabilities_BHLM, relative_LMK)
    return mixed_BLHK


def is_near(settings: LayerSettings, cross: bool, length: int, visible: Visible) -> bool:
    """Whether queries see so few keys that blocks of them are worth cutting."""
    s = settings
    is_plain = not (cross or s.max_relative or visible.bias_HLM is not None)
    is_short = s.reach > 0 and 4 * window_block(s.reach) <= length
    return is_plain and is_short and visible.start is None and visible.key_segments_BM is None
