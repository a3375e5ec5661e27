"""The forms that poems have, and how a poem is written as one text.

Source: Liao et al. 2019, "GPT-based Generation for Classical Chinese Poetry", and the code that was
released with it: form, first marker, theme, second marker, body.
"""

import dataclasses
import re

from plmjax.errors import UserError
from plmjax.settings import nearest

FORM_MARK = "(格式)"
THEME_MARK = "(诗歌标题)"
_SEQUENCE = re.compile(
    f"(?P<name>[^()]*){re.escape(FORM_MARK)}(?P<theme>[^()]*){re.escape(THEME_MARK)}(?P<body>.*)",
    re.DOTALL,
)
_LINE_ENDS = re.compile("[，。、]")


@dataclasses.dataclass(frozen=True)
class Form:
    """What makes a form.

    Attributes:
      name: as it stands in the text; empty for ci, where the name of the tune does.
      width: characters of each line; 0 where they differ.
      lines: how many there are; 0 where that differs.
    """

    name: str
    width: int = 0
    lines: int = 0

    @property
    def length(self) -> int:
        """Characters of a poem, punctuation counted; 0 where that differs."""
        return self.lines * (self.width + 1)


FORMS = {
    "wujue": Form("五言绝句", 5, 4),
    "qijue": Form("七言绝句", 7, 4),
    "wulu": Form("五言律诗", 5, 8),
    "qilu": Form("七言律诗", 7, 8),
    "ci": Form(""),
    "couplet": Form("对联", 0, 1),
}
"""By the names that a user types."""

REGULAR = ("wujue", "qijue", "wulu", "qilu")
"""Forms that say how many lines there are and how long they are."""

_BY_NAME = {form.name: key for key, form in FORMS.items() if form.name}
_ALIASES = {"wulü": "wulu", "qilü": "qilu"} | _BY_NAME


@dataclasses.dataclass(frozen=True)
class Poem:
    """A poem as it is trained on or was written.

    Attributes:
      form: a name of FORMS.
      theme: its title, or what stands in its place; may be empty.
      body: lines with their marks, ，。 and in ci 、.
      tune: of a ci.
    """

    form: str
    theme: str
    body: str
    tune: str = ""

    @property
    def text(self) -> str:
        """All of it in the published layout, without the tokens at both ends."""
        return f"{opening(self.form, self.theme, self.tune)}{self.body}"

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines without their marks."""
        return lines_of(self.body)


def opening(form: str, theme: str, tune: str = "") -> str:
    """What precedes the body in the published layout."""
    return f"{FORMS[form].name or tune}{FORM_MARK}{theme}{THEME_MARK}"


def parsed(text: str) -> Poem | None:
    """The poem of a text that `Poem.text` made; None for another text."""
    found = _SEQUENCE.fullmatch(text.strip())
    if found is None:
        return None
    form = _BY_NAME.get(found["name"], "ci")
    tune = found["name"] if form == "ci" else ""
    return Poem(form, found["theme"], found["body"], tune)


def lines_of(body: str) -> tuple[str, ...]:
    """The lines of a body, without their marks."""
    return tuple(line for line in _LINE_ENDS.split(body) if line)


def regular_form(lines: tuple[str, ...]) -> str:
    """The form of REGULAR that has these lines; empty for none."""
    widths = {len(line) for line in lines}
    for key in REGULAR:
        if widths == {FORMS[key].width} and len(lines) == FORMS[key].lines:
            return key
    return ""


def regular_body(lines: tuple[str, ...]) -> str:
    """Lines with the marks that a regular poem has: ， and 。 by turns."""
    return "".join(f"{line}{'，。'[number % 2]}" for number, line in enumerate(lines))


def form_of(name: str) -> str:
    """The name in FORMS of what a user typed, which may be Chinese or have its dots.

    Raises:
      UserError: for an unknown form, with the nearest.
    """
    key = _ALIASES.get(name, name)
    if key not in FORMS:
        raise UserError(f"the form '{name}' is unknown{nearest(name, [*FORMS, *_ALIASES])}")
    return key
