"""What is asked of a text, or of two: one class of several, any number of classes, a number."""

import dataclasses
import math
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
    text_of,
)
from plmjax.data.labelled.benchmarks import label_name
from plmjax.data.labelled.rows import Row
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class TextTask(LabelledTask):
    """A label for each text, or pair of texts.

    Attributes:
      text, pair, label: the fields that have the text, the second text (empty for none), and the
        label.
      both_orders: whether a pair is read twice, in its order and in the other, and told by the sum
        of both: where the two texts are alike (Radford et al. 2018, similarity).
    """

    text: str = "text"
    pair: str = ""
    label: str = "label"
    both_orders: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.both_orders and not self.pair:
            raise UserError(
                "config.task.both_orders=True is of pairs, and config.task.pair is empty; name the"
                " field of the second text"
            )

    def texts(self, row: Row) -> tuple[str, ...]:
        """The text of a row, or both of them.

        Raises:
          UserError: where the row has none, or an empty one.
        """
        first = text_of(row, self.text, "config.task.text")
        return (first, text_of(row, self.pair, "config.task.pair")) if self.pair else (first,)

    def target(self, row: Row, classes: Sequence[str]) -> Any:
        """The label of a row as batches have it.

        Raises:
          UserError: where there is none, or one that training has not.
        """
        raise NotImplementedError

    def target_spec(self, classes: int) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of `target`."""
        raise NotImplementedError

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        self.texts(row)
        self.target(row, classes)

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`: a row of tokens, two [2, L] with `both_orders`, and the label."""
        row = (2, seq_len) if self.both_orders else (seq_len,), INT32
        given = {key: row for key in ("tokens", "token_types", "attention_mask")}
        return {**given, "label": self.target_spec(classes)}

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`: one of each text or pair."""
        texts = [self.texts(row) for row in rows]
        each = len(texts[0])
        ids = tokenizer.encode_batch([text for some in texts for text in some])
        pieces = [ids[at : at + each] for at in range(0, len(ids), each)]
        orders = [[some, some[::-1]] if self.both_orders else [some] for some in pieces]
        made = [[framed(layout, some, layout.halves) for some in each] for each in orders]
        return Features(
            ids=[[ids for ids, _ in each] for each in made],
            types=[[types for _, types in each] for each in made],
            targets={"label": self.targets(rows, classes)},
            owners=np.arange(len(rows)),
            cut=sum(is_cut(some, layout) for some in pieces),
        )

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> Any:
        """As of `LabelledTask`: [N, ...]."""
        return self.targets(rows, classes)

    def targets(self, rows: Sequence[Row], classes: Sequence[str]) -> np.ndarray:
        """The labels of the rows as batches have them: [N, ...]."""
        _, dtype = self.target_spec(len(classes))
        return np.array([self.target(row, classes) for row in rows], dtype)


@dataclasses.dataclass(frozen=True)
class Classification(TextTask):
    """One class of several.

    Attributes:
      labels: the classes as files write them, with commas between, in the order of their numbers;
        empty for those of the training set, sorted.
    """

    labels: str = ""

    kind: ClassVar[str] = "classification"
    default_metric: ClassVar[str] = "accuracy"

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """As of `LabelledTask`."""
        names = given_names(self.labels) or sorted({self.name(row) for row in rows}, key=in_order)
        if len(names) < 2:
            raise UserError(
                f"task.label={self.label} has one value alone, {names[0]!r}, in the training set;"
                " there is nothing to learn to tell apart"
            )
        return tuple(names)

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: classes[0]}

    def target(self, row: Row, classes: Sequence[str]) -> int:
        """The number of the row's class."""
        return number_of(self.name(row), classes, row)

    def target_spec(self, classes: int) -> tuple[tuple[int, ...], np.dtype]:
        """One int."""
        return (), INT32

    def predictions(
        self, features: Features, logits: np.ndarray, rows: Sequence[Row]
    ) -> np.ndarray:
        """As of `LabelledTask`: int [N]."""
        return logits.argmax(-1)

    def usual(self, references: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
        """As of `LabelledTask`: the most frequent class."""
        return np.full(len(rows), np.bincount(references).argmax())

    def said(
        self, predictions: np.ndarray, logits: np.ndarray, classes: Sequence[str], rows: Any
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`."""
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        shares = powers / powers.sum(-1, keepdims=True)
        likely = np.take_along_axis(shares, predictions[:, None], -1)[:, 0]
        pairs = zip(predictions.tolist(), likely.tolist(), strict=True)
        return [{"predicted": classes[i], "score": round(p, 4)} for i, p in pairs]

    def name(self, row: Row) -> str:
        """The name of the row's class."""
        value = field(row, self.label, "config.task.label")
        if isinstance(value, list | dict) or value is None or value == "":
            raise UserError(
                f"{row.where}: the label '{self.label}' is {value!r}; expected the name of a class"
            )
        return written(value)


