"""What a task is: the fields of its file, and the items of its data."""

import dataclasses
import functools
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plmjax.errors import UserError
from plmjax.settings import choose, from_config, nearest

KINDS = {
    "choice": "which of several options is likeliest",
    "cloze": "which of several options belongs in a blank",
    "greedy": "whether a completion is what the model would write, token by token",
    "answer": "what the model writes, compared with the answers",
}
NORMALISATIONS = {
    "sum": "the log-likelihood",
    "token": "over the number of tokens",
    "char": "over the number of characters",
    "byte": "over the number of bytes in UTF-8",
    "unconditional": "less that of the same completion after the text `unconditional`",
}
METRICS = {"exact": "equal", "em": "equal in what is compared", "f1": "F1 of what is compared"}
LANGUAGES = {"en": "words, without case, punctuation and articles", "zh": "characters"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A task, as its file in TOML has it. `{field}` in a template is a field of the item.

    name, folder: of the file.
    layout: `lines`, or `chid` for that of ChID (see `_blanks`).
    kind: one of KINDS.
    test, train: JSON lines, an object an item; relative to the task's file. Examples come from
      `train`; where it is the same file, an item is none of its own examples.
    description: what stands before everything.
    separator: between description, examples and item.
    context: template of what is given. In a `choice` `{option}` may stand in it.
    completion: template of what is scored or is to be written: `{option}` of a `choice`, `{answer}`
      of others. Of a `cloze` unused.
    text, blank: of a `cloze`: template of the text, and what marks the blank in it.
    last_word: template of a text whose last word is the answer: `{before}` and `{last}` are fields.
    options: of a `choice` or a `cloze`: one template that is a field with a list, or a list of
      templates.
    answer: template of the right one: the number of an option from 0, a letter from A, the option
      itself, or a key of `labels`; of an `answer` a text or a field with several that are right.
    labels: texts that stand for the answers of the data, where `options` are missing: the binary
      labels of a task renamed to words.
    negatives: so many of the wrong options, drawn with the seed, are kept; 0 for all.
    normalise: by what options are compared, of NORMALISATIONS; the first is what the task is for.
    unconditional: the context for `unconditional`: "Answer:" of GPT-3's.
    apart: whether context and completion are made to tokens one by one, and not as one text.
    end: whether the end of the document is scored behind the completion.
    metrics, language: of an `answer`: of METRICS, by the rules of LANGUAGES.
    stop, max_new_tokens, beams, length_penalty: of an `answer`: what ends it, and how it is
      decoded; 4 beams and 0.6 are GPT-3's, 1 is greedy.
    group: template; accuracy is shown for each of its values, too.
    only: fields and the values that an item has to have; others are left out.
    without: fields and a value that an item must not have.
    """

    name: str = ""
    folder: str = ""
    layout: str = "lines"
    kind: str = "choice"
    test: str = ""
    train: str = ""
    description: str = ""
    separator: str = "\n\n"
    context: str = ""
    completion: str = ""
    text: str = "{text}"
    last_word: str = ""
    blank: str = "____"
    options: Any = ()
    answer: str = "{answer}"
    labels: dict = dataclasses.field(default_factory=dict)
    negatives: int = 0
    normalise: tuple[str, ...] = ("sum",)
    unconditional: str = "Answer:"
    apart: bool = False
    end: bool = False
    metrics: tuple[str, ...] = ("em",)
    language: str = "en"
    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int = 32
    beams: int = 4
    length_penalty: float = 0.6
    group: str = ""
    only: dict = dataclasses.field(default_factory=dict)
    without: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        choose(self.kind, KINDS, "kind")
        choose(self.language, LANGUAGES, "language")
        choose(self.layout, {"lines": 0, "chid": 0}, "layout")
        for names, known, where in (
            (self.normalise, NORMALISATIONS, "normalise"),
            (self.metrics, METRICS, "metrics"),
        ):
            if not names:
                raise UserError(f"{where} is empty; give some of {', '.join(known)}")
            for name in names:
                choose(name, known, where)
        if not isinstance(self.options, str | list | tuple):
            raise UserError(f"options={self.options!r}; expected one template or a list of them")
        if self.kind in ("choice", "cloze") and not (self.options or self.labels):
            raise UserError(f"kind='{self.kind}' needs options or labels, and there are none")

    @property
    def scored(self) -> str:
        """The template of what is scored, or is to be written."""
        return self.completion or (" {option}" if self.kind == "choice" else " {answer}")


@dataclasses.dataclass(frozen=True)
class Item:
    """An item of the data: its fields, and where they stand, for messages."""

    fields: Mapping[str, Any]
    where: str
    number: int


def read_task(path: Path) -> Task:
    """A task from its file.

    Raises:
      UserError: where it cannot be read, or has a field that no task has.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no task's file: {error}") from None
    names = {field.name for field in dataclasses.fields(Task)} - {"name", "folder"}
    for key in fields:
        if key not in names:
            raise UserError(f"{path}: '{key}' is not a field of a task{nearest(key, names)}")
    try:
        own = {"name": path.stem, "folder": str(path.parent)}
        return from_config(Task, {**fields, **own}, "task")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_items(path: Path, task: Task, given_as: str) -> list[Item]:
    """The items of a file that are of the task.

    Args:
      path: JSON lines.
      task: its.
      given_as: what names the file, for messages.

    Raises:
      UserError: where it is missing, empty, or a line is no object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UserError(f"{given_as}: there is no file {path}; name one with JSON lines") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{given_as}: cannot read {path}: {error}") from None
    items: list[Item] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where} is no JSON ({error}); write one object a line") from None
        if not isinstance(fields, dict):
            raise UserError(f"{where} is no object with fields; write one object a line")
        item = Item(fields, where, number)
        if task.layout == "chid":
            items += _blanks(item, path)
        elif _belongs(fields, task):
            items.append(item)
    if not items:
        rest = " that belongs to the task" if text.strip() else ""
        raise UserError(f"{given_as}: {path} has no item{rest}; write one object a line")
    return items


def read_text(path: Path, given_as: str) -> str:
    """The text of a file.

    Raises:
      UserError: where it cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{given_as}: cannot read {path}: {error}") from None
    if not text.strip():
        raise UserError(f"{given_as}: {path} is empty; name a file with text in it")
    return text


def _belongs(fields: Mapping[str, Any], task: Task) -> bool:
    # A field that is missing is said to be by what needs it.
    only = all(fields.get(key, value) == value for key, value in task.only.items())
    return only and all(fields.get(key) != value for key, value in task.without.items())


def _blanks(item: Item, path: Path) -> list[Item]:
    """The blanks of a line of ChID: items with `before`, `after`, `candidates` and `answer`.

    A line of CLUE's has `candidates` and `content`, texts with blanks `#idiomNNN#` whose answers
    are in another file; one of FewCLUE's has one text with one blank, and its `answer`. The other
    blanks of a text are left empty, as by TsinghuaAI/CPM-1-Finetune preprocess_chid_zeroshot.py.
    """
    fields = item.fields
    for name, kinds in (("candidates", list), ("content", list | str)):
        if not isinstance(fields.get(name), kinds):
            there = ", ".join(fields)
            raise UserError(f"{item.where} has no {name}, as ChID has; there are: {there}")
    is_one = isinstance(fields["content"], str)
    answers = {"#idiom#": fields.get("answer")} if is_one else _answers(path)
    found = []
    for text in [fields["content"]] if is_one else fields["content"]:
        for match in _IDIOM.finditer(text):
            if answers.get(match[0]) is None:
                raise UserError(f"{item.where}: there is no answer for {match[0]}")
            sides = (text[: match.start()], text[match.end() :])
            before, after = (_IDIOM.sub("", side) for side in sides)
            blank = {"before": before, "after": after, "candidates": fields["candidates"]}
            found.append(Item({**blank, "answer": answers[match[0]]}, item.where, item.number))
    return found


_IDIOM = re.compile(r"#idiom\d*#")


@functools.cache
def _answers(path: Path) -> dict[str, int]:
    """The right candidates of ChID's blanks: dev_answer.json of dev.json."""
    file = path.with_name(f"{path.stem}_answer.json")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the answers to {path} belong into {file}: {error}") from None
