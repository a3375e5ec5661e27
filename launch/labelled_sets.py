"""The published labelled sets of docs/finetuning.md, and the part of each that is learned there."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from plmjax.data.labelled.benchmarks import BENCHMARKS, read_set


class Part(NamedTuple):
    """A published set, and what is learned of it.

    Attributes:
      title: for the page.
      benchmark: its name in BENCHMARKS.
      task: of `config.task`.
      figure: what counts of the task's figures.
      train, test: splits of the benchmark, or files of its folder.
      most: how many training examples are taken at most.
      seq_len, epochs, rate: of the training.
      model: the backbone, `english` or `chinese`.
      settings: further flags.
    """

    title: str
    benchmark: str
    task: str
    figure: str
    train: str
    test: str
    most: int
    seq_len: int
    epochs: int
    rate: float
    model: str
    settings: tuple[str, ...] = ()


_STRIDE = ("--config.task.stride=64",)
_HOLDOUT = "the same file, other articles"
_READ = ("text", "pair", "sentence1", "sentence2", "tokens", "context", "question")

PARTS = {
    "sst2": Part(
        *("SST-2: sentiment", "glue/sst2", "classification", "accuracy", "train", "dev"),
        *(3000, 40, 2, 1e-4, "english"),
    ),
    "mrpc": Part(
        *("MRPC: paraphrase", "glue/mrpc", "classification", "f1", "train", "test"),
        *(2500, 72, 2, 1e-4, "english", ("--config.task.metric=accuracy_f1",)),
    ),
    "stsb": Part(
        *("STS-B: similarity of sentences", "sts_benchmark", "similarity", "spearman"),
        *("train", "test", 2000, 40, 1, 2e-5, "english"),
    ),
    "conll2003": Part(
        *("CoNLL-2003: names", "conll2003", "tagging", "f1", "train", "test"),
        *(3000, 40, 2, 3e-4, "english"),
    ),
    "xquad_en": Part(
        *("XQuAD English: answers", "xquad/en", "extraction", "f1", "test", _HOLDOUT),
        *(450, 192, 3, 2e-4, "english", _STRIDE),
    ),
    "chnsenticorp": Part(
        *("ChnSentiCorp: sentiment", "chnsenticorp", "classification", "accuracy"),
        *("train", "test", 4800, 128, 3, 3e-4, "chinese"),
    ),
    "ocnli": Part(
        *("OCNLI: inference", "clue/ocnli", "classification", "accuracy", "train_10k", "dev"),
        *(10000, 64, 3, 3e-4, "chinese"),
    ),
    "weibo_ner": Part(
        *("Weibo: names", "weibo_ner", "tagging", "f1", "train", "test"),
        *(1350, 128, 10, 1e-3, "chinese"),
    ),
    "segmentation": Part(
        *("UD GSDSimp: segmentation", "ud_zh_gsdsimp", "tagging", "f1", "dev", "test"),
        *(500, 96, 20, 1e-3, "chinese", ("--config.task.metric=tagged_segmentation_f1",)),
    ),
    "cmrc2018": Part(
        *("CMRC 2018: answers", "clue/cmrc2018", "extraction", "f1", "trial", "dev"),
        *(1002, 128, 2, 5e-4, "chinese", ("--config.task.metric=cmrc", *_STRIDE)),
    ),
}


def write(name: str, data: Path, out: Path) -> dict[str, int]:
    """Writes train.jsonl and test.jsonl of a part.

    Rows are drawn by the digest of what they say, so that any copy of the set gives the same ones,
    in whatever order it has them. A training row whose text the test has, too, or which lacks a
    text, is left out.

    Args:
      name: of PARTS.
      data: the folder with a folder for each set, named as in PARTS.
      out: the folder that is written.

    Returns:
      `train`, `test`: rows that are written; of those to learn from that are left out, `shared`
      are in the test, and `empty` have an empty field, as a question of CMRC's trial has.
    """
    part, folder = PARTS[name], str(data / name)
    rows = [_plain(row.fields, part) for row in read_set(part.benchmark, folder, part.train)]
    if part.test == _HOLDOUT:
        train, test = _halves(rows)
    else:
        train = rows
        test = [_plain(row.fields, part) for row in read_set(part.benchmark, folder, part.test)]
    texts = {_text(row) for row in test}
    kept = [row for row in train if _text(row) not in texts]
    whole = [row for row in kept if all(row.get(name) != "" for name in _READ)]
    chosen = sorted(whole, key=_digest)[: part.most]
    out.mkdir(parents=True, exist_ok=True)
    for split, some in (("train", chosen), ("test", test)):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in some)
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    left_out = {"shared": len(train) - len(kept), "empty": len(kept) - len(whole)}
    return {"train": len(chosen), "test": len(test), **left_out}


def _plain(fields: Any, part: Part) -> dict[str, Any]:
    """A row under the names that tasks have for their fields."""
    benchmark = BENCHMARKS[part.benchmark]
    if part.task == "extraction":
        return {key: fields[key] for key in ("id", "title", "context", "question")} | {
            key: fields[key] for key in ("answers", "starts")
        }
    if benchmark.kind == "tree":
        return _segmented(fields["tokens"])
    if part.task == "tagging":
        return {"tokens": fields[benchmark.text], "tags": fields[benchmark.label]}
    names = {"sentence1": benchmark.text, "sentence2": benchmark.second, "score": benchmark.label}
    if part.task == "classification":
        names = {"text": benchmark.text, "pair": benchmark.second, "label": benchmark.label}
    return {ours: fields[theirs] for ours, theirs in names.items() if theirs}


def _segmented(words: Sequence[str]) -> dict[str, list[str]]:
    """Characters, and where words begin: B, M, E of longer words, S of a single character."""
    tags = ["S" if len(word) == 1 else "B" + "M" * (len(word) - 2) + "E" for word in words]
    return {"tokens": list("".join(words)), "tags": list("".join(tags))}


def _text(row: dict[str, Any]) -> str:
    """What the model reads of a row."""
    return json.dumps([row[name] for name in _READ if name in row], ensure_ascii=False)


def _digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _halves(rows: list[dict[str, Any]]) -> tuple[list, list]:
    """Questions about four fifths of the articles, and about the others."""
    titles = sorted(
        {row["title"] or row["context"] for row in rows}, key=lambda t: _digest({"": t})
    )
    held = set(titles[: len(titles) // 5])
    train = [row for row in rows if (row["title"] or row["context"]) not in held]
    return train, [row for row in rows if (row["title"] or row["context"]) in held]
