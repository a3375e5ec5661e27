"""Every family that goes to and from Hugging Face."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface import bart, bert, gpt, mobilebert, modernbert, t5, xlm, xlnet, yuefu
from plmjax.huggingface.family import Family
from plmjax.settings import choose, nearest

FAMILIES: dict[str, tuple[Family, ...]] = {
    "bert": (bert.BERT,),
    "roberta": (bert.ROBERTA, bert.XLM_ROBERTA),
    "albert": (bert.ALBERT,),
    "electra": (bert.ELECTRA,),
    "ernie": (bert.ERNIE,),
    "nezha": (bert.NEZHA,),
    "distilbert": (bert.DISTILBERT,),
    "roformer": (bert.ROFORMER,),
    "xlm": (xlm.FAMILY,),
    "mobilebert": (mobilebert.FAMILY,),
    "modernbert": (modernbert.FAMILY,),
    "xlnet": (xlnet.FAMILY,),
    "gpt": (gpt.GPT2, gpt.GPT1),
    "yuefu": (yuefu.FAMILY,),
    "t5": (t5.FAMILY,),
    "bart": (bart.FAMILY,),
}
"""By our name of the family. Where there are several, the first that fits the config is taken,
unless a model class of another is asked for."""

NO_PLACE = {
    "attention_implementation",
    "dtype",
    "mask_value",
    "position_range",
    "remat",
    "scale_residual",
    "scan",
    "sequence_attention",
    "vocab_multiple",
}
"""Fields that decide how a model is trained and computed, and have no place in config.json."""


def family_of(name: str, config: Any, architecture: str = "") -> tuple[Family, str]:
    """Hugging Face's family for a config of ours, and which of its classes is meant.

    Args:
      name: ours of the family.
      config: its Config.
      architecture: a model class of theirs; empty for the family that fits.

    Returns:
      The family, and a key of its classes; empty if `architecture` is.

    Raises:
      UserError: if there is no such family or class, or the config has what theirs have not.
    """
    fitting = [family for family in choose(name, FAMILIES, "the family") if family.fits(config)]
    classes = {c: (family, key) for family in fitting for key, c in family.classes.items()}
    if architecture and architecture not in classes:
        raise UserError(
            f"--architecture={architecture} is no class for a run of the family {name}"
            f"{nearest(architecture, classes)}"
        )
    family, key = classes[architecture] if architecture else (fitting[0], "")
    _check_has_place(family, config)
    return family, key


def family_of_settings(settings: Mapping[str, Any]) -> tuple[str, Family]:
    """Our name of the family, and theirs, by the fields of a config.json.

    Raises:
      UserError: for a model type that is not here.
    """
    named = [(name, family) for name, some in FAMILIES.items() for family in some]
    model_type = settings.get("model_type", "")
    fitting = [
        (name, family)
        for name, family in named
        if family.model_type == model_type
        and all(settings.get(key) == value for key, value in family.says.items())
    ]
    if not fitting:
        raise UserError(
            f"config.json has model_type='{model_type}', which plmjax does not have; there are:"
            f" {', '.join(sorted({family.model_type for _, family in named}))}"
        )
    return max(fitting, key=lambda found: len(found[1].says))


_MEANT = {
    "head_size": ("head_width", "decoder_head_width"),
    "embedding_size": ("embedding_width",),
    "num_decoder_layers": ("decoder_depth",),
    "num_decoder_heads": ("decoder_heads",),
    "decoder_mlp_size": ("decoder_mlp_width",),
}
"""Fields whose 0 is the usual number, which may be said as a number too, and what they come to."""


def _check_has_place(family: Family, config: Any) -> None:
    """Raises a UserError for a value that would be lost on the way there and back."""
    back = family.from_settings(family.to_settings(config))
    for field in dataclasses.fields(config):
        # What tensors there are says whether there is a pooler.
        if field.name in {*NO_PLACE, *family.lost, "pooler"}:
            continue
        properties = [name for name in _MEANT.get(field.name, ()) if hasattr(config, name)]
        for name in properties or [field.name]:
            ours, theirs = getattr(config, name), getattr(back, name)
            if ours != theirs:
                raise UserError(_has_no_place(family, field.name, ours, theirs))


def _has_no_place(family: Family, name: str, ours: Any, theirs: Any) -> str:
    if dataclasses.is_dataclass(ours):
        # Of a section the name, or the first value of the same kind that differs.
        parts = [part.name for part in dataclasses.fields(ours)]
        part = next(p for p in ("name", *parts) if getattr(ours, p) != getattr(theirs, p, None))
        name, ours, theirs = f"{name}.{part}", getattr(ours, part), getattr(theirs, part)
    return (
        f"config.model.{name}={ours!r} has no place in Hugging Face's {family.model_type}, which"
        f" has {theirs!r} there"
    )
