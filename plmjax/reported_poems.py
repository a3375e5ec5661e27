"""The poems of a report: what a model is asked for, and people's poems to compare with."""

import dataclasses
import itertools
from collections.abc import Container, Sequence

from plmjax.asked_poems import Written
from plmjax.data.poetry.asking import Asked
from plmjax.data.poetry.corpus import ACROSTIC, held_out_poems, training_poems
from plmjax.data.poetry.forms import FORMS, Poem, form_of
from plmjax.errors import UserError
from plmjax.evals.poetry import report
from plmjax.evals.poetry.copying import Copies
from plmjax.evals.poetry.sounds import Sounds


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The poems of people.

    Attributes:
      held_out: what was not trained on.
      copies: what was.
    """

    held_out: tuple[Poem, ...]
    copies: Copies

    @classmethod
    def read(cls, folder: str) -> "Corpus":
        """Of the folder that `python -m plmjax.poems` made.

        Raises:
          UserError: where it is none, or holds out no poem.
        """
        held_out = tuple(held_out_poems(folder))
        if not held_out:
            raise UserError(
                f"--poems={folder} holds out no poem to compare with; make it with --held_out=0.01"
            )
        trained = [poem.lines for poem in training_poems(folder)]
        # Those of lines that only couplets have are in it by their lüshi.
        return cls(held_out, Copies(trained))

    def asked(self, name: str, count: int, known: Container[str]) -> list[Asked]:
        """So many poems of a form, with the themes of held-out poems of any.

        Args:
          name: a form, or acrostic_FORM.
          count: how many; themes come again where there are fewer.
          known: characters that the model has; what has others is passed over.

        Raises:
          UserError: for an unknown form, and where no held-out poem has what is needed.
        """
        form = form_of(name.removeprefix(ACROSTIC))
        if name.startswith(ACROSTIC):
            heads = ["".join(line[0] for line in poem.lines) for poem in self.of(form)]
            made = [Asked(form, acrostic=head) for head in heads]
        elif form == "couplet":
            lushi = [poem.lines for kind in ("wulu", "qilu") for poem in self.of(kind)]
            made = [Asked(form, first=lines[at]) for lines in lushi for at in (2, 4)]
        elif form == "ci":
            made = [Asked(form, tune=poem.tune) for poem in self.of(form)]
        else:
            made = [Asked(form, theme=poem.theme) for poem in self.held_out if poem.theme]
        made = [one for one in made if all(c in known for c in one.subject + one.tune)]
        if not made:
            raise UserError(f"no held-out poem has what --forms={name} needs; hold out more")
        return list(itertools.islice(itertools.cycle(made), count))

    def of(self, form: str) -> list[Poem]:
        """The held-out poems of a form."""
        return [poem for poem in self.held_out if poem.form == form]


def compared(
    name: str, poems: Sequence[Written], corpus: Corpus, sounds: Sounds
) -> dict[str, report.Found]:
    """What a model's poems come to, and beside it what people's of the same form do.

    Args:
      name: a form, or acrostic_FORM.
      poems: of the model.
      corpus: of people.
      sounds: of characters.
    """
    form = form_of(name.removeprefix(ACROSTIC))
    shape = report.Shape(FORMS[form].width, FORMS[form].lines)
    ours = [_measurable(one.poem, one.asked.acrostic, len(one.asked.first)) for one in poems]
    theirs = [_measurable(poem) for poem in corpus.of(form)]
    count = min(len(ours), len(theirs)) if theirs else 0
    found = {name: report.measured(ours, shape, sounds, corpus.copies, count)}
    if theirs and not name.startswith(ACROSTIC):
        found[f"{name}, people's"] = report.measured(theirs, shape, sounds, corpus.copies, count)
    return found


def _measurable(poem: Poem, heads: str = "", width: int = 0) -> report.Written:
    return report.Written(poem.body, poem.lines, heads, width)
