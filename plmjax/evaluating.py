"""A model on tasks in context: finding the task, drawing examples, asking, counting."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from plmjax.asking import Model
from plmjax.errors import UserError
from plmjax.evals.in_context.answers import measured
from plmjax.evals.in_context.perplexity import InOrder, TextLikelihood
from plmjax.evals.in_context.prompts import Example, Piece, prompt
from plmjax.evals.in_context.results import Row, mean_row
from plmjax.evals.in_context.splits import Options, check_shots, drawn, splits
from plmjax.evals.in_context.tasks import Item, Task, read_items, read_text

Record = dict[str, Any]


def evaluate(
    model: Model,
    task: Task,
    shots: Sequence[int],
    options: Options,
    say: Callable[[str], None],
) -> Iterator[tuple[list[Row], list[Record]]]:
    """The figures of a task, and what was said of each item, for each number of examples.

    Args:
      model: who is asked.
      task: what.
      shots: numbers of examples.
      options: how.
      say: hears of prompts that were cut.

    Raises:
      UserError: for more examples than there are, or a model that cannot do the task.
    """
    data = splits(task, options)
    for count in shots:
        check_shots(task, data, count)
    for count in shots:
        shown = [drawn(data, count, options.seed, number) for number in range(len(data.test))]
        run = _written if task.kind == "answer" else _likelihoods
        records, cut = run(model, task, data.test, shown, options)
        if cut:
            say(
                f"{task.name}, {count} shots: {cut} of {len(records)} prompts were longer than the"
                f" model's {model.scorer.longest} tokens and were cut from the left"
            )
        about = {"task": task.name, "shots": count}
        yield list(_rows(task, count, records)), [about | record for record in records]


def text_perplexity(
    model: Model,
    file: str,
    stride: int,
    say: Callable[[str], None],
    in_order: InOrder | None = None,
) -> tuple[list[Row], list[Record]]:
    """Perplexities of a text file, or of the field `text` of JSON lines, each a text of its own.

    Args:
      model: who is asked.
      file: its name.
      stride: tokens scored in each window; not read with `in_order`.
      say: hears what the text is.
      in_order: how a model that fills in blanks is asked; None for a decoder.

    Raises:
      UserError: for a file that is missing or empty, or a model that is not asked so.
    """
    path = Path(file).expanduser()
    if path.suffix == ".jsonl":
        items = read_items(path, Task(options=("a", "b")), "--task=perplexity")
        texts = [_text_of(item) for item in items]
    else:
        texts = [read_text(path, "--task=perplexity")]
    if in_order:
        found = [model.in_order(text, in_order) for text in texts]
        windows = f"windows of {in_order.window or model.window} tokens, each told alone"
    else:
        found = [[model.of_text(text, stride)] for text in texts]
        longest = model.scorer.longest
        windows = f"windows of {longest} tokens, {min(stride or longest, longest)} scored in each"
    # Of each draw of orders, of all texts.
    totals = [sum(some[1:], some[0]) for some in zip(*found, strict=True)]
    total = totals[0]
    say(
        f"{file}: {len(texts)} texts, {total.tokens:,} tokens, {total.words:,} words between white"
        f" space, {total.characters:,} characters, {total.bytes:,} bytes; {windows}"
    )
    name = f"perplexity:{path.name}" + (f" {in_order.order}" if in_order else "")
    records = [{"task": name, **_of_text(some)} for some in found]
    return _perplexity_rows(name, totals), records


def _perplexity_rows(name: str, totals: Sequence[TextLikelihood]) -> list[Row]:
    """Figures of the mean over draws, and the standard error of it."""
    mean = dataclasses.replace(totals[0], total=math.fsum(t.total for t in totals) / len(totals))
    counts = (mean.tokens, mean.words, mean.characters, mean.bytes, mean.bytes)
    rows = []
    for (key, value), count in zip(mean.figures().items(), counts, strict=True):
        error = None
        if len(totals) > 1:
            error = mean_row(name, None, key, [total.figures()[key] for total in totals]).error
        rows.append(Row(name, None, key, value, error, count))
    return rows


def _of_text(draws: Sequence[TextLikelihood]) -> Record:
    sizes = {key: value for key, value in vars(draws[0]).items() if key != "total"}
    if len(draws) == 1:
        return {"logprob": draws[0].total, **sizes}
    return {"logprobs": [draw.total for draw in draws], **sizes}


def _text_of(item: Item) -> str:
    text = item.fields.get("text")
    if not isinstance(text, str):
        raise UserError(f"{item.where} has no text 'text', and there are: {', '.join(item.fields)}")
    return text


def _likelihoods(
    model: Model,
    task: Task,
    test: Sequence[Example],
    shown: Sequence[Sequence[Example]],
    options: Options,
) -> tuple[list[Record], int]:
    """What a model finds of the options, or of the completion, of each item."""
    pieces, alone = [], []
    for item, shots in zip(test, shown, strict=True):
        for piece in item.pieces if task.kind != "greedy" else item.pieces[:1]:
            pieces.append(Piece(prompt(task, shots, piece.before), piece.text, piece.after))
            alone.append(Piece(task.unconditional, piece.text, piece.after))
    scores = iter(model.likelihoods(pieces, task.apart, task.end))
    less = None
    if task.kind in ("choice", "cloze") and "unconditional" in task.normalise:
        less = iter(model.likelihoods(alone, task.apart, task.end))
    records, cut = [], 0
    for item in test:
        count = 1 if task.kind == "greedy" else len(item.pieces)
        found = [next(scores) for _ in range(count)]
        cut += any(score.cut for score in found)
        _check_long(options, item, max(score.cut for score in found), model)
        record: Record = {"line": item.number, "group": item.group}
        if task.kind == "greedy":
            (score,) = found
            record |= {"answer": item.options[0], "logprob": score.total, "tokens": score.tokens}
            records.append(record | {"is_greedy": score.is_greedy})
            continue
        record |= {"options": list(item.options), "gold": item.gold}
        record |= {"logprobs": [s.total for s in found], "tokens": [s.tokens for s in found]}
        if less is not None:
            record["unconditional"] = [next(less).total for _ in found]
        texts = [(piece.text + piece.after).lstrip() for piece in item.pieces]
        record["chosen"] = {name: _chosen(name, record, texts) for name in task.normalise}
        records.append(record)
    return records, cut


def _chosen(normalise: str, record: Record, texts: Sequence[str]) -> int:
    """The number of the likeliest option, the first of equals."""
    sizes = {
        "sum": [1] * len(texts),
        "token": record["tokens"],
        "char": [len(text) for text in texts],
        "byte": [len(text.encode()) for text in texts],
        "unconditional": [1] * len(texts),
    }[normalise]
    logprobs = record["logprobs"]
    if normalise == "unconditional":
        pairs = zip(logprobs, record["unconditional"], strict=True)
        logprobs = [given - alone for given, alone in pairs]
    values = [x / max(size, 1) for x, size in zip(logprobs, sizes, strict=True)]
    return values.index(max(values))


def _written(
    model: Model,
    task: Task,
    test: Sequence[Example],
    shown: Sequence[Sequence[Example]],
    options: Options,
) -> tuple[list[Record], int]:
    """What a model writes in answer to each item."""
    prompts = [
        prompt(task, shots, item.pieces[0].before) for item, shots in zip(test, shown, strict=True)
    ]
    beams = options.beams or task.beams
    decoding = {"max_new_tokens": task.max_new_tokens, "beams": beams}
    if beams > 1:
        decoding["length_penalty"] = task.length_penalty
    texts, cut = model.written(prompts, task.stop, **decoding)
    if cut and options.refuse_long:
        raise _too_long(f"{cut} of {len(prompts)} prompts", model)
    records = []
    for item, text in zip(test, texts, strict=True):
        values = {m: measured(m, text, item.options, task.language) for m in task.metrics}
        record = {"line": item.number, "group": item.group, "answers": list(item.options)}
        records.append(record | {"written": text, **values})
    return records, cut


def _check_long(options: Options, item: Example, cut: int, model: Model) -> None:
    if cut and options.refuse_long:
        raise _too_long(f"the prompt of line {item.number}, by {cut} tokens,", model)


def _too_long(what: str, model: Model) -> UserError:
    return UserError(
        f"{what} is longer than the {model.scorer.longest} tokens that the model reads at once;"
        " give fewer --shots, or leave --refuse_long out to cut prompts from the left"
    )


def _rows(task: Task, shots: int, records: Sequence[Record]) -> Iterator[Row]:
    """The figures of all items, and of each group the first of them."""
    groups = list(dict.fromkeys(record["group"] for record in records if record["group"]))
    for group in ["", *groups]:
        some = [record for record in records if group in ("", record["group"])]
        metrics = _values(task, some)
        for name in metrics if not group else list(metrics)[:1]:
            chances = None
            if task.kind in ("choice", "cloze"):
                chances = [1 / len(record["options"]) for record in some]
            yield mean_row(task.name, shots, name, metrics[name], chances, group)
    if task.kind == "greedy":
        mean = sum(record["logprob"] for record in records) / len(records)
        value = math.exp(-mean) if -mean < 700 else math.inf
        yield Row(task.name, shots, "perplexity per answer", value, None, len(records))


def _values(task: Task, records: Sequence[Record]) -> dict[str, list[float]]:
    if task.kind == "greedy":
        return {"accuracy": [float(record["is_greedy"]) for record in records]}
    if task.kind == "answer":
        return {name: [record[name] for record in records] for name in task.metrics}
    return {
        f"accuracy ({name})": [float(r["chosen"][name] == r["gold"]) for r in records]
        for name in task.normalise
    }


def as_line(record: Record) -> str:
    """A record as a line of JSON."""
    return json.dumps(record, ensure_ascii=False)
