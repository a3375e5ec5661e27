"""The one entrance to full attention, from which an implementation is chosen."""

import flax.linen as nn
import jax

from plmjax.nn.implementations import choice, cudnn, ring, splash, xla
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import BATCH, HEADS, LENGTH, ways
from plmjax.types import Train

KERNELS = {"cudnn": cudnn.mixed, "splash": splash.mixed, "ring": ring.mixed}
"""What computes the same as `xla`, but for what `choice.cannot` says."""


def attend(
    module: nn.Module,
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    visible: Visible,
    train: Train,
) -> jax.Array:
    """What each query makes of the values: [B, L, H, K].

    XLA adds `mask_value` to the scores of hidden keys, the others leave them out. In float32 that
    is the same, since the exponential of any `mask_value` is 0, unless a query sees nothing: then
    every implementation gives something else. Only padding sees nothing, and nobody looks at it.

    Args:
      module: a `plmjax.nn.attention.Attention`, whose settings choose.
      query_BLHK, key_BMHK, value_BMHK: float, `dtype`, laid out as `layouts.ready` does.
      visible: which keys may be attended to.
      train: whether dropout is on, and for which rows.

    Raises:
      UserError: if the settings name an implementation that cannot do this.
    """
    s = module.settings
    arrays = (query_BLHK, key_BMHK, value_BMHK)
    # Nobody reads what is computed while parameters are drawn, and any machine may draw them.
    if module.is_initializing():
        return xla.mixed(module, *arrays, visible, train)
    asked = _asked(module, query_BLHK, key_BMHK, visible, train)
    if s.sequence_attention == "ring" and asked.key_parts > 1 and not asked.cached:
        name = "ring"
        choice.check("sequence_attention", name, "all_to_all or gather", asked)
    else:
        name = choice.choose(s.attention_implementation, asked)
    if name == "xla":
        return xla.mixed(module, *arrays, visible, train)
    seen = visible.of_source() if module.cross else visible
    return KERNELS[name](*arrays, seen, s, 0 if module.cross else s.reach)


def _asked(
    module: nn.Module, query_BLHK: jax.Array, key_BMHK: jax.Array, visible: Visible, train: Train
) -> choice.Asked:
    s, (rows, queries, heads, head_size) = module.settings, query_BLHK.shape
    moves = s.sequence_attention == "all_to_all"
    return choice.Asked(
        device=choice.current_device(),
        rows=rows,
        queries=queries,
        keys=key_BMHK.shape[1],
        heads=heads,
        head_size=head_size,
        row_parts=ways(BATCH),
        head_parts=ways(HEADS) * (ways(LENGTH) if moves else 1),
        key_parts=ways(LENGTH),
        dtype=s.dtype,
        dropout=0.0 if train is False else s.attention_dropout,
        relative=not module.cross and bool(s.max_relative or visible.bias_HLM is not None),
        cached=visible.start is not None,
        gathered=s.sequence_attention == "gather" and ways(LENGTH) > 1,
        near=xla.is_near(s, module.cross, queries, visible),
    )