@dataclasses.dataclass(frozen=True)
class MultiLabel(TextTask):
    """Any number of classes.

    Attributes:
      labels: as of `Classification`.
      separator: what stands between the classes of a text in a file; not read where a file has
        lists.
    """

    labels: str = ""
    separator: str = ","

    kind: ClassVar[str] = "multi_label"
    default_metric: ClassVar[str] = "multi_label"

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """As of `LabelledTask`."""
        found = {name for row in rows for name in self._names(row)}
        names = given_names(self.labels) or sorted(found, key=in_order)
        if not names:
            raise UserError(f"task.label={self.label} names no class in the whole training set")
        return tuple(names)

    def has_label(self, row: Row) -> bool:
        """As of `LabelledTask`; an empty field says that there is no class."""
        return row.fields.get(self.label) is not None

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: []}

    def target(self, row: Row, classes: Sequence[str]) -> np.ndarray:
        """Float32 [C], 1 for the classes of the row."""
        found = np.zeros(len(classes), np.float32)
        found[[number_of(name, classes, row) for name in self._names(row)]] = 1
        return found

    def target_spec(self, classes: int) -> tuple[tuple[int, ...], np.dtype]:
        """Float32 [C]."""
        return (classes,), FLOAT32

    def predictions(
        self, features: Features, logits: np.ndarray, rows: Sequence[Row]
    ) -> np.ndarray:
        """As of `LabelledTask`: the probability of each class, float [N, C]."""
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))

    def usual(self, references: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
        """As of `LabelledTask`: the share of each class."""
        return np.repeat(references.mean(0)[None], len(rows), axis=0)

    def said(
        self, predictions: np.ndarray, logits: np.ndarray, classes: Sequence[str], rows: Any
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`: the classes from one half on, and the probability of each."""
        return [
            {
                "predicted": [c for c, p in zip(classes, some, strict=True) if p >= 0.5],
                "score": [round(p, 4) for p in some],
            }
            for some in predictions.tolist()
        ]

    def _names(self, row: Row) -> list[str]:
        value = field(row, self.label, "config.task.label")
        names = value if isinstance(value, list) else str(value).split(self.separator)
        return [name for name in map(written, names) if name]


@dataclasses.dataclass(frozen=True)
class Regression(TextTask):
    """A number."""

    kind: ClassVar[str] = "regression"
    default_metric: ClassVar[str] = "pearson_spearman"

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """None."""
        return ()

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: 0.0}

    def target(self, row: Row, classes: Sequence[str]) -> float:
        """The number."""
        value = field(row, self.label, "config.task.label")
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(
                f"{row.where}: the label '{self.label}' is {value!r}; expected a number"
            )
        return number

    def target_spec(self, classes: int) -> tuple[tuple[int, ...], np.dtype]:
        """One float32."""
        return (), FLOAT32

    def predictions(
        self, features: Features, logits: np.ndarray, rows: Sequence[Row]
    ) -> np.ndarray:
        """As of `LabelledTask`: float [N]."""
        return logits[:, 0].astype(np.float64)

    def usual(self, references: np.ndarray, rows: Sequence[Row]) -> np.ndarray:
        """As of `LabelledTask`: the mean."""
        return np.full(len(rows), references.mean())

    def said(
        self, predictions: np.ndarray, logits: np.ndarray, classes: Sequence[str], rows: Any
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`."""
        return [{"predicted": float(f"{number:.6g}")} for number in predictions.tolist()]


def given_names(labels: str) -> list[str]:
    """Names with commas between."""
    return [name.strip() for name in labels.split(",") if name.strip()]


def written(value: Any) -> str:
    """A label as text; JSON's numbers and truth values as files of text have them."""
    return label_name(value).strip()


def in_order(name: str) -> tuple[bool, float, str]:
    """A key to sort by: numbers by size, then names by the alphabet."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def number_of(name: str, classes: Sequence[str], row: Row) -> int:
    """The number of a class.

    Raises:
      UserError: for a name that is none of them; `row` has it.
    """
    try:
        return list(classes).index(name)
    except ValueError:
        shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
        raise UserError(
            f"{row.where}: the label '{name}' is not one that was trained: {shown}"
        ) from None
