"""What is asked of words in a text: what a pronoun means, whether a word means the same twice."""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

from plmjax.data.labelled.base import field, text_of
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.text_tasks import Classification
from plmjax.errors import UserError


class Mention(NamedTuple):
    """Characters `begin` to `end` (not included) of a text, and the marks around them."""

    begin: int
    end: int
    marks: str


NOUN, PRONOUN = "__", "[]"
PLACES = {
    "words": "two of one text, by the number of their first word (SuperGLUE's WSC)",
    "characters": "two of one text, by the number of their first character (CLUEWSC2020)",
    "pair": "one of each text, by its characters (WiC)",
}


@dataclasses.dataclass(frozen=True)
class Mentions(Classification):
    """One class of several, of words that are marked in what the model reads: `_noun_` and
    `[pronoun]`, as CLUE's baseline has them (classifier_pytorch/processors/clue.py); of a pair of
    texts `_word_` in both.

    Attributes:
      text, pair, label, labels: as of `Classification`.
      places: where the words are: one of PLACES. Of one text the fields are `span1_text`,
        `span1_index` (the noun's), `span2_text` and `span2_index` (the pronoun's); of a pair
        `start1`, `end1`, `start2` and `end2`.
    """

    places: str = "words"

    def __post_init__(self):
        super().__post_init__()
        if self.places not in PLACES:
            raise UserError(f"places='{self.places}' is unknown; give {', '.join(PLACES)}")
        if (self.places == "pair") != bool(self.pair):
            raise UserError(f"places='{self.places}' and pair='{self.pair}'; give pair two texts")

    def texts(self, row: Row) -> tuple[str, ...]:
        """The text of a row with its marks, or both of them.

        Raises:
          UserError: where the row has none, or no such words.
        """
        if self.places == "pair":
            names = ((self.text, "text"), (self.pair, "pair"))
            return tuple(self._of_pair(row, *name, at) for at, name in enumerate(names, 1))
        text = text_of(row, self.text, "config.task.text")
        find = in_words if self.places == "words" else in_characters
        mentions = []
        for number, marks in ((1, NOUN), (2, PRONOUN)):
            name = f"span{number}"
            span = text_of(row, f"{name}_text", "the benchmark")
            found = find(text, span, field(row, f"{name}_index", "the benchmark"))
            if found is None:
                raise UserError(
                    f"{row.where}: '{span}' does not stand where '{name}_index' says; mend the row"
                )
            mentions.append(Mention(*found, marks))
        return (marked(text, mentions),)

    def _of_pair(self, row: Row, name: str, key: str, number: int) -> str:
        text = text_of(row, name, f"config.task.{key}")
        begin, end = (field(row, f"{at}{number}", "the benchmark") for at in ("start", "end"))
        try:
            begin, end = int(begin), int(end)
        except (TypeError, ValueError):
            begin = end = -1
        if not 0 <= begin < end <= len(text):
            raise UserError(
                f"{row.where}: 'start{number}' and 'end{number}' are no place in its text of"
                f" {len(text)} characters"
            )
        return marked(text, [Mention(begin, end, NOUN)])


def in_words(text: str, span: str, index: int) -> tuple[int, int] | None:
    """Where a span stands that begins with the word of a number, words being between white space.

    Words have their punctuation, and capitals differ: what is in the text counts. Where the span is
    not literally there, it is as many words as it has. None where there is no such word.
    """
    words = list(re.finditer(r"\S+", text))
    if not isinstance(index, int) or not 0 <= index < len(words):
        return None
    first = words[index]
    found = re.compile(re.escape(span), re.IGNORECASE).search(text, first.start())
    if found and found.start() < first.end():
        return found.span()
    last = min(index + len(span.split()), len(words)) - 1
    return first.start(), words[last].end()


def in_characters(text: str, span: str, index: int) -> tuple[int, int] | None:
    """Where a span stands that begins at a character; None where it does not."""
    there = isinstance(index, int) and index >= 0 and text.startswith(span, index)
    return (index, index + len(span)) if there else None


def marked(text: str, mentions: Sequence[Mention]) -> str:
    """The text with a mark before and after each mention; what ends comes before what begins, and
    of a mention in another one the marks are inside."""
    places = [(one.end, 0, -one.begin, one.marks[1]) for one in mentions]
    places += [(one.begin, 1, -one.end, one.marks[0]) for one in mentions]
    for at, *_, mark in sorted(places, reverse=True):
        text = text[:at] + mark + text[at:]
    return text
