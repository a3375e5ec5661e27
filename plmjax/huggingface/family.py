"""What Hugging Face knows of a family of ours."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface.keys import Entry

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "tanh": "tanh"}
"""Our names of activations to theirs."""

_OURS_ALONE = ("vocab_multiple", "dtype", "scan", "remat", "mask_value")
"""Fields of Configs that config.json has no place for and that change nothing of the model."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of ours in Hugging Face's words.

    model_type: of config.json.
    classes: their model classes, by what they hold: `model` the backbone alone, `language_model`
      with the head over the vocabulary, and where there is one `pretraining` with all heads.
    prefix: of the backbone's tensors in the classes with a head, `bert.`; `model` has none.
    to_settings: from our Config to the fields of config.json, the tokenizer's ids left out.
    from_settings: from the fields of config.json, with their class's defaults filled in, to our
      Config; a UserError for what we do not have, an unknown activation for example.
    table: from our Config and a key of `classes` to the entries of an objective's parameters, the
      backbone's below `backbone/`, with their names as in the classes with a head.
    fits: whether a Config is one of this family, where several share a name of ours.
    duplicates: tensors that files may have besides, each with the name of that which it repeats: a
      tied output table. Where it differs, the model is another one.
    ignored: regular expressions of names that are no parameters, such as buffers.
    """

    model_type: str
    classes: Mapping[str, str]
    prefix: str
    to_settings: Callable[[Any], dict[str, Any]]
    from_settings: Callable[[Mapping[str, Any]], Any]
    table: Callable[[Any, str], list[Entry]]
    fits: Callable[[Any], bool] = lambda config: True
    duplicates: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = (r"\bposition_ids$", r"\btoken_type_ids$")


def check_same(config: Any, back: Any, model: str) -> None:
    """Checks that config.json says what `config` is.

    Args:
      config: ours. back: what its fields of config.json become.
      model: their name of the family.

    Raises:
      UserError: for the first field that comes back as another.
    """
    for field in dataclasses.fields(config):
        given, found = getattr(config, field.name), getattr(back, field.name)
        if given != found and field.name not in _OURS_ALONE:
            raise UserError(
                f"config.model.{field.name}={given} has no place in transformers' {model},"
                f" which has {found} there"
            )


def check_fixed(settings: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Checks the fields of config.json that have one value here.

    Raises:
      UserError: for the first that has another; one that is missing counts as right.
    """
    for name, value in fixed.items():
        if settings.get(name, value) != value:
            raise UserError(f"config.json has {name}={settings[name]}; only {value} is known here")
