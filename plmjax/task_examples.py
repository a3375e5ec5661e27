"""Examples of a labelled task with what a model says of them, to look at: wrong ones first.

What colours tell is told by words or signs, too, for terminals without and for files.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from plmjax.data.labelled.base import LabelledTask
from plmjax.data.labelled.extraction import Extraction
from plmjax.data.labelled.filling import Filling
from plmjax.data.labelled.options import Choice
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.sets import LabelledSet
from plmjax.data.labelled.similarity import Similarity
from plmjax.data.labelled.tagging import Tagging
from plmjax.data.labelled.text_tasks import Classification, MultiLabel, Regression, TextTask
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.evals.metrics.choice import UNASSIGNED
from plmjax.evals.metrics.named import METRICS
from plmjax.tagged_text import tagged_text

RIGHT, WRONG, TRUE = "green", "bold red", "green"
AROUND = 60
"""Characters of a text that are shown before and after an answer."""


Line = Mapping[str, Any]
"""What is said of an example, one of `plmjax.task_report.records`."""


class Judged(NamedTuple):
    """An example that is shown.

    error: what it is ordered by, the largest first. lines: what is printed, the first of it with
    what is said and what is true.
    """

    error: tuple[float, ...]
    lines: list[Text]


def show(
    examples: LabelledSet, records: Sequence[Line], count: int, console: Console | None = None
) -> None:
    """Prints some examples with what was said of them, the wrong ones first, of numbers the worst;
    where it is not known which are wrong, the first ones.

    Args:
      examples: what was asked.
      records: as `plmjax.task_report.records` returns them.
      count: how many are printed.
      console: where; standard output where None.
    """
    console, task = console or Console(), examples.task
    judge = next(JUDGES[cls] for cls in type(task).__mro__ if cls in JUDGES)
    judge = judge if examples.labelled else unjudged
    judged = [
        (judge(task, examples.classes, row, line), row.where)
        for row, line in zip(examples.rows, records, strict=True)
    ]
    judged.sort(key=lambda pair: pair[0].error, reverse=True)
    for (_, (first, *others)), where in judged[:count]:
        lines = [Text.assemble(first, f"  ({where})")]
        lines += [Text.assemble("  ", other) for other in others]
        # Terminals break lines by themselves, and files have them whole.
        console.print(Text("\n").join(lines), soft_wrap=True)


def unjudged(task: LabelledTask, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """What is said of an example without a label."""
    said = line["predicted"]
    if isinstance(task, Tagging):
        words = task.words(row)
        text = tagged_text(words, said, said, task.measured).sentence
        return Judged((0,), [Text(f"{len(words)} words"), text])
    said = line["option"] if isinstance(task, Choice) else line.get("written", said)
    shown = ", ".join(said) if isinstance(said, list) else said
    first = Text(str(shown), "bold")
    if isinstance(line.get("score"), float):
        first.append(f" {line['score']:.0%}")
    return Judged((0,), [first, *_texts(task, row)])


def of_class(task: Classification, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """One class of several: wrong ones first, of these those of which the model was the surest."""
    said, truth, score = line["predicted"], task.name(row), line["score"]
    right = said == truth
    first = Text(f"{said} {score:.0%}", RIGHT if right else WRONG)
    first.append("" if right else f"  it is {truth}", TRUE)
    return Judged((not right, score), [first, *_texts(task, row)])


def of_classes(task: MultiLabel, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """Any number of classes: those that are said, and missing ones; most mistakes first."""
    first, wrong = Text(), 0
    given = zip(classes, line["score"], task.target(row, classes).tolist(), strict=True)
    for name, chance, true in given:
        said = name in line["predicted"]
        if not said and not true:
            continue
        what = "" if said and true else " invented" if said else " missing"
        first.append(f"{'  ' * bool(first)}{name} {chance:.0%}{what}", WRONG if what else RIGHT)
        wrong += bool(what)
    return Judged((wrong,), [first or Text("no class", RIGHT), *_texts(task, row)])


def of_number(task: Regression, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """A number: the largest error first."""
    said, truth = line["predicted"], task.target(row, classes)
    error = abs(said - truth)
    first = Text(f"{said:.4g} said, {truth:.4g} true, {error:.4g} off")
    return Judged((error,), [first, *_texts(task, row)])


def of_likeness(task: Similarity, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """A cosine: the farthest from the truth, which is brought to 1, first."""
    said, label = line["predicted"], task.target(row, classes)
    truth = label / task.scale
    error = abs(said - truth)
    told = f"{said:.2f} said, {truth:.2f} true ({label:g} of {task.scale:g}), {error:.2f} off"
    return Judged((error,), [Text(told), *_texts(task, row)])


def of_tags(task: Tagging, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """Tags of words: sentences with the most mistakes first."""
    given = task.words(row), task.tags(row), line["predicted"]
    wrong, first, sentence = tagged_text(*given, task.measured)
    return Judged((wrong,), [first, sentence])


def of_option(task: Choice, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """Options: wrong ones first, of these those of which the model was the surest."""
    said, truth, score = line["predicted"], row.fields[task.label], line.get("score", 0.0)
    right = said == truth
    # Candidates that are used once may leave none for a blank.
    told = "no option" if said == UNASSIGNED else f"option {said}"
    first = Text(told + (f" {score:.0%}" if score else ""), RIGHT if right else WRONG)
    first.append("" if right else f"  it is option {truth}", TRUE)
    listed = _listed(task.choices(row), {said}, {truth})
    return Judged((not right, score), [first, *_texts(task, row), *listed])


def of_filling(task: Filling, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """Options of which several may be right: wrong ones first."""
    options, truth = task.choices(row), row.fields[task.label]
    right = line["predicted"] in truth
    first = Text(line["predicted"], RIGHT if right else WRONG)
    first.append("" if right else f"  it is {' or '.join(dict.fromkeys(truth))}", TRUE)
    places = {number for number, option in enumerate(options) if option in truth}
    listed = _listed(options, {options.index(line["predicted"])}, places)
    return Judged((not right,), [first, *_texts(task, row), *listed])


def _listed(options: Sequence[str], said: set[int], true: set[int]) -> list[Text]:
    """A line for each option, with what is said and what is true."""
    lines = []
    for number, option in enumerate(options):
        mark = _mark(number in said, number in true)
        lines.append(Text(f"{mark:>13}  {number} {option}", STYLES[mark]))
    return lines


def of_answer(task: Extraction, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """An answer in a text: those first of whose words the fewest are right."""
    truth, said = task.answers(row), said_answer(line)
    figure = METRICS["squad_v2" if task.measured == "squad_v2_best" else task.measured]
    score = figure.figures([truth], [said])[figure.main]
    first = Text(said or "no answer", RIGHT if score == 1 else WRONG)
    if score < 1:
        first.append(f"  it is {' or '.join(dict.fromkeys(truth)) or 'not answered'}", TRUE)
        first.append(f"  {figure.main} {score:.2f}")
    return Judged(
        (1 - score,), [first, Text(row.fields[task.pair], "bold"), stretch(task, row, line)]
    )


def said_answer(line: Line) -> str:
    """The answer; empty where none is believed more."""
    return "" if line.get("null_score", 0) > 0 else line["predicted"]


def stretch(task: Extraction, row: Row, line: Line) -> Text:
    """The parts of the text around what was said and what is true, with both marked."""
    text, answers = row.fields[task.text], task.answers(row)
    said = _inside(text, [said_answer(line)], [line["predicted_start"]])
    true = _inside(text, answers, row.fields.get(task.starts) or [])
    near = {spot for at in said | true or {0} for spot in range(at - AROUND, at + AROUND + 1)}
    marks = [_mark(at in said, at in true) if at in near else "…" for at in range(len(text))]
    found = Text()
    for mark, run in itertools.groupby(range(len(text)), key=marks.__getitem__):
        part = "".join(text[at] for at in run).replace("\n", " ")
        if mark == "…":
            found.append(mark)
        else:
            found.append(f"[{part} {mark}]" if mark else part, STYLES[mark])
    return found


def _inside(text: str, answers: Sequence[str], starts: Sequence[int]) -> set[int]:
    """The places of a text that answers take, as far as they stand where they are said to."""
    # The text may be rewritten by a tokenizer, and then a place is not that of the file's.
    return {
        at
        for answer, start in zip(answers, starts, strict=True)
        if start >= 0 and text.startswith(answer, start)
        for at in range(start, start + len(answer))
    }


def of_writing(task: TextToText, classes: Sequence[str], row: Row, line: Line) -> Judged:
    """What was written: wrong answers first, of numbers the farthest off."""
    said, truth = line["written"], task.right_texts(row, classes)
    right = line["predicted"] == task.name(row) if classes else said in truth
    error = abs(line["predicted"] - task.number(row)) if task.answers == "number" else 0.0
    first = Text(said or "nothing", RIGHT if right else WRONG)
    first.append("" if right else f"  it is {' or '.join(truth)}", TRUE)
    return Judged((not right, error), [first, *_texts(task, row)])


def _mark(said: bool, true: bool) -> str:
    return " and ".join(["said"] * said + ["true"] * true)


STYLES = {"": "", "said": WRONG, "true": TRUE, "said and true": RIGHT}
"""By what is marked."""


def _texts(task: Any, row: Row) -> list[Text]:
    """What is read: the text, and the second one where there is."""
    if isinstance(task, TextTask | TextToText):
        return [Text(text) for text in task.texts(row)]
    return [Text(str(row.fields[name])) for name in (task.text, task.pair) if name]


JUDGES: Mapping[type[LabelledTask], Callable[[Any, Sequence[str], Row, Line], Judged]] = {
    Classification: of_class,
    MultiLabel: of_classes,
    Regression: of_number,
    Similarity: of_likeness,
    Tagging: of_tags,
    Choice: of_option,
    Filling: of_filling,
    Extraction: of_answer,
    TextToText: of_writing,
}
"""By the task, or one that it is a kind of."""
