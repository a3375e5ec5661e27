"""A fine-tuned model on a labelled set: what it says of each example, and how good that is."""

import json
from typing import Any

import numpy as np
from etils import epath

from plmjax.data.labelled.batches import LabelledInput
from plmjax.data.labelled.blanks import Blanks
from plmjax.data.labelled.extraction import Extraction
from plmjax.data.labelled.sets import LabelledSet
from plmjax.data.labelled.tagging import Tagging
from plmjax.data.labelled.text_tasks import Classification, TextTask
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.evals import confusion, tagging_baseline, task_baselines
from plmjax.evals.metrics.choice import ASSIGNMENTS, UNASSIGNED
from plmjax.evals.metrics.tagging import SPANS
from plmjax.evals.report import Report
from plmjax.task_figures import metric_of


def measured(examples: LabelledSet, predictions: Any) -> dict[str, float]:
    """The task's figures on a set, from what was said of its examples."""
    return metric_of(examples.task).figures(examples.references, predictions)


def scores_of(source: LabelledInput, loss: float, logits: Any) -> dict[str, float]:
    """The loss and the figures of a model on a set; `logits` as `task_answers.Answering` has
    them."""
    figures = measured(source.examples, predicted(source, logits))
    return {"task_loss": loss, **figures, **source.examples.task.besides(source.features, logits)}


def predicted(source: LabelledInput, logits: Any) -> Any:
    """What a model says of each example, as metrics take it."""
    examples = source.examples
    return examples.task.predictions(source.features, logits, examples.rows)


def task_report(
    source: LabelledInput, train: LabelledSet | None, step: int, loss: float, logits: Any
) -> Report:
    """The report on a set, beside what is known without a model.

    Args:
      source: the set's.
      train: the training set, from which the usual answer is known, and of texts and sentences the
        words; None where it is not there, and then the usual answer is that of the set itself.
      step: how many updates the model has seen.
      loss, logits: as `task_answers.Answering` has them.
    """
    examples = source.examples
    known = (train or examples).references
    scores = {"this model": scores_of(source, loss, logits)}
    scores["the usual answer"] = measured(examples, examples.task.usual(known, examples.rows))
    if train:
        scores |= _of_words(examples, train)
    return Report(step, scores, [], f"{examples.name} ({examples.path})")


def _of_words(examples: LabelledSet, train: LabelledSet) -> dict[str, dict[str, float]]:
    """The figures of what knows the words of the training set alone, by its name."""
    task, both = examples.task, (train, examples)
    if isinstance(task, Tagging):
        known, new = ([task.words(row) for row in each.rows] for each in both)
        tagged = tagging_baseline.of_words(known, train.references, new)
        return {tagged.name: measured(examples, tagged.tags)}
    if isinstance(task, TextTask):
        known, new = ([task.texts(row) for row in each.rows] for each in both)
        targets = task.targets(train.rows, train.classes)
        found = task_baselines.of_words(task.kind, known, new, targets)
        return {} if found is None else {"TF-IDF, linear": measured(examples, found)}
    if isinstance(task, TextToText) and task.kind in task_baselines.KINDS:
        known, new = ([task.texts(row) for row in each.rows] for each in both)
        found = task_baselines.of_words(task.kind, known, new, train.references)
        return {} if found is None else {"TF-IDF, linear": measured(examples, found)}
    return {}


def records(source: LabelledInput, logits: Any) -> list[dict[str, Any]]:
    """What a model says of each example, for a file: `where`, the fields, and what
    `LabelledTask.said` has; of answers in a text `predicted_start`, the character at which they
    begin there, -1 for none."""
    examples, found = source.examples, predicted(source, logits)
    if isinstance(examples.task, Blanks):
        said = _assigned(examples, found)
    else:
        said = examples.task.said(found, logits, examples.classes, examples.rows)
    if isinstance(examples.task, Extraction):
        best = examples.task.found(source.features, logits, len(said))
        for line, answer in zip(said, best, strict=True):
            line["predicted_start"] = answer.start
    return [
        {"where": row.where, **row.fields, **one}
        for row, one in zip(examples.rows, said, strict=True)
    ]


def _assigned(examples: LabelledSet, scores: list[np.ndarray]) -> list[dict[str, Any]]:
    """What is said of blanks, each candidate once in a group where the metric has it so."""
    assignment = ASSIGNMENTS[examples.task.measured]
    numbers = np.concatenate([assignment(group) for group in scores]).tolist()
    return [
        {
            "predicted": number,
            "option": "" if number == UNASSIGNED else examples.task.choices(row)[number],
        }
        for number, row in zip(numbers, examples.rows, strict=True)
    ]


def leave_answers(source: LabelledInput, logits: Any, folder: epath.Path) -> None:
    """Leaves what a model says of each example in `predictions-NAME.jsonl`, and of classes and tags
    the picture `confusion-NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(each, ensure_ascii=False, default=str) for each in records(source, logits))
    name = source.examples.name
    (folder / f"predictions-{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    table = confusion_of(source.examples, predicted(source, logits))
    if table is not None:
        confusion.draw_confusion(table, folder / f"confusion-{name}.png")


def confusion_of(examples: LabelledSet, predictions: Any) -> confusion.Confusion | None:
    """Which class is taken for which: of entities by their types, of other tags each for itself;
    None of tasks without, and of boundaries of words."""
    task = examples.task
    if isinstance(task, Classification):
        targets = task.targets(examples.rows, examples.classes)
        return confusion.of_classes(targets, predictions, examples.classes)
    given = examples.references, predictions
    if isinstance(task, TextToText) and task.kind == "classification":
        return confusion.of_classes(*given, examples.classes)
    if isinstance(task, Tagging) and task.measured in SPANS:
        return confusion.of_entities(*given, SPANS[task.measured])
    if isinstance(task, Tagging) and task.measured == "token_accuracy":
        return confusion.of_tags(*given, examples.classes)
    return None
