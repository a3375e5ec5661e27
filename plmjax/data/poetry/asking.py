"""Poems that are asked for: from `form=wujue theme=春夜` to what a model reads."""

import dataclasses
from collections.abc import Sequence

from plmjax.data.poetry.forms import FORMS, REGULAR, Poem, form_of, opening
from plmjax.errors import UserError
from plmjax.settings import nearest

_KEYS = ("form", "theme", "acrostic", "tune", "first", "seed")
_LONGEST_CI = 120


@dataclasses.dataclass(frozen=True)
class Asked:
    """A poem that is asked for.

    Attributes:
      form: a name of FORMS.
      theme: what it is about; may be empty. acrostic: the first characters of its lines, which take
        the theme's place.
      tune: of a ci. first: of a couplet, its first line.
      seed: of its draws; None for that of the others.
    """

    form: str
    theme: str = ""
    acrostic: str = ""
    tune: str = ""
    first: str = ""
    seed: int | None = None

    def __post_init__(self):
        form = FORMS[self.form]
        if self.form == "couplet" and not self.first:
            raise UserError("a couplet needs its first line: form=couplet first=海内存知己")
        if self.form == "ci" and not self.tune:
            raise UserError("a ci needs the name of its tune: form=ci tune=浣溪沙")
        for name, of in (("tune", "ci"), ("first", "couplet")):
            if getattr(self, name) and self.form != of:
                raise UserError(f"{name}={getattr(self, name)} is for form={of}; leave it out")
        if self.acrostic and self.form not in REGULAR:
            raise UserError(
                f"acrostic={self.acrostic} with form={self.form}; acrostics have one of the forms"
                f" {', '.join(REGULAR)}"
            )
        if self.acrostic and len(self.acrostic) != form.lines:
            raise UserError(
                f"acrostic={self.acrostic} has {len(self.acrostic)} characters, and {self.form} has"
                f" {form.lines} lines; give {form.lines} characters"
            )

    @property
    def subject(self) -> str:
        """What stands where the theme does."""
        return self.acrostic or self.first or self.theme

    @property
    def opening(self) -> str:
        """What the model reads."""
        return opening(self.form, self.subject, self.tune)

    @property
    def length(self) -> int:
        """Characters to write, at most, marks counted."""
        if self.form == "couplet":
            return len(self.first) + 1
        return FORMS[self.form].length or _LONGEST_CI

    def written(self, body: str) -> Poem:
        """The poem with this body."""
        return Poem(self.form, self.subject, body, self.tune)


def asked(text: str) -> Asked:
    """What `form=wujue theme=春夜` asks for; values have no spaces.

    Raises:
      UserError: for an unknown key or form, what does not belong together, an acrostic of another
        length, and a couplet without its first line.
    """
    found: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals or key not in _KEYS:
            raise UserError(f"--poem has '{word}'{nearest(key, _KEYS)}")
        found[key] = value.strip("，。,.") if key == "first" else value
    if not found.get("form"):
        raise UserError(f"--poem='{text}' has no form; give one of {', '.join(FORMS)}: form=wujue")
    seed = found.pop("seed", None)
    if seed is not None and not seed.isdecimal():
        raise UserError(f"--poem has seed={seed}; give a number from 0")
    form = form_of(found.pop("form"))
    return Asked(form, **found, seed=None if seed is None else int(seed))


def joined(arguments: Sequence[str]) -> list[str]:
    """A command line with the words that follow --poem made one: --poem 'form=wujue theme=春夜'."""
    found: list[str] = []
    for word in arguments:
        into = bool(found) and (found[-1] == "--poem" or found[-1].startswith("--poem="))
        if into and not word.startswith("-") and "=" in word:
            found[-1] += f"{'=' if found[-1] == '--poem' else ' '}{word}"
        else:
            found.append(word)
    return found
