"""Which of a question's answers are right, of which none may be or several."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import field, text_of
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.text_tasks import Classification, given_names


@dataclasses.dataclass(frozen=True)
class Verification(Classification):
    """A class for each answer to a question about a text: MultiRC's, where the second class says
    that the answer is right.

    A row is [CLS] text [SEP] question answer [SEP]. Figures are those of Khashabi et al. (2018): F1
    over all answers, and the share of questions all of whose answers are told.

    Attributes:
      text, pair, label, labels: as of `Classification`; `pair` is the question.
      answer: the field of the answer, which is read behind the question.
      group: the fields that together say of which question an answer is, with commas between.
    """

    text: str = "passage"
    pair: str = "question"
    answer: str = "answer"
    group: str = "passage_id,question_id"

    default_metric: ClassVar[str] = "multirc"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of metrics that may measure it."""
        return ("grouped_classification",)

    def texts(self, row: Row) -> tuple[str, ...]:
        """The text, and the question with the answer behind it."""
        first, question = super().texts(row)
        answer = text_of(row, self.answer, "config.task.answer")
        return first, f"{question} {answer}"

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        super().check(row, classes)
        self._question(row)

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> Any:
        """As of `LabelledTask`: the classes and the numbers of the questions, int [N] both."""
        numbers: dict[tuple, int] = {}
        groups = [numbers.setdefault(self._question(row), len(numbers)) for row in rows]
        return self.targets(rows, classes), np.array(groups)

    def usual(self, references: Any, rows: Sequence[Row]) -> np.ndarray:
        """As of `LabelledTask`: the most frequent class."""
        return super().usual(references[0], rows)

    def _question(self, row: Row) -> tuple:
        return tuple(field(row, name, "config.task.group") for name in given_names(self.group))
