"""Multiple choice: which of a question's own options is right."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import (
    FLOAT32,
    INT32,
    Features,
    LabelledTask,
    Shapes,
    field,
    framed,
    is_cut,
)
from plmjax.data.labelled.rows import Row
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.settings import choose


@dataclasses.dataclass(frozen=True)
class Choice(LabelledTask):
    """A text, a question, and options of which one is right.

    Each option is a row, [CLS] text [SEP] question option [SEP], and a head gives each a number.

    Attributes:
      text, pair, options, label: the fields that have the text, the question (empty for none), the
        list of options, and the number of the right one, from 0.
      most_options: O, rows of an example; those with fewer options have rows that do not count.
        0 takes as many as an example of the training set has.
      question_with: whether the question stands before each of the `options`, or behind the `text`,
        as in Radford et al. 2018.
    """

    text: str = "context"
    pair: str = "question"
    options: str = "options"
    label: str = "label"
    most_options: int = 0
    question_with: str = "options"

    kind: ClassVar[str] = "choice"
    default_metric: ClassVar[str] = "choice_accuracy"

    def __post_init__(self):
        super().__post_init__()
        choose(self.question_with, dict.fromkeys(("options", "text")), "config.task.question_with")

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Numbers of options, from 0."""
        most = self.most_options or max(len(self.choices(row)) for row in rows)
        return tuple(map(str, range(most)))

    def choices(self, row: Row) -> list[str]:
        """The options of a row.

        Raises:
          UserError: where there are not at least two.
        """
        options = field(row, self.options, "config.task.options")
        if not isinstance(options, list) or len(options) < 2:
            raise UserError(f"{row.where}: the field '{self.options}' is no list of options")
        return options

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        count = len(self.choices(row))
        if count > len(classes):
            raise UserError(
                f"{row.where} has {count} options, and training at most {len(classes)}; give"
                f" config.task.most_options={count}"
            )
        for name, key in ((self.text, "text"), (self.pair, "pair")):
            if name and not isinstance(field(row, name, f"config.task.{key}"), str):
                raise UserError(f"{row.where}: the field '{name}' is no text")
        label = field(row, self.label, "config.task.label")
        if not isinstance(label, int) or not 0 <= label < count:
            raise UserError(
                f"{row.where}: the label is {label!r}; expected the number of one of {count}"
                " options, from 0"
            )

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: 0}

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`: rows [O, L], `option_weights` float32 [O], 1 for an option that
        there is, and `label` int32."""
        rows = (classes, seq_len), INT32
        given = {key: rows for key in ("tokens", "token_types", "attention_mask")}
        return {**given, "label": ((), INT32), "option_weights": ((classes,), FLOAT32)}

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`: one of each example."""
        most = len(classes)
        asked = [row.fields[self.pair] if self.pair else "" for row in rows]
        before = [row.fields[self.text] for row in rows]
        if self.question_with == "text":
            pairs = zip(before, asked, strict=True)
            before, asked = [f"{text} {q}".strip() for text, q in pairs], [""] * len(rows)
        texts = tokenizer.encode_batch(before)
        options = [self.choices(row) for row in rows]
        flat = tokenizer.encode_batch(
            [f"{q} {one}".strip() for q, some in zip(asked, options, strict=True) for one in some]
        )
        ids, types, cut, at = [], [], 0, 0
        weights = np.zeros((len(rows), most), np.float32)
        for number, some in enumerate(options):
            seconds = flat[at : at + len(some)]
            at += len(some)
            pairs = [(texts[number], second) for second in seconds]
            cut += any(is_cut(pair, layout) for pair in pairs)
            nothing = (texts[number][:0], texts[number][:0])
            every = [*pairs, *[nothing] * (most - len(pairs))]
            made = [framed(layout, pair, layout.halves) for pair in every]
            ids.append([row for row, _ in made])
            types.append([of_type for _, of_type in made])
            weights[number, : len(some)] = 1
        labels = [row.fields.get(self.label, 0) for row in rows]
        of = {"label": np.array(labels, np.int32), "option_weights": weights}
        counts = [len(some) for some in options]
        return Features(ids, types, of, np.arange(len(rows)), cut, counts)

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> np.ndarray:
        """As of `LabelledTask`: int [N]."""
        return np.array([row.fields[self.label] for row in rows], np.int32)

    def predictions(
        self, features: Features, logits: np.ndarray, rows: Sequence[Row]
    ) -> list[np.ndarray]:
        """As of `LabelledTask`: the scores of each example's options; `logits` are [N, O]."""
        pairs = zip(logits, features.places, strict=True)
        return [scores[:count].astype(np.float64) for scores, count in pairs]

    def usual(self, references: np.ndarray, rows: Sequence[Row]) -> list[np.ndarray]:
        """As of `LabelledTask`: the most frequent place, where there is one, else the first."""
        best = np.bincount(references).argmax()
        return [(np.arange(len(self.choices(row))) == best).astype(np.float64) for row in rows]

    def said(
        self, predictions: list[np.ndarray], logits: Any, classes: Any, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`."""
        found = []
        for scores, row in zip(predictions, rows, strict=True):
            powers = np.exp(scores - scores.max())
            best = int(scores.argmax())
            score = round(float(powers[best] / powers.sum()), 4)
            found.append({"predicted": best, "option": self.choices(row)[best], "score": score})
        return found
