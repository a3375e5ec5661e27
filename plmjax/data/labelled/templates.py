"""Texts that are made of the fields of a labelled example: `mnli hypothesis: {hypothesis}`."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from plmjax.data.labelled.base import field
from plmjax.data.labelled.benchmarks import label_name
from plmjax.data.labelled.rows import Row
from plmjax.errors import UserError

_FIELD = re.compile(r"\{([^{}\[\]]+)(?:\[(\d+)\])?\}")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_MARKUP = re.compile(r"</?b>")
_AFTER_END = re.compile(r"([.?!\"'])\n@highlight\n")


def punctuation_apart(text: str) -> str:
    """Blanks around each of ASCII's signs: T5's `_pad_punctuation`, of SQuAD."""
    return " ".join(_PUNCTUATION.sub(r" \1 ", text).split())


def without_markup(text: str) -> str:
    """Without the <br> and <b> of MultiRC, as T5's `glue` has it."""
    return _MARKUP.sub("", text.replace("<br>", " "))


def highlights_as_sentences(text: str) -> str:
    """The marks of ReCoRD's summaries as ends of sentences, as T5's `record` has it."""
    return _AFTER_END.sub(r"\1 ", text).replace("\n@highlight\n", ". ")


REWRITES: Mapping[str, Callable[[str], str]] = {
    "": str,
    "punctuation_apart": punctuation_apart,
    "without_markup": without_markup,
    "highlights_as_sentences": highlights_as_sentences,
}
"""What is made of each field first. Source: google-research/text-to-text-transfer-transformer,
t5/data/preprocessors.py."""


@dataclasses.dataclass(frozen=True)
class Template:
    """A text with fields in it: {name}, or of a list {name[0]}.

    Attributes:
      text: as the user has given it.
      setting: where, for messages.
    """

    text: str
    setting: str

    def __post_init__(self):
        rest = _FIELD.sub("", self.text)
        if "{" in rest or "}" in rest or not self.fields:
            raise UserError(
                f"{self.setting}={self.text!r} is no text with fields such as {{sentence}} in it;"
                " give the names of fields in braces"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields, in their order."""
        return tuple(name for name, _ in _FIELD.findall(self.text))

    @property
    def around(self) -> tuple[str, str]:
        """What stands before and behind the field of a template that has one alone.

        Raises:
          UserError: where there are several.
        """
        if len(self.fields) != 1:
            raise UserError(
                f"{self.setting}={self.text!r} has {len(self.fields)} fields; a class or a number"
                " is one field"
            )
        before, _, _, after = _FIELD.split(self.text)
        return before, after

    def rendered(self, row: Row, rewrite: Callable[[str], str] = str) -> str:
        """The text of a row; a list is written with commas between.

        Args:
          row: whose fields are meant.
          rewrite: what is made of each field first.

        Raises:
          UserError: for a field that the row lacks, that is empty or that is no text.
        """

        def value(found: re.Match) -> str:
            return rewrite(self._value(row, found[1], found[2]))

        return _FIELD.sub(value, self.text)

    def alternatives(self, row: Row, rewrite: Callable[[str], str] = str) -> list[str]:
        """As `rendered`, a text for each entry of the list that a field is.

        Raises:
          UserError: as `rendered`, and for an empty list or several lists.
        """
        lists = [
            name
            for name, index in _FIELD.findall(self.text)
            if not index and isinstance(row.fields.get(name), list)
        ]
        if not lists:
            return [self.rendered(row, rewrite)]
        if len(lists) > 1:
            raise UserError(
                f"{row.where}: '{lists[0]}' and '{lists[1]}' in {self.setting} are lists both, of"
                " which one may be"
            )
        (name,) = lists
        if not row.fields[name]:
            raise UserError(f"{row.where}: the field '{name}' in {self.setting} is an empty list")
        rows = [Row({**row.fields, name: entry}, row.where) for entry in row.fields[name]]
        return list(dict.fromkeys(self.rendered(each, rewrite) for each in rows))

    def _value(self, row: Row, name: str, index: str) -> str:
        value: Any = field(row, name, self.setting)
        if index:
            if not isinstance(value, list) or int(index) >= len(value):
                raise UserError(
                    f"{row.where}: the field '{name}' is {value!r}, which has no entry {index} as"
                    f" {self.setting} names it"
                )
            value = value[int(index)]
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            value = ", ".join(value)
        if isinstance(value, bool | int | float):
            value = label_name(value)
        if not isinstance(value, str) or not value.strip():
            raise UserError(
                f"{row.where}: the field '{name}', which {self.setting} names, is {value!r};"
                " expected a text that is not empty"
            )
        return value
