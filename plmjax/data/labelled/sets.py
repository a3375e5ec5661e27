"""The files of a task, read and checked: what a run learns from and is measured on."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from plmjax.data.labelled import Row, read_rows
from plmjax.data.labelled.base import Features, LabelledTask
from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.data.labelled.benchmarks import read_set as read_split
from plmjax.data.labelled.tasks import LABELLED_TASKS
from plmjax.data.plans.layout import Layout
from plmjax.data.preparation import CorpusConfig, given_tokenizer
from plmjax.data.tokenizers import Tokenizer, load_tokenizer
from plmjax.errors import UserError
from plmjax.settings import choose, chosen


@dataclasses.dataclass(frozen=True)
class LabelledSet:
    """The examples of a file.

    Attributes:
      name: train, dev or test.
      path: the file.
      rows: its examples.
      task, classes, tokenizer: by which they are read.
      labelled: whether the examples say what is right.
    """

    name: str
    path: str
    rows: tuple[Row, ...]
    task: LabelledTask
    classes: tuple[str, ...]
    tokenizer: Tokenizer
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.rows)

    def features(self, layout: Layout) -> Features:
        """What a model reads of them in rows of this layout; made once for each length."""
        if layout.seq_len not in self._made:
            rows = self.rows if self.labelled else _filled(self.rows, self.task, self.classes)
            given = rows, self.classes, self.tokenizer, layout
            self._made[layout.seq_len] = self.task.features(*given)
        return self._made[layout.seq_len]

    @functools.cached_property
    def references(self) -> Any:
        """The truth, as metrics take it."""
        return self.task.references(self.rows, self.classes)

    @functools.cached_property
    def _made(self) -> dict[int, Features]:
        return {}


@dataclasses.dataclass(frozen=True)
class LabelledCorpus:
    """What a fine-tuning run has in place of a prepared corpus.

    Attributes:
      task: what is asked.
      classes: the names of the classes, in the order of their numbers.
      tokenizer: of the texts.
      path: where the tokenizer was found.
      train, held_out: by the names train and dev.
    """

    task: LabelledTask
    classes: tuple[str, ...]
    tokenizer: Tokenizer
    path: str
    train: dict[str, LabelledSet]
    held_out: dict[str, LabelledSet]

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of the tokenizer and of every field of every row."""
        digest = hashlib.sha256(self.tokenizer.digest.encode())
        for each in (*self.train.values(), *self.held_out.values()):
            for row in each.rows:
                digest.update(
                    json.dumps(dict(row.fields), ensure_ascii=False, default=str).encode()
                )
        return digest.hexdigest()

    def read(self, name: str, path: str) -> LabelledSet:
        """Another file of the same task, such as test.

        Raises:
          UserError: as `read_set`.
        """
        return read_set(name, path, self.task, self.classes, self.tokenizer)


def task_of(section: Mapping[str, Any]) -> LabelledTask:
    """The task that `config.task` describes.

    Raises:
      UserError: for an unknown name or setting.
    """
    return chosen(section, LABELLED_TASKS, "config.task")


def open_labelled(section: Mapping[str, Any], corpus: CorpusConfig) -> LabelledCorpus:
    """Reads and checks the files of a task; texts are made to tokens when they are asked for.

    Args:
      section: `config.task`.
      corpus: which names the tokenizer where the task does not.

    Raises:
      UserError: for a file that is missing or wrong, a label that training has not, or where there
        is no tokenizer.
    """
    task = task_of(section)
    for name in ("train", "dev"):
        if not getattr(task, name):
            raise UserError(
                f"config.task.{name} is empty; give the file of examples"
                f" {'to learn from' if name == 'train' else 'to measure on'}"
            )
    tokenizer, path = _tokenizer(task, corpus)
    rows = rows_of(task, task.train)
    classes = task.classes(rows)
    train = _labelled("train", task.train, rows, task, classes, tokenizer)
    dev = read_set("dev", task.dev, task, classes, tokenizer)
    return LabelledCorpus(task, classes, tokenizer, path, {"train": train}, {"dev": dev})


