"""Which of a text's entities a question leaves out: ReCoRD."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import INT32, Features, LabelledTask, Shapes, field, framed, text_of
from plmjax.data.labelled.rows import Row
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Filling(LabelledTask):
    """A text, and a query in which an entity is left out that is one of the row's options.

    Each option in its place makes a row, [CLS] text [SEP] query [SEP], whose class is whether it is
    right, since several may be; the option that is right most likely is what the model says.
    Source: SuperGLUE's baseline (nyu-mll/jiant, tasks/lib/record.py), but for options that stand
    several times in the text, which are one option here.

    Attributes:
      text, pair, options, label: the fields that have the text, the query, the list of options, and
        the list of those that are right.
      placeholder: what stands in the query for what is left out.
    """

    text: str = "passage"
    pair: str = "query"
    options: str = "options"
    label: str = "answers"
    placeholder: str = "@placeholder"

    kind: ClassVar[str] = "classification"
    default_metric: ClassVar[str] = "record"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of metrics that may measure it."""
        return ("answers",)

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Whether an option is right."""
        return ("false", "true")

    def choices(self, row: Row) -> list[str]:
        """The options of a row.

        Raises:
          UserError: where there are none.
        """
        options = field(row, self.options, "config.task.options")
        if not isinstance(options, list) or not options:
            raise UserError(f"{row.where}: the field '{self.options}' is no list of options")
        return options

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        text_of(row, self.text, "config.task.text")
        if self.placeholder not in text_of(row, self.pair, "config.task.pair"):
            raise UserError(
                f"{row.where}: there is no '{self.placeholder}' in the field '{self.pair}'; name it"
                " with config.task.placeholder"
            )
        for name, texts in ((self.options, self.choices(row)), (self.label, self._answers(row))):
            if not all(isinstance(text, str) for text in texts):
                raise UserError(f"{row.where}: the field '{name}' is no list of texts")

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: []}

    def has_label(self, row: Row) -> bool:
        """As of `LabelledTask`; a test file has empty lists."""
        return bool(row.fields.get(self.label))

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`: a row of tokens and the label int32, 1 for a right option."""
        row = (seq_len,), INT32
        given = {key: row for key in ("tokens", "token_types", "attention_mask")}
        return {**given, "label": ((), INT32)}

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`: one of each option; `places` are the options of each example."""
        texts = [row.fields[self.text] for row in rows]
        distinct = list(dict.fromkeys(texts))
        passages = dict(zip(distinct, tokenizer.encode_batch(distinct), strict=True))
        options = [self.choices(row) for row in rows]
        owners = np.repeat(np.arange(len(rows)), [len(some) for some in options])
        flat = [option for some in options for option in some]
        queries = tokenizer.encode_batch(
            [
                rows[owner].fields[self.pair].replace(self.placeholder, option)
                for owner, option in zip(owners, flat, strict=True)
            ]
        )
        ids, types, long = [], [], set()
        for owner, query in zip(owners.tolist(), queries, strict=True):
            passage = passages[texts[owner]]
            made, of_type = framed(layout, [passage, query])
            ids.append([made])
            types.append([of_type])
            if len(passage) + len(query) > layout.room(2):
                long.add(owner)
        right = [
            option in self._answers(rows[owner]) for owner, option in zip(owners, flat, strict=True)
        ]
        targets = {"label": np.array(right, np.int32)}
        return Features(ids, types, targets, owners, len(long), options)

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> list[list[str]]:
        """As of `LabelledTask`: lists of right options."""
        return [self._answers(row) for row in rows]

    def predictions(self, features: Features, logits: np.ndarray, rows: Sequence[Row]) -> list[str]:
        """As of `LabelledTask`: the text of the likeliest option; `logits` are [N, 2]."""
        odds = logits[:, 1].astype(np.float64) - logits[:, 0]
        ends = np.cumsum([len(some) for some in features.places])
        parts = np.split(odds, ends[:-1])
        return [some[int(part.argmax())] for some, part in zip(features.places, parts, strict=True)]

    def usual(self, references: Any, rows: Sequence[Row]) -> list[str]:
        """As of `LabelledTask`: the first option."""
        return [self.choices(row)[0] for row in rows]

    def said(
        self, predictions: list[str], logits: Any, classes: Any, rows: Any
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`."""
        return [{"predicted": text} for text in predictions]

    def _answers(self, row: Row) -> list[str]:
        answers = field(row, self.label, "config.task.label")
        if not isinstance(answers, list):
            raise UserError(f"{row.where}: the field '{self.label}' is no list of answers")
        return answers
