"""The files that leaderboards take: what a model says of a benchmark's unlabelled test set.

What each format was checked against is said beside it. A file's name matters to its leaderboard,
which takes a zip of all tasks; `Submission.file` has it.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plmjax.errors import UserError
from plmjax.evals.metrics.tagging import entities

Record = Mapping[str, Any]
"""The fields of an example, and what a model says of it: `predicted` and more."""


@dataclasses.dataclass(frozen=True)
class Submission:
    """A leaderboard's file.

    Attributes:
      file: the name that the leaderboard wants.
      text: from records, in the order of the test set, to what is in the file.
    """

    file: str
    text: Callable[[Sequence[Record]], str]


def submission(benchmark: str, split: str, kind: str) -> Submission:
    """The file that is due for a split of a benchmark, or for a file of one's own.

    Args:
      benchmark: its name; empty for files of one's own, of which answers and tags have a form.
      split: whose name counts where a benchmark has several test sets.
      kind: of the task: `answers`, `tagging`, ...

    Raises:
      UserError: where there is no form that anyone would take.
    """
    for name in (f"{benchmark}:{split}", benchmark):
        if name in SUBMISSIONS:
            return SUBMISSIONS[name]
    if kind in _OF_KIND:
        return _OF_KIND[kind]
    raise UserError(
        f"no leaderboard's file is known for {benchmark or 'a file of your own'}; --items=FILE"
        " writes what is said of each example"
    )


def _glue(records: Sequence[Record]) -> str:
    """Lines of index and prediction behind a line that names them, as nyu-mll/jiant writes them
    for gluebenchmark.com (evaluate.py, `_write_glue_preds`); the index is the test file's."""
    lines = ["index\tprediction"]
    for number, record in enumerate(records):
        index = record.get("index", record.get("id", number))
        lines.append(f"{index}\t{record['predicted']}")
    return "\n".join(lines) + "\n"


def _glue_numbers(records: Sequence[Record]) -> str:
    """The same of STS-B: numbers from 0 to 5 with three decimals, as jiant cuts and writes them."""
    cut = [min(max(0.0, float(record["predicted"])), 5.0) for record in records]
    pairs = zip(records, cut, strict=True)
    return _glue([{**record, "predicted": f"{number:.3f}"} for record, number in pairs])


def _superglue(change: Callable[[Any], Any] = str, index: str = "idx") -> Callable:
    """{idx, label} a line (jiant's evaluate.py, `_write_boolq_preds` and those beside it)."""

    def text(records: Sequence[Record]) -> str:
        return _lines(
            {"idx": needed(record, index), "label": change(record["predicted"])}
            for record in records
        )

    return text


def _multirc(records: Sequence[Record]) -> str:
    """{idx, passage: {questions: [{idx, answers: [{idx, label}]}]}} a line, a passage each (jiant,
    `_write_multirc_preds`)."""
    passages: dict[int, dict[int, list]] = {}
    for record in records:
        questions = passages.setdefault(needed(record, "passage_id"), {})
        answers = questions.setdefault(needed(record, "question_id"), [])
        answers.append({"idx": needed(record, "answer_id"), "label": int(record["predicted"])})
    return _lines(
        {
            "idx": passage,
            "passage": {"questions": [{"idx": q, "answers": a} for q, a in questions.items()]},
        }
        for passage, questions in passages.items()
    )


def _clue(change: Callable[[Any], Any] = str, index: str = "id") -> Callable:
    """{id, label} a line in the order of the test file, whose scoring reads the labels alone (the
    README of CLUE's clue_submit_examples.zip). Examples without a number have their place."""

    def text(records: Sequence[Record]) -> str:
        return _lines(
            {"id": record.get(index, number), "label": change(record["predicted"])}
            for number, record in enumerate(records)
        )

    return text


def _chid(records: Sequence[Record]) -> str:
    """One object, {"#idiom000378#": 3}: the number of each blank's candidate from 0 (CLUE's
    baseline, CHID_preprocess.py `write_predictions`)."""
    return json.dumps({needed(one, "id"): one["predicted"] for one in records}, indent=2) + "\n"


def _answers(records: Sequence[Record]) -> str:
    """One object, {question's id: text}, "" for no answer: SQuAD's evaluate-v1.1.py and
    evaluate-v2.0.py read it, and CLUE for CMRC 2018."""
    said = {str(needed(record, "id")): record["predicted"] for record in records}
    return json.dumps(said, ensure_ascii=False) + "\n"


def _cluener(records: Sequence[Record]) -> str:
    """{id, label: {type: {surface: [[start, end]]}}} a line, `end` the last character: the form of
    the training file, which CLUENER2020's README shows."""
    lines = []
    for number, record in enumerate(records):
        found: dict[str, dict[str, list]] = {}
        for start, end, kind in entities(record["predicted"]):
            surface = "".join(record["tokens"][start:end])
            found.setdefault(kind, {}).setdefault(surface, []).append([start, end - 1])
        lines.append({"id": record.get("id", number), "label": found})
    return _lines(lines)


