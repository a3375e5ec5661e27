"""What kinds of attention have no form for."""

from plmjax.errors import UserError
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.visible import Visible


def refuse(
    settings: LayerSettings,
    visible: Visible,
    *,
    causal: bool = False,
    packed: bool = False,
    rotary: bool = False,
) -> None:
    """Raises a UserError for what is asked of a kind that it cannot do; no kind here has a reach
    or relative positions.

    Args:
      settings: of the layer.
      visible: what it may look at.
      causal: whether the kind has a causal form, and can go on from a cache.
      packed: whether it tells the texts of a packed row apart.
      rotary: whether queries and keys may be turned.
    """
    s, which = settings, f"config.model.attention.name='{settings.attention.name}'"
    if (visible.causal or visible.start is not None) and not causal:
        raise UserError(
            f"{which} has no causal form and keeps no cache, which decoders need; choose full,"
            " linear or performer"
        )
    if visible.segments_BL is not None and not packed:
        raise UserError(
            f"{which} cannot tell the texts of a packed row apart; choose full, longformer or"
            " bigbird, or a plan that does not isolate them"
        )
    if s.max_relative or visible.bias_HLM is not None:
        raise UserError(f"{which} has no relative positions, which this family needs; choose full")
    if s.rotary_base and not rotary:
        raise UserError(f"{which} has no rotary positions, which this family needs; choose full")
    if s.reach:
        raise UserError(
            f"{which} has no reach, and layers of this family see only so far; choose full"
        )
