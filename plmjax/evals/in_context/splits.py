"""Which task is meant, and its examples: read from files, or made."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from plmjax.errors import UserError
from plmjax.evals.in_context import arithmetic, scrambling
from plmjax.evals.in_context.prompts import Example, draw, example
from plmjax.evals.in_context.tasks import Item, Task, read_items, read_task, read_text
from plmjax.settings import nearest

TASKS = Path(__file__).parents[3] / "configs" / "tasks"
"""Where tasks are found by name."""

GENERATED = (*arithmetic.TASKS, *scrambling.TASKS)
"""Tasks that are made and not read."""

_MADE = Task(
    kind="answer",
    context="{context}",
    completion="{answer}",
    answer="{completion}",
    separator="",
    metrics=("exact",),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """How tasks are run.

    seed: of examples, wrong options and generated items. limit: items of a task, 0 for all.
    data, train: files in place of the task's. words: the text whose words are scrambled; empty for
      the documentation of Python.
    beams: in place of the task's; 0 for those.
    refuse_long: whether a prompt that is too long is an error, and not cut from the left.
    """

    seed: int = 0
    limit: int = 0
    data: str = ""
    train: str = ""
    words: str = ""
    beams: int = 0
    refuse_long: bool = False


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples of a task.

    test: to be answered. train: to be shown; None for none. train_name: where they are from.
    shared: whether `train` is all of what `test` begins, and none is shown itself.
    """

    test: Sequence[Example]
    train: Sequence[Example] | None
    train_name: str
    shared: bool


def find_task(name: str) -> Task:
    """The task of this name, or of this file.

    Raises:
      UserError: where there is none.
    """
    if name in GENERATED:
        return dataclasses.replace(_MADE, name=name)
    path = Path(name).expanduser()
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"--task={name}: there is no such file")
        return read_task(path)
    known = {file.stem: file for file in sorted(TASKS.glob("*.toml"))}
    if name in known:
        return read_task(known[name])
    raise UserError(
        f"--task={name} is no task{nearest(name, [*known, *GENERATED, 'perplexity:FILE'])}"
        "; or name a file that ends in .toml"
    )


def listed() -> str:
    """The tasks there are, one a line, with what they are."""
    lines = {name: "arithmetic, generated as GPT-3's" for name in arithmetic.TASKS}
    lines |= {name: f"{what}, generated as GPT-3's" for name, what in scrambling.TASKS.items()}
    for file in sorted(TASKS.glob("*.toml")):
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        lines[file.stem] = first.removeprefix("# ")
    lines["perplexity:FILE"] = "of a text, by token, word, character and byte"
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {what}" for name, what in lines.items())


def splits(task: Task, options: Options) -> Splits:
    """Reads or makes the examples of a task.

    Raises:
      UserError: for files that are missing or damaged, or lack a field.
    """
    if task.name in GENERATED:
        return _generated(task, options)
    test = _path(task, options.data, task.test)
    if test is None:
        raise UserError(f"the task {task.name} has no data of its own; name it by --data=FILE")
    train = _path(task, options.train, task.train)
    given = "--data" if options.data else f"the task {task.name}"
    if train is not None and train.absolute() == test.absolute():
        everything = _examples(task, read_items(test, task, given), options.seed)
        return Splits(_limited(everything, options), everything, str(test), True)
    items = _limited(read_items(test, task, given), options)
    shown = None
    if train is not None:
        given = "--train" if options.train else f"the task {task.name}"
        shown = _examples(task, read_items(train, task, given), options.seed)
    return Splits(_examples(task, items, options.seed), shown, str(train or ""), False)


def check_shots(task: Task, data: Splits, count: int) -> None:
    """Raises a UserError for more examples than there are to be shown."""
    if count and data.train is None:
        raise UserError(
            f"--shots={count}: the task {task.name} has no train split to draw examples from; name"
            " one by --train=FILE, or take --shots=0"
        )
    there = len(data.train or ()) - data.shared
    if count > there:
        raise UserError(
            f"--shots={count} is more than the {there} examples of {data.train_name}; give at most"
            f" {there}"
        )


def drawn(data: Splits, count: int, seed: int, number: int) -> list[Example]:
    """The examples that item `number` is shown."""
    if not count:
        return []
    own = number if data.shared else None
    return [data.train[n] for n in draw(count, len(data.train), seed, number, own)]


def _path(task: Task, given: str, own: str) -> Path | None:
    if given:
        return Path(given).expanduser()
    return Path(task.folder) / own if own else None


def _limited(items: Sequence, options: Options) -> Sequence:
    return items[: options.limit] if options.limit else items


def _examples(task: Task, items: Sequence[Item], seed: int) -> list[Example]:
    return [example(task, item, seed) for item in items]


def _generated(task: Task, options: Options) -> Splits:
    def made(fields: Sequence[Mapping[str, str]]) -> list[Example]:
        items = [Item(each, f"{task.name}, item {n}", n) for n, each in enumerate(fields)]
        return _examples(task, items, options.seed)

    if task.name in arithmetic.TASKS:
        count = arithmetic.COUNT
        problems = made(arithmetic.arithmetic(task.name, 2 * count, options.seed))
        test = _limited(problems[:count], options)
        return Splits(test, problems[count:], "the generated ones", False)
    text = read_text(Path(options.words).expanduser(), "--words") if options.words else None
    words = scrambling.frequent_words(text)
    problems = made(scrambling.scrambling(task.name, words, options.seed))
    if not problems:
        raise UserError(f"--words={options.words} has no English word of 6 to 15 letters")
    return Splits(_limited(problems, options), problems, "the words", True)
