"""Answers that stand in a text: which span of it answers a question, or that none does."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from plmjax.data.labelled.base import INT32, Features, LabelledTask, Shapes, field, framed, text_of
from plmjax.data.labelled.rows import Row
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

NONE_MEASURED = ("squad_v2", "squad_v2_best")
"""The metrics that take questions without an answer."""


class Window(NamedTuple):
    """A part of a text in a row.

    first: the place of its first token in the row. begins, ends: int [n], where each token begins
    and ends in the text, in characters. whole: bool [n], whether no other window has more of what
    is around the token.
    """

    first: int
    begins: np.ndarray
    ends: np.ndarray
    whole: np.ndarray


class Found(NamedTuple):
    """An answer: its text, where it begins, and its score. null: the score of no answer."""

    text: str
    start: int
    score: float
    null: float


@dataclasses.dataclass(frozen=True)
class Extraction(LabelledTask):
    """A question about a text, answered by a span of it.

    Texts that are longer than a row are read in windows that overlap. Source: google-research/bert
    run_squad.py, whose settings and habits these are; where there are questions without an answer,
    that of the first token stands for none.

    Attributes:
      text, pair, label, starts: the fields that have the text, the question, the list of right
        answers, and where in the text each of them begins, in characters.
      stride: tokens from one window to the next.
      most_question: tokens of a question that are read.
      most_answer: tokens of an answer.
      best: how many beginnings and ends are looked at.
      shortest: as of `LabelledTask`, and 0: beginnings and ends are told among all places of a row,
        padding too, as in run_squad.py, so that the length of rows matters.
    """

    text: str = "context"
    pair: str = "question"
    label: str = "answers"
    starts: str = "starts"
    stride: int = 128
    most_question: int = 64
    most_answer: int = 30
    best: int = 20
    shortest: int = 0

    kind: ClassVar[str] = "answers"
    default_metric: ClassVar[str] = "squad"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of metrics that may measure it."""
        return ("answers", "answers_or_none")

    def __post_init__(self):
        super().__post_init__()
        for name in ("stride", "most_question", "most_answer", "best"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}; give 1 or more")

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """The two that a head tells: where an answer begins and where it ends."""
        return ("start", "end")

    def answers(self, row: Row) -> list[str]:
        """The right answers; none where the text has none."""
        answers = field(row, self.label, "config.task.label")
        if not isinstance(answers, list) or not all(isinstance(text, str) for text in answers):
            raise UserError(f"{row.where}: the field '{self.label}' is no list of answers")
        return answers

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        text_of(row, self.text, "config.task.text")
        text_of(row, self.pair, "config.task.pair")
        starts = field(row, self.starts, "config.task.starts")
        if len(starts) != len(self.answers(row)):
            raise UserError(
                f"{row.where}: {len(self.answers(row))} answers and {len(starts)} in"
                f" '{self.starts}'; expected as many"
            )

    def has_label(self, row: Row) -> bool:
        """As of `LabelledTask`: whether it has an answer, or says that it has none.

        Readers give a question of a test file no answers and `is_impossible` false. Where the
        metric takes no such questions, one without an answer has no label.
        """
        if row.fields.get(self.label):
            return True
        says_none = self.label in row.fields and row.fields.get("is_impossible", True)
        return bool(says_none) and self.measured in NONE_MEASURED

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """As of `LabelledTask`."""
        return {self.label: [], self.starts: []}

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`: `spans` int32 [2], the places of an answer's first and last token,
        0 and 0 where a window has none."""
        row = (seq_len,), INT32
        given = {key: row for key in ("tokens", "token_types", "attention_mask")}
        return {**given, "spans": ((2,), INT32)}

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`: the windows of each text; `places` has a `Window` for each."""
        texts = [row.fields[self.text] for row in rows]
        # Of a text there may be many questions.
        distinct = list(dict.fromkeys(texts))
        contexts = dict(zip(distinct, tokenizer.encode_with_offsets(distinct), strict=True))
        questions = tokenizer.encode_batch([row.fields[self.pair] for row in rows])
        ids, types, places, owners, spans, lost = [], [], [], [], [], 0
        for owner, (row, question) in enumerate(zip(rows, questions, strict=True)):
            question = question[: self.most_question]
            room = layout.room(2) - len(question)
            if room < 1:
                raise UserError(
                    f"{row.where}: a question of {len(question)} tokens leaves no room for the text"
                    " in rows of config.data.seq_len; give longer rows"
                )
            pieces, begins = contexts[texts[owner]]
            seen = tokenizer.seen(texts[owner])
            ends = token_ends(seen, begins)
            truth = self._truth(row, tokenizer, seen, begins, ends)
            lost += truth is None and bool(row.fields.get(self.label))
            for first, last, whole in windows(len(pieces), room, self.stride):
                made, of_type = framed(layout, [question, pieces[first:last]])
                place = len(made) - len(layout.tail) - len(layout.end) - (last - first)
                ids.append([made])
                types.append([of_type])
                owners.append(owner)
                places.append(Window(place, begins[first:last], ends[first:last], whole))
                inside = truth is not None and first <= truth[0] and truth[1] < last
                spans.append([place + at - first for at in truth] if inside else [0, 0])
        of = {"spans": np.array(spans, np.int32)}
        seen_texts = [tokenizer.seen(text) for text in texts]
        return Features(ids, types, of, np.array(owners), 0, (places, seen_texts), lost)

    def _truth(
        self, row: Row, tokenizer: Tokenizer, seen: str, begins: np.ndarray, ends: np.ndarray
    ) -> tuple[int, int] | None:
        """The first and the last token of the first answer; None where there is none."""
        answers = row.fields.get(self.label) or []
        starts = row.fields.get(self.starts) or []
        if not answers or starts[0] < 0 or not len(begins):
            return None
        start, text = starts[0], tokenizer.seen(answers[0]).strip()
        if seen[start : start + len(text)] != text:
            # The tokenizer rewrites texts: its nearest place in what it has made of this one.
            found = [at for at in range(len(seen)) if seen.startswith(text, at)]
            if not found:
                return None
            start = min(found, key=lambda at: abs(at - start))
        end = start + len(text)
        inside = np.flatnonzero((ends > start) & (begins < end))
        return (int(inside[0]), int(inside[-1])) if len(inside) else None

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> list[list[str]]:
        """As of `LabelledTask`: lists of right answers."""
        return [self.answers(row) for row in rows]

    def predictions(self, features: Features, logits: np.ndarray, rows: Sequence[Row]) -> list:
        """As of `LabelledTask`; `logits` are [N, L, 2]. Where the metric takes questions that have
        no answer, pairs of the best answer and how much more none is believed."""
        found = self.found(features, logits, len(rows))
        if self.measured == "squad_v2_best":
            return [(best.text, best.null - best.score) for best in found]
        return [best.text for best in found]

    def found(self, features: Features, logits: np.ndarray, count: int) -> list[Found]:
        """The best answer to each question over all its windows."""
        windows_of, texts = features.places
        best = [Found("", -1, -np.inf, np.inf) for _ in range(count)]
        for owner, window, said in zip(features.owners, windows_of, logits, strict=True):
            null = float(said[0].sum())
            for first, last, score in self._spans(window, said):
                if score > best[owner].score:
                    begin, end = int(window.begins[first]), int(window.ends[last])
                    text = texts[owner][begin:end].strip()
                    best[owner] = best[owner]._replace(text=text, start=begin, score=score)
            best[owner] = best[owner]._replace(null=min(best[owner].null, null))
        return best

    def _spans(self, window: Window, said: np.ndarray) -> Iterator[tuple[int, int, float]]:
        """Spans of tokens of a window that may be answers, with their scores."""
        inside = said[window.first : window.first + len(window.begins)]
        firsts, lasts = (
            np.argsort(-inside[:, which], kind="stable")[: self.best] for which in (0, 1)
        )
        for first, last in itertools.product(firsts.tolist(), lasts.tolist()):
            if window.whole[first] and first <= last < first + self.most_answer:
                yield first, last, float(inside[first, 0] + inside[last, 1])

    def usual(self, references: Any, rows: Sequence[Row]) -> list:
        """As of `LabelledTask`: nothing, which is right where there is no answer."""
        return [("", 0.0) if self.measured == "squad_v2_best" else "" for _ in rows]

    def said(self, predictions: list, logits: Any, classes: Any, rows: Any) -> list[dict[str, Any]]:
        """As of `LabelledTask`; `null_score` is how much more no answer is believed."""
        return [
            {"predicted": one}
            if isinstance(one, str)
            else {"predicted": one[0], "null_score": float(f"{one[1]:.6g}")}
            for one in predictions
        ]


def windows(count: int, room: int, stride: int) -> list[tuple[int, int, np.ndarray]]:
    """Ranges of a text's tokens, and for each token whether it has most context there.

    Source: run_squad.py, `_check_is_max_context`: the least of what is to the left and to the
    right, and a hundredth of the window's length.
    """
    ranges, first = [], 0
    while True:
        last = min(first + room, count)
        ranges.append((first, last))
        if last == count:
            break
        first += min(last - first, stride)
    places = np.arange(count)
    scores = np.full((len(ranges), count), -np.inf)
    for number, (first, last) in enumerate(ranges):
        inside = places[first:last]
        around = np.minimum(inside - first, last - 1 - inside)
        scores[number, first:last] = around + 0.01 * (last - first)
    best = scores.argmax(0)
    return [(a, b, best[a:b] == number) for number, (a, b) in enumerate(ranges)]


def token_ends(text: str, begins: np.ndarray) -> np.ndarray:
    """Where tokens that begin there end: before the next one, and before white space."""
    ends = np.append(begins[1:], len(text)).astype(np.int64)
    # Pieces of one character have one beginning.
    for number in range(len(ends) - 2, -1, -1):
        if ends[number] <= begins[number]:
            ends[number] = ends[number + 1]
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        ends[number] = begin + len(text[begin:end].rstrip())
    return ends
