"""Reading the fields of a config.json, with one line for what is wrong with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.settings import kind_name


def with_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, and the defaults of their class for what is not said or null."""
    said = {key: value for key, value in settings.items() if value is not None}
    return {**defaults, **said}


def check_fixed(settings: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Raises a UserError for a field that says another value than the only one we have."""
    for key, value in fixed.items():
        found = settings.get(key)
        if found is not None and found != value:
            raise UserError(
                f"config.json has {key}={found!r}; plmjax has no such model, only {value!r}"
            )


def number_fields(
    settings: Mapping[str, Any], names: Mapping[str, str], like: Any
) -> dict[str, Any]:
    """Fields of our Config from theirs.

    Args:
      settings: of config.json, defaults filled in.
      names: our fields to theirs.
      like: a Config, whose values have the right types.

    Raises:
      UserError: for a value of another type.
    """
    kinds = {field.name: type(getattr(like, field.name)) for field in dataclasses.fields(like)}
    fields = {}
    for ours, theirs in names.items():
        value, kind = settings[theirs], kinds[ours]
        value = float(value) if kind is float and type(value) is int else value
        if type(value) is not kind:
            raise UserError(f"config.json has {theirs}={value!r}, expected {kind_name(kind)}")
        fields[ours] = value
    return fields