def read_set(
    name: str,
    path: str,
    task: LabelledTask,
    classes: Sequence[str],
    tokenizer: Tokenizer,
    maybe_unlabelled: bool = False,
) -> LabelledSet:
    """Reads a file and checks every label and text in it.

    Args:
      name, path: of the set.
      task, classes, tokenizer: by which it is read.
      maybe_unlabelled: whether a file may have no labels at all, as those of leaderboards.

    Raises:
      UserError: at the first example that is wrong, or has no label where others have.
    """
    rows = rows_of(task, path, maybe_unlabelled)
    labelled = not maybe_unlabelled or not rows or are_labelled(task, rows)
    found = _labelled(name, path, rows, task, classes, tokenizer, labelled)
    bare = next((row for row in rows if labelled and not task.has_label(row)), None)
    if bare is not None:
        raise UserError(
            f"{bare.where} has nothing in '{task.label}' that the metric '{task.measured}' could"
            " measure by; give config.task.metric another, or leave the example out"
        )
    return found


def are_labelled(task: LabelledTask, rows: Sequence[Row]) -> bool:
    """Whether all rows say what is right, or none does.

    Raises:
      UserError: where some do, with the first that does not.
    """
    said = [task.has_label(row) for row in rows]
    if any(said) and not all(said):
        first = rows[said.index(False)]
        raise UserError(
            f"{first.where} has no label in '{task.label}', and {sum(said)} of {len(rows)} examples"
            " have one; give a file with a label in every row, or in none"
        )
    return all(said)


def _filled(rows: Sequence[Row], task: LabelledTask, classes: Sequence[str]) -> list[Row]:
    """The rows with labels that stand for none."""
    return [Row({**row.fields, **task.stand_in(row, classes)}, row.where) for row in rows]


def rows_of(task: LabelledTask, path: str, maybe_unlabelled: bool = False) -> list[Row]:
    """The rows of a file, or of a split of the task's benchmark.

    A file of one's own in place of a split has the benchmark's fields, and its ending says how it
    is written. Where columns have no names in the file, one without labels lacks theirs, or has
    that of the text alone.

    Raises:
      UserError: where it is missing or wrong.
    """
    if not task.benchmark:
        return _of_file(path, task, task.format, _columns(task), maybe_unlabelled)
    benchmark = choose(task.benchmark, BENCHMARKS, "config.task.benchmark")
    if path not in benchmark.splits and epath.Path(path).expanduser().is_file():
        form = (benchmark.format, benchmark.columns) if benchmark.columns else ("", ())
        return _of_file(path, task, *form, maybe_unlabelled)
    if not task.folder:
        raise UserError(
            f"config.task.folder is empty; give the folder with the files of {task.benchmark}"
        )
    rows = read_split(task.benchmark, task.folder, path)
    return [_renamed(row, task.label, benchmark.aliases) for row in rows]


def _of_file(
    path: str, task: LabelledTask, format: str, columns: tuple[str, ...], maybe_unlabelled: bool
) -> list[Row]:
    try:
        return read_rows(path, format, columns)
    except UserError as error:
        rest = tuple(name for name in columns if name != task.label)
        if maybe_unlabelled and rest != columns:
            for names in (rest, (task.text,)):
                with contextlib.suppress(UserError):
                    return read_rows(path, format, names)
        raise error from None


def _renamed(row: Row, label: str, aliases: Mapping[str, str]) -> Row:
    value = row.fields.get(label)
    known = isinstance(value, str) and value in aliases
    return Row({**row.fields, label: aliases[value]}, row.where) if known else row


def _labelled(
    name: str,
    path: str,
    rows: Sequence[Row],
    task: LabelledTask,
    classes: Sequence[str],
    tokenizer: Tokenizer,
    labelled: bool = True,
) -> LabelledSet:
    if not rows:
        raise UserError(f"config.task.{name}={path} has no examples")
    for row in rows if labelled else _filled(rows, task, classes):
        task.check(row, classes)
    return LabelledSet(name, path, tuple(rows), task, tuple(classes), tokenizer, labelled)


def _columns(task: LabelledTask) -> tuple[str, ...]:
    return tuple(name.strip() for name in task.columns.split(",") if name.strip())


def _tokenizer(task: LabelledTask, corpus: CorpusConfig) -> tuple[Tokenizer, str]:
    if task.tokenizer:
        return load_tokenizer(task.tokenizer), task.tokenizer
    given = given_tokenizer(corpus)
    if given is None:
        raise UserError(
            "there is no tokenizer: give config.task.tokenizer, the folder of a run's, or"
            " config.corpus.vocab_file"
        )
    return given, corpus.vocab_file or corpus.store
