"""What Hugging Face knows of a family of ours."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from plmjax.huggingface.keys import Entry


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of ours in Hugging Face's words.

    model_type: of config.json.
    classes: their model classes, by what they hold: `model` the backbone alone, `language_model`
      with the head over the vocabulary, and where there is one `pretraining` with all heads, or
      `discriminator` with the head that tells replaced tokens.
    prefix: of the backbone's tensors in the classes with a head, `bert.`; `model` has none.
    to_settings: from our Config to the fields of config.json, the tokenizer's ids left out. What
      they have no place for may get lost: `families.family_of` checks that nothing does.
    from_settings: from the fields of config.json to our Config; fields that are missing have the
      defaults of their class. A UserError for what we do not have, an activation for example.
    table: from our Config and a key of `classes` to the entries of an objective's parameters, the
      backbone's below `backbone/`, with their names as in the classes with a head.
    fits: whether a Config is one of this family, where several share a name of ours.
    duplicates: tensors that files may have besides, each with the name of that which it repeats: a
      tied output table. Where it differs, the model is another one. Where the table of a Config has
      an entry for it, it is none.
    zeros: tensors that files may have and we do not, since they change nothing: all zero.
    blank: from our Config to the shapes of those of `zeros` that their classes would draw at random
      if a file had none.
    says: fields of config.json that tell this family from another of the same model type.
    ignored: regular expressions of names that are no parameters, such as buffers.
    lost: fields of our Config that matter in training alone and have no place in config.json,
      beside those that no family has a place for.
    decoder_starts: the roles of which the first that the tokenizer has is what its decoder reads
      first; empty where there is no decoder beside an encoder.
    """

    model_type: str
    classes: Mapping[str, str]
    prefix: str
    to_settings: Callable[[Any], dict[str, Any]]
    from_settings: Callable[[Mapping[str, Any]], Any]
    table: Callable[[Any, str], list[Entry]]
    fits: Callable[[Any], bool] = lambda config: True
    duplicates: Mapping[str, str] = dataclasses.field(default_factory=dict)
    zeros: tuple[str, ...] = ()
    blank: Callable[[Any], Mapping[str, tuple[int, ...]]] = lambda config: {}
    says: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = (r"\bposition_ids$", r"\btoken_type_ids$")
    lost: tuple[str, ...] = ()
    decoder_starts: tuple[str, ...] = ()

    def duplicates_of(self, config: Any) -> dict[str, str]:
        """`duplicates` of a model with this Config."""
        own = {name for entry in self.table(config, "language_model") for name in entry.names}
        return {name: of for name, of in self.duplicates.items() if name not in own}