def _columns(records: Sequence[Record]) -> str:
    """A token a line with its predicted tag behind it, and between them the true one where the file
    has tags; a blank line after each sentence. `conlleval` reads the last two columns; where tokens
    hold blanks, columns are apart by tabs (its -d)."""
    between = "\t" if any(" " in token for one in records for token in one["tokens"]) else " "
    sentences = []
    for record in records:
        true = [record["tags"]] if record.get("tags") else []
        rows = zip(record["tokens"], *true, map(_bio, record["predicted"]), strict=True)
        sentences.append("".join(f"{between.join(row)}\n" for row in rows))
    return "\n".join(sentences)


def _bio(tag: str) -> str:
    """A tag of BIOES as BIO's."""
    return {"S-": "B-", "E-": "I-"}.get(tag[:2], tag[:2]) + tag[2:]


def with_none(records: Sequence[Record], threshold: float) -> list[Record]:
    """Records of questions of which some have no answer: "" where none is believed more than the
    best answer by more than `threshold` (run_squad.py's null_score_diff_threshold)."""
    return [
        {**record, "predicted": ""} if record["null_score"] > threshold else record
        for record in records
    ]


def needed(record: Record, name: str) -> Any:
    """A field that the form cannot do without.

    Raises:
      UserError: where the test file lacks it.
    """
    if name not in record:
        raise UserError(f"{record['where']} has no '{name}', which the leaderboard's file needs")
    return record[name]


def _lines(objects: Any) -> str:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)


_TITLE = {"false": "False", "true": "True"}
_OF_KIND = {
    "answers": Submission("predictions.json", _answers),
    "tagging": Submission("predictions.txt", _columns),
}

SUBMISSIONS: Mapping[str, Submission] = {
    # Names of files: jiant's GLUE_NAME_MAP and SUPERGLUE_NAME_MAP.
    "glue/cola": Submission("CoLA.tsv", _glue),
    "glue/sst2": Submission("SST-2.tsv", _glue),
    "glue/mrpc": Submission("MRPC.tsv", _glue),
    "glue/qqp": Submission("QQP.tsv", _glue),
    "glue/stsb": Submission("STS-B.tsv", _glue_numbers),
    "glue/mnli": Submission("MNLI-m.tsv", _glue),
    "glue/mnli:test_mismatched": Submission("MNLI-mm.tsv", _glue),
    "glue/mnli:dev_mismatched": Submission("MNLI-mm.tsv", _glue),
    "glue/qnli": Submission("QNLI.tsv", _glue),
    "glue/rte": Submission("RTE.tsv", _glue),
    "glue/wnli": Submission("WNLI.tsv", _glue),
    "glue/ax": Submission("AX.tsv", _glue),
    "superglue/boolq": Submission("BoolQ.jsonl", _superglue()),
    "superglue/cb": Submission("CB.jsonl", _superglue()),
    "superglue/copa": Submission("COPA.jsonl", _superglue(int, "id")),
    "superglue/multirc": Submission("MultiRC.jsonl", _multirc),
    "superglue/record": Submission("ReCoRD.jsonl", _superglue(index="id")),
    "superglue/rte": Submission("RTE.jsonl", _superglue()),
    "superglue/wic": Submission("WiC.jsonl", _superglue()),
    # Capitals in this task alone: `_write_winograd_preds`, and jiant 2's WSCTask.
    "superglue/wsc": Submission("WSC.jsonl", _superglue(_TITLE.__getitem__)),
    "superglue/ax_b": Submission("AX-b.jsonl", _superglue()),
    "superglue/ax_g": Submission("AX-g.jsonl", _superglue()),
    # Names of files: the README of clue_submit_examples.zip, version 1.1.
    "clue/afqmc": Submission("afqmc_predict.json", _clue()),
    "clue/tnews": Submission("tnews11_predict.json", _clue()),
    "clue/iflytek": Submission("iflytek_predict.json", _clue()),
    "clue/cmnli": Submission("cmnli_predict.json", _clue()),
    "clue/ocnli": Submission("ocnli_50k_predict.json", _clue()),
    "clue/cluewsc": Submission("cluewsc11_predict.json", _clue()),
    "clue/csl": Submission("csl_predict.json", _clue()),
    "clue/cmrc2018": Submission("cmrc2018_predict.json", _answers),
    "clue/chid": Submission("chid11_predict.json", _chid),
    "clue/c3": Submission("c311_predict.json", _clue(int, "question_id")),
    "clue/cluener": Submission("cluener_predict.json", _cluener),
}
"""By benchmark, and `benchmark:split` where one has several test sets; the others by kind."""
