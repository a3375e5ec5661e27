"""Tasks told as text and answered as text (Raffel et al. 2020, T5)."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import LabelledTask, Shapes, field
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.spoken import class_reader, number_as_text, number_in
from plmjax.data.labelled.templates import REWRITES, Template
from plmjax.data.labelled.text_pairs import STARTS, TextPairs, pair_spec, paired, start_token
from plmjax.data.labelled.text_tasks import given_names, in_order, number_of, written
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.settings import choose

ANSWERS = {"text": "answers", "class": "classification", "number": "regression"}
"""What an answer is, and the kind of metrics that measure it."""


@dataclasses.dataclass(frozen=True)
class TextToText(LabelledTask):
    """A text that a model reads, and one that it writes: a class, a number, or words.

    What it writes is read back: a class is what the tokenizer makes of its name, letter for letter,
    and a number one that Python reads; all else is no answer, which is wrong and is counted
    (`not_an_answer`). As a class it is -1, as a number `otherwise`. Source: google-research/
    text-to-text-transfer-transformer, t5/data/postprocessors.py.

    Attributes:
      source: what is read, with fields in braces: `mnli hypothesis: {hypothesis} premise:
        {premise}`; of a list an entry is {name[0]}.
      target: what is written, as `{label}`. Of words, a field that is a list has several right
        answers, of which the first is learned.
      answers: what an answer is: `text`, `class` or `number`.
      labels: of classes as files write them, with commas between, in the order of their numbers;
        empty for those of the training set, sorted.
      words: what is written for each of `labels`; empty for their names.
      step: numbers are written as the nearest multiple of it (T5's STS-B: 0.2); 0 as they are.
      otherwise: the number that stands for an answer that is none.
      label: the field that says what is right; empty for the first that `target` names.
      every: whether each right answer is an example of its own (T5's ReCoRD).
      group: fields, with commas between, that say of which question a class is the answer
        (MultiRC), for metrics of questions.
      rewrite: what is made of each field first, a name of `templates.REWRITES`.
      target_len: tokens of what is written, with those around it; the rest is cut off.
      start: what an encoder-decoder's decoder reads first: `pad` (T5) or `end`, that of a text
        (BART); empty of a decoder alone, which reads source and target as one row of seq_len
        tokens. The config of fine-tuning fills it in.
      beams: of the search for an answer; 1 takes the best token each time.
      length_penalty, no_repeat_ngram: of it, as `plmjax.decoding.settings.DecodingConfig` has them.
    """

    source: str = "{text}"
    target: str = "{label}"
    answers: str = "text"
    labels: str = ""
    words: str = ""
    step: float = 0.0
    otherwise: float = -1.0
    label: str = ""
    every: bool = False
    group: str = ""
    rewrite: str = ""
    target_len: int = 32
    start: str = "pad"
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0

    writes: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        choose(self.answers, ANSWERS, "answers")
        choose(self.rewrite, REWRITES, "rewrite")
        choose(self.start, STARTS, "start")
        _ = self.source_template  # which says what is wrong
        object.__setattr__(self, "label", self.label or self.target_template.fields[0])
        if self.label not in self.target_template.fields:
            raise UserError(
                f"label={self.label} is no field of config.task.target={self.target}; leave it out"
            )
        if self.answers != "text":
            _ = self.target_template.around
        for name, least in (("target_len", 2), ("beams", 1), ("no_repeat_ngram", 0), ("step", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)}; give {least} or more")
        words, labels = given_names(self.words), given_names(self.labels)
        if words and len(words) != len(labels):
            raise UserError(
                f"words={self.words} are {len(words)} and config.task.labels={self.labels} are"
                f" {len(labels)}; give as many, in the same order"
            )
        if self.beams == 1 and self.length_penalty != 1:
            raise UserError(
                f"length_penalty={self.length_penalty} does nothing with beams=1; give more beams"
            )

    @property
    def kind(self) -> str:
        """What it is to metrics."""
        return "grouped_classification" if self._grouped else ANSWERS[self.answers]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of metrics that may measure it."""
        more = {"text": ("texts",), "class": ("grouped_classification",) if self.group else ()}
        return (ANSWERS[self.answers], *more.get(self.answers, ()))

    @property
    def default_metric(self) -> str:
        """The metric where none is named."""
        return {"text": "squad", "class": "accuracy", "number": "pearson_spearman"}[self.answers]

    @property
    def weight_key(self) -> str:
        """The batch key with the weight of each token."""
        return "decoder_weights" if self.start else "weights"

    @functools.cached_property
    def source_template(self) -> Template:
        """What is read."""
        return Template(self.source, "config.task.source")

    @functools.cached_property
    def target_template(self) -> Template:
        """What is written."""
        return Template(self.target, "config.task.target")

    @property
    def _grouped(self) -> bool:
        return bool(self.group) and self.measured == "multirc"

    # ---------------------------------------------------------------- of the examples

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """As of `LabelledTask`; none of words and numbers."""
        if self.answers != "class":
            return ()
        found = given_names(self.labels) or sorted({self.name(row) for row in rows}, key=in_order)
        if len(found) < 2:
            raise UserError(
                f"task.target={self.target} has one value alone, {found[0]!r}, in the training set;"
                " there is nothing to learn to tell apart"
            )
        return tuple(found)

    def name(self, row: Row) -> str:
        """The name of the row's class."""
        value = field(row, self.label, "config.task.target")
        if isinstance(value, list | dict) or value is None or value == "":
            raise UserError(
                f"{row.where}: the label '{self.label}' is {value!r}; expected the name of a class"
            )
        return written(value)

    def number(self, row: Row) -> float:
        """The number of a row."""
        value = field(row, self.label, "config.task.target")
        found = None if isinstance(value, bool) else number_in(str(value))
        if found is None:
            raise UserError(
                f"{row.where}: the label '{self.label}' is {value!r}; expected a number"
            )
        return found

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        self.texts(row)
        self.right_texts(row, classes)
        for name in given_names(self.group):
            field(row, name, "config.task.group")

    def has_label(self, row: Row) -> bool:
        """As of `LabelledTask`: whether each field of the target is there."""
        given = (row.fields.get(name) for name in self.target_template.fields)
        return all(value not in (None, "", []) for value in given)

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`: the first class, 0, or a sign."""
        sign = {"class": classes[0] if classes else "", "number": 0, "text": "-"}[self.answers]
        return dict.fromkeys(self.target_template.fields, sign)

    def texts(self, row: Row) -> tuple[str, ...]:
        """What is read of a row."""
        return (self.source_template.rendered(row, REWRITES[self.rewrite]),)

    def right_texts(self, row: Row, classes: Sequence[str]) -> list[str]:
        """What may be written of a row: one text, or of words several right answers."""
        if self.answers == "text":
            return self.target_template.alternatives(row, REWRITES[self.rewrite])
        before, after = self.target_template.around
        if self.answers == "number":
            return [f"{before}{number_as_text(self.number(row), self.step)}{after}"]
        return [self._spoken(classes)[number_of(self.name(row), classes, row)]]

    def _spoken(self, classes: Sequence[str]) -> list[str]:
        """What is written for each class."""
        before, after = self.target_template.around
        return [f"{before}{word}{after}" for word in given_names(self.words) or classes]

    # ---------------------------------------------------------------- what a model reads

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`; see `plmjax.data.labelled.text_pairs.pair_spec`."""
        return pair_spec(seq_len, self.target_len, not self.start)

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> TextPairs:
        """As of `LabelledTask`: one of each row, with `every` one of each right answer; `places`
        reads what a model writes."""
        answers = [self.right_texts(row, classes) for row in rows]
        kept = [each if self.every else each[:1] for each in answers]
        sources = tokenizer.encode_batch([self.texts(row)[0] for row in rows])
        for row, ids in zip(rows, sources, strict=True):
            if not len(ids):
                raise UserError(f"{row.where}: the tokenizer makes nothing of its source")
        return paired(
            sources,
            tokenizer.encode_batch([text for each in kept for text in each]),
            np.repeat(np.arange(len(rows)), [len(each) for each in kept]),
            layout,
            start=start_token(tokenizer, self.start),
            target_len=self.target_len,
            places=self._reader(classes, tokenizer),
        )

    def _reader(self, classes: Sequence[str], tokenizer: Tokenizer) -> Callable[[str], Any]:
        """From what a model has written to the answer that it is, None for none."""
        if self.answers == "text":
            return str
        if self.answers == "number":
            return self._number_in
        return class_reader(self._spoken(classes), classes, tokenizer, goes_on=not self.start)

    def _number_in(self, text: str) -> float | None:
        before, after = self.target_template.around
        return number_in(text, before.lstrip(), after.rstrip())

    # ---------------------------------------------------------------- what a model says

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> Any:
        """As of `LabelledTask`: int [N], with groups a pair of them; float [N]; lists of texts."""
        if self.answers == "text":
            return [self.right_texts(row, classes) for row in rows]
        if self.answers == "number":
            return np.array([self.number(row) for row in rows], np.float32)
        found = np.array([number_of(self.name(row), classes, row) for row in rows], np.int32)
        return (found, self._groups(rows)) if self._grouped else found

    def _groups(self, rows: Sequence[Row]) -> np.ndarray:
        names = given_names(self.group)
        found: dict[tuple, int] = {}
        keys = [tuple(str(row.fields[name]) for name in names) for row in rows]
        return np.array([found.setdefault(key, len(found)) for key in keys])

    def predictions(self, features: TextPairs, logits: Sequence[str], rows: Sequence[Row]) -> Any:
        """As of `LabelledTask`, `logits` being what was written for each example: texts, numbers,
        float [N], or classes, int [N], -1 for none."""
        answers = [features.places(text.strip()) for text in logits]
        if self.answers == "text":
            return answers
        none, dtype = (-1, np.int64) if self.answers == "class" else (self.otherwise, np.float64)
        return np.array([none if one is None else one for one in answers], dtype)

    def besides(self, features: TextPairs, logits: Sequence[str]) -> dict[str, float]:
        """How many answers are none."""
        if self.answers == "text":
            return {}
        return {"not_an_answer": sum(features.places(text.strip()) is None for text in logits)}

    def said(
        self, predictions: Any, logits: Sequence[str], classes: Sequence[str], rows: Any
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`: the name of a class, None for none, a number or a text; and what
        was `written`."""
        texts = [text.strip() for text in logits]
        found: Sequence[Any] = texts
        if self.answers == "number":
            found = predictions.tolist()
        if self.answers == "class":
            found = [classes[number] if number >= 0 else None for number in predictions.tolist()]
        return [{"predicted": one, "written": text} for one, text in zip(found, texts, strict=True)]

    def usual(self, references: Any, rows: Sequence[Row]) -> Any:
        """As of `LabelledTask`: the most frequent class or text, the mean."""
        if self.answers == "number":
            return np.full(len(rows), references.mean())
        if self.answers == "class":
            found = references[0] if self._grouped else references
            return np.full(len(rows), np.bincount(found).argmax())
        ((most, _),) = collections.Counter(each[0] for each in references).most_common(1)
        return [most] * len(rows)
