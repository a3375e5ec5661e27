"""From a section of a config to a frozen dataclass, and back.

Every room states its settings as a frozen dataclass with defaults. `to_config` turns such a
dataclass into a `ConfigDict`, so that each field can be overridden on the command line;
`from_config` turns the section back, and an unknown key or a wrong type is a one-line error.
"""

import dataclasses
import difflib
import types
import typing
from typing import Any, TypeVar

from ml_collections import ConfigDict

from plmjax.errors import UserError

T = TypeVar("T")


def to_config(settings: Any) -> ConfigDict:
    """A ConfigDict with the dataclass's fields; nested dataclasses become nested sections."""
    fields = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        fields[field.name] = to_config(value) if dataclasses.is_dataclass(value) else value
    return ConfigDict(fields)


def from_config(cls: type[T], section: Any, where: str = "config") -> T:
    """Builds the frozen dataclass `cls` from a config section.

    Args:
      cls: a dataclass whose fields are str, bool, int, float, tuples, dicts, dataclasses or a
        union of dataclasses, of which the section chooses one by `name` (see `chosen`): each has
        its own as the default of a field of that name.
      section: a ConfigDict or mapping with a subset of the fields.
      where: how the user names the section, for messages: `config.optimizer`.

    Raises:
      UserError: for a key that `cls` does not have (the nearest real one is named), for a value
        of the wrong type, and what `cls` raises, a field at its beginning named in full.
    """
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in section.items():
        if key not in hints:
            raise UserError(f"{where}.{key} is not a setting{nearest(key, hints)}")
        values[key] = _checked(hints[key], value, f"{where}.{key}")
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}, which {cls.__name__} needs")
    try:
        return cls(**values)
    except UserError as error:
        # The dataclass knows its field; only here is known where the user finds it.
        message = str(error)
        own = message.partition("=")[0].partition(".")[0] in hints
        raise UserError(f"{where}.{message}" if own else message) from None


def nearest(name: str, names: typing.Iterable[str]) -> str:
    """The end of a message about an unknown name: `; did you mean 'x'?` or what there is."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there are: {', '.join(sorted(names))}"


def kind_name(kind: type) -> str:
    """`an int`, `a str`: a type in a message."""
    name = kind.__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def choose(name: str, table: typing.Mapping[str, T], where: str) -> T:
    """`table[name]`, or a UserError that says where the name was given and the nearest one."""
    if name not in table:
        raise UserError(f"{where}='{name}' is unknown{nearest(name, table)}")
    return table[name]


def section_of(
    table: typing.Mapping[str, type], name: str, what: str, **changes: Any
) -> dict[str, Any]:
    """The section of a config that chooses `name` from a table of dataclasses; `what` it is.

    It has every field of that dataclass, so that each can be overridden on the command line.

    Raises:
      UserError: for a name that the table lacks.
    """
    fields = dataclasses.fields(choose(name, table, what))
    return {"name": name, **{field.name: _default(field) for field in fields}, **changes}


def chosen(section: typing.Mapping[str, Any], table: typing.Mapping[str, type], where: str) -> Any:
    """The dataclass that `name` in a section chooses from a table, made of its other fields.

    A field that it lacks may stand there with the default that it has in another dataclass of the
    table: it is left over from the choice that `--config.SECTION.name=...` has changed.

    Args:
      section: see `section_of`.
      table: dataclasses by name.
      where: how the user names the section, for messages: `config.data.masking`.

    Raises:
      UserError: for an unknown name, and as `from_config`.
    """
    fields = dict(section)
    cls = choose(fields.pop("name", ""), table, f"{where}.name")
    known = {field.name for field in dataclasses.fields(cls)}
    others = [field for other in table.values() for field in dataclasses.fields(other)]
    left_over = {
        field.name
        for field in others
        if field.name not in known
        and field.name in fields
        and fields[field.name] == _default(field)
    }
    kept = {key: value for key, value in fields.items() if key not in left_over}
    for key in kept.keys() - known:
        raise UserError(
            f"{where}.{key} is not a setting of '{section['name']}'{nearest(key, known)}"
        )
    return from_config(cls, kept, where)


def _default(field: dataclasses.Field) -> Any:
    made = field.default_factory is not dataclasses.MISSING
    return field.default_factory() if made else field.default


def _checked(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_config(hint, value, where)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if kinds := [arg for arg in typing.get_args(hint) if dataclasses.is_dataclass(arg)]:
            if not isinstance(value, typing.Mapping | ConfigDict):
                raise UserError(f"{where}={value!r}; expected a section with name and settings")
            return chosen(value, {kind.name: kind for kind in kinds}, where)
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        origin = typing.get_origin(hint)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if (origin or hint) is dict and hasattr(value, "to_dict"):
        return value.to_dict()
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    kind = origin or hint
    wrong_bool = isinstance(value, bool) and kind is not bool
    if kind is not Any and (wrong_bool or not isinstance(value, kind)):
        raise UserError(
            f"{where}={value!r} is {kind_name(type(value))}, expected {kind_name(kind)}"
        )
    return value


def parse_argument(argument: str | None, first: str, **defaults: Any) -> ConfigDict:
    """The argument of a config file: `base,seq_len=512` after the colon of `--config=`.

    Args:
      argument: the text; a word without `=` is the value of `first`.
      first: the key that may go without its name.
      **defaults: every key the file takes, with its default, whose type the value must have.

    Raises:
      UserError: for a key the file does not take, a second nameless word, or a wrong type.
    """
    values = dict(defaults)
    for index, word in enumerate(word for word in (argument or "").split(",") if word):
        key, equals, text = word.partition("=")
        if not equals and index == 0:
            key, text = first, word
        if key not in defaults:
            raise UserError(f"the config's argument has '{word}'{nearest(key, defaults)}")
        kind = type(defaults[key])
        try:
            values[key] = {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise UserError(
                f"the config's argument has '{word}'; {key} is {kind_name(kind)}"
            ) from None
    return ConfigDict(values)
