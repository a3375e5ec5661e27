"""From the items of a task to what a model is asked: examples, prompts, completions."""

import dataclasses
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plmjax.errors import UserError
from plmjax.evals.in_context.tasks import Item, Task


@dataclasses.dataclass(frozen=True)
class Piece:
    """What is scored, with what stands before it and, of a cloze, behind it."""

    before: str
    text: str
    after: str = ""

    @property
    def whole(self) -> str:
        """All of it."""
        return self.before + self.text + self.after


@dataclasses.dataclass(frozen=True)
class Example:
    """An item, made to text.

    Attributes:
      pieces: of a choice or a cloze one for each option, of others one for each answer.
      gold: which of them is right.
      options: the options or answers themselves.
      group: to which group of items it belongs; empty for none.
      number: of the item's line.
    """

    pieces: tuple[Piece, ...]
    gold: int
    options: tuple[str, ...]
    group: str
    number: int

    @property
    def shown(self) -> str:
        """The item with its right answer, as an example for others."""
        return self.pieces[self.gold].whole


def example(task: Task, item: Item, seed: int = 0) -> Example:
    """An item made to text.

    Args:
      task: its.
      item: one line.
      seed: of the wrong options that are kept, with the item's line.

    Raises:
      UserError: for a field that is missing, or an answer that is no option.
    """
    group = str(_filled(task.group, item, "group")) if task.group else ""
    if task.last_word:
        item = _split(task, item)
    if task.kind in ("greedy", "answer"):
        found = _filled(task.answer, item, "answer")
        texts = tuple(map(str, found if isinstance(found, list) else [found]))
        if not texts:
            raise UserError(f"{item.where}: the answer '{task.answer}' is an empty list")
        pieces = tuple(_piece(task, item, {"answer": text}) for text in texts)
        return Example(pieces, 0, texts, group, item.number)
    options = _options(task, item)
    gold = _gold(task, item, options)
    if task.negatives:
        random = np.random.default_rng([seed, item.number])
        wrong = random.permutation([n for n in range(len(options)) if n != gold])
        kept = sorted([gold, *wrong[: task.negatives].tolist()])
        options, gold = tuple(options[n] for n in kept), kept.index(gold)
    pieces = tuple(_piece(task, item, {"option": option}) for option in options)
    return Example(pieces, gold, options, group, item.number)


def prompt(task: Task, shots: Sequence[Example], before: str) -> str:
    """Description, examples and `before`, with separators between them."""
    parts = [task.description] if task.description else []
    return task.separator.join([*parts, *(shot.shown for shot in shots), before])


def draw(count: int, of: int, seed: int, item: int, without: int | None = None) -> list[int]:
    """Which of `of` examples an item is shown, in random order.

    With the same seed the examples of fewer shots are the first of those of more.

    Args:
      count: how many.
      of: how many there are.
      seed: of the run.
      item: the number of the item.
      without: an example that is not to be drawn: the item itself.
    """
    if not count:
        return []
    order = np.random.default_rng([seed, item]).permutation(of)
    return [int(n) for n in order[: count + 1] if n != without][:count]


def _split(task: Task, item: Item) -> Item:
    """The item with `before` and `last`, of the text that ends with the answer."""
    text = str(_filled(task.last_word, item, "last_word")).rstrip()
    before, space, last = text.rpartition(" ")
    if not space or not before.strip():
        raise UserError(f"{item.where}: '{text[:60]}' has no last word behind others")
    return dataclasses.replace(item, fields={**item.fields, "before": before, "last": last})


def _piece(task: Task, item: Item, more: Mapping[str, Any]) -> Piece:
    if task.kind != "cloze":
        context = str(_filled(task.context, item, "context", more))
        scored = str(_filled(task.scored, item, "completion", more))
        if not scored:
            raise UserError(
                f"{item.where}: completion={task.scored!r} is empty; leave the item out"
            )
        return Piece(context, scored)
    text = str(_filled(task.text, item, "text"))
    before, blank, after = text.partition(task.blank)
    if not blank:
        raise UserError(f"{item.where}: there is no blank '{task.blank}' in '{text[:60]}'")
    return Piece(before, more["option"], after)


def _options(task: Task, item: Item) -> tuple[str, ...]:
    if not task.options:
        return tuple(map(str, task.labels.values()))
    if not isinstance(task.options, str):
        return tuple(str(_filled(option, item, "options")) for option in task.options)
    found = _filled(task.options, item, "options")
    if not isinstance(found, list) or len(found) < 2:
        raise UserError(
            f"{item.where}: options='{task.options}' is {type(found).__name__}"
            f" {str(found)[:40]!r}, expected a list of two or more"
        )
    return tuple(map(str, found))


def _gold(task: Task, item: Item, options: tuple[str, ...]) -> int:
    found = _filled(task.answer, item, "answer")
    # As JSON writes them: `true` is a key of labels.
    key = str(found).lower() if isinstance(found, bool) else str(found)
    if task.labels:
        if key not in task.labels:
            raise UserError(
                f"{item.where}: the answer '{key}' is not one of the labels"
                f" {', '.join(task.labels)}"
            )
        key, found = str(task.labels[key]), None
    if isinstance(found, int) and 0 <= found < len(options):
        return int(found)
    if key in options:
        return options.index(key)
    if key.isdigit() and int(key) < len(options):
        return int(key)
    if len(key) == 1 and 0 <= ord(key.upper()) - ord("A") < len(options):
        return ord(key.upper()) - ord("A")
    raise UserError(
        f"{item.where}: the answer '{key[:40]}' is none of {len(options)} options; give its number"
        " from 0, its letter from A, or the option itself"
    )


_FORMATTER = string.Formatter()


def _filled(template: str, item: Item, what: str, more: Mapping[str, Any] | None = None) -> Any:
    """The template with the item's fields; of one that is nothing but a field, the field as it is.

    Raises:
      UserError: for a field that the item lacks, or a template that is none.
    """
    fields = {**item.fields, **(more or {})}
    try:
        parts = list(_FORMATTER.parse(template))
        if len(parts) == 1 and not parts[0][0] and parts[0][1] and not parts[0][2]:
            return _FORMATTER.get_field(parts[0][1], (), fields)[0]
        return _FORMATTER.vformat(template, (), fields)
    except (KeyError, IndexError, AttributeError, TypeError) as error:
        there = ", ".join(item.fields)
        field = error.args[0] if isinstance(error, KeyError) else error
        raise UserError(
            f"{item.where}: {what}={template!r} needs the field '{field}', and there are: {there}"
        ) from None
    except ValueError as error:
        raise UserError(
            f"{what}={template!r} is no template ({error}); write fields as {{field}}, and braces"
            " themselves twice"
        ) from None
