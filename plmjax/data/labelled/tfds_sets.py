"""Published sets as tensorflow-datasets has them, with the fields and labels of their own files."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from plmjax.data.labelled.rows import Row
from plmjax.data.tables import tfds_builder
from plmjax.errors import UserError
from plmjax.settings import choose

PREFIX = "tfds:"
_NLI_PAIR = {"premise": "sentence1", "hypothesis": "sentence2"}
_BINARY = {"False": "false", "True": "true"}
_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class TfdsSet:
    """A set of TFDS.

    Attributes:
      name: what TFDS calls it.
      splits: its splits by ours.
      fields: our names of its fields, of those that have another.
      labels: our labels by its own, of those that have another.
      change: from a record with our names to the fields of the rows that it is.
      order: the field by which rows are in the order of the published file; TFDS mixes them.
    """

    name: str
    splits: Mapping[str, str] = dataclasses.field(default_factory=lambda: _SPLITS)
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    change: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda record: [record]
    order: str = ""


def is_tfds(folder: str) -> bool:
    """Whether the folder of a set is a name of TFDS."""
    return folder.startswith(PREFIX)


def read_tfds(benchmark: str, folder: str, split: str, only: Mapping[str, str]) -> list[Row]:
    """The rows of a split of a published set, as `read_set` gives those of its files.

    Rows of leaderboards' test sets have no label; the set has to be on this machine, as
    `tfds build` leaves it there.

    Args:
      benchmark: a name of `plmjax.data.labelled.benchmarks.BENCHMARKS`.
      folder: `tfds:` and the name of the set.
      split: ours.
      only: fields and their values, of the rows that are meant.

    Raises:
      UserError: where TFDS has no such set or split, it is not on this machine, or another set is
        named than the benchmark's.
    """
    if benchmark not in TFDS:
        there = ", ".join(sorted({one.name for one in TFDS.values()}))
        raise UserError(
            f"{benchmark} is none of the sets that are read from TFDS ({there}); name the folder"
            " with its files"
        )
    known, name = TFDS[benchmark], folder.removeprefix(PREFIX)
    if name != known.name:
        raise UserError(f"{folder} is not {benchmark}; give {PREFIX}{known.name}")
    base = split.removesuffix(f"_{only['language']}") if "language" in only else split
    theirs = choose(base, known.splits, f"split of {folder}")
    found = [
        fields
        for record in _records(f"{name}:{theirs}")
        for fields in known.change(_renamed(record, known))
        if all(fields.get(key) == value for key, value in only.items())
    ]
    if known.order:
        found.sort(key=lambda fields: fields[known.order])
    return [
        Row(fields, f"{folder}, {theirs}, example {number}")
        for number, fields in enumerate(found, 1)
    ]


def _records(target: str) -> Iterator[dict[str, Any]]:
    """The records of a split, labels by their names and absent where they are hidden."""
    from plmjax.data.host_tensorflow import tensorflow

    tensorflow()
    builder, split = tfds_builder(target)
    import tensorflow_datasets as tfds

    features = builder.info.features
    dataset = builder.as_dataset(split=split, shuffle_files=False)
    for record in tfds.as_numpy(dataset):
        found = {name: _plain(value) for name, value in record.items()}
        for name, value in record.items():
            names = getattr(features[name], "names", None)
            if names is not None and np.ndim(value):  # of each token
                found[name] = [names[one] for one in value]
            elif names is not None:
                found[name] = names[value] if value >= 0 else None
        yield {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """Texts, numbers and lists in place of bytes and arrays."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if hasattr(value, "to_list"):  # ragged
        return _plain(value.to_list())
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _renamed(record: Mapping[str, Any], known: TfdsSet) -> dict[str, Any]:
    fields = {known.fields.get(name, name): value for name, value in record.items()}
    label = known.fields.get("label", "label")
    if fields.get(label) in known.labels:
        fields[label] = known.labels[fields[label]]
    return fields


Changed = list[dict[str, Any]]


def _numbered(record: dict[str, Any]) -> Changed:
    """GLUE's, whose test files call the number of a row its index."""
    return [{**record, "index": record["idx"]}]


def _scored(record: dict[str, Any]) -> Changed:
    """STS-B's: hidden scores are -1."""
    if record["score"] < 0:
        del record["score"]
    return _numbered(record)


def _copa(record: dict[str, Any]) -> Changed:
    fields = {"context": record["premise"], "question": record["question"], "id": record["idx"]}
    fields["options"] = [record["choice1"], record["choice2"]]
    label = {"label": ["choice1", "choice2"].index(record["label"])} if "label" in record else {}
    return [fields | label]


def _multirc(record: dict[str, Any]) -> Changed:
    places = record.pop("idx")
    record |= {f"{key}_id": places[name] for key, name in _MULTIRC_IDS.items()}
    return [{**record, "order": tuple(places[name] for name in _MULTIRC_IDS.values())}]


_MULTIRC_IDS = {"passage": "paragraph", "question": "question", "answer": "answer"}


def _record(record: dict[str, Any]) -> Changed:
    places = record.pop("idx")
    options, answers = (list(dict.fromkeys(record.pop(key))) for key in ("entities", "answers"))
    record |= {"options": options, "answers": answers}
    return [{**record, "passage_id": places["passage"], "id": places["query"]}]


def _squad(record: dict[str, Any]) -> Changed:
    found = record["answers"]
    fields = {name: record[name] for name in ("id", "title", "context", "question")}
    fields |= {"answers": found["text"], "starts": found["answer_start"]}
    return [{**fields, "is_impossible": bool(record.get("is_impossible", False))}]


def _xnli(record: dict[str, Any]) -> Changed:
    """A row for each of the fifteen languages."""
    said = record["hypothesis"]
    second = dict(zip(said["language"], said["translation"], strict=True))
    return [
        {
            "language": language,
            "sentence1": text,
            "sentence2": second[language],
            "gold_label": record["label"],
        }
        for language, text in record["premise"].items()
    ]


def _snli(record: dict[str, Any]) -> Changed:
    """Annotators who did not agree are `-`, as in the files."""
    return [{"gold_label": "-", **record}]


def _glue(name: str, labels: Mapping[str, str] | None = None, **fields: str) -> TfdsSet:
    change = {"change": _numbered, "order": "idx"}
    return TfdsSet(f"glue/{name}", fields=fields, labels=labels or {}, **change)


def _superglue(name: str, labels: Mapping[str, str] | None = None, **more: Any) -> TfdsSet:
    return TfdsSet(f"super_glue/{name}", labels=labels or {}, **{"order": "idx", **more})


_MNLI = {
    "train": "train",
    "dev": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "test": "test_matched",
    "test_mismatched": "test_mismatched",
}
_XQUAD = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")

TFDS: Mapping[str, TfdsSet] = {
    "glue/cola": _glue("cola", {"unacceptable": "0", "acceptable": "1"}),
    "glue/sst2": _glue("sst2", {"negative": "0", "positive": "1"}),
    "glue/mrpc": _glue(
        "mrpc",
        {"not_equivalent": "0", "equivalent": "1"},
        sentence1="#1 String",
        sentence2="#2 String",
        label="Quality",
    ),
    "glue/qqp": _glue("qqp", {"not_duplicate": "0", "duplicate": "1"}, label="is_duplicate"),
    "glue/stsb": TfdsSet("glue/stsb", fields={"label": "score"}, change=_scored, order="idx"),
    "glue/mnli": dataclasses.replace(_glue("mnli", label="gold_label", **_NLI_PAIR), splits=_MNLI),
    "glue/qnli": _glue("qnli"),
    "glue/rte": _glue("rte"),
    "glue/wnli": _glue("wnli", {"not_entailment": "0", "entailment": "1"}),
    "glue/ax": dataclasses.replace(_glue("ax", **_NLI_PAIR), splits={"test": "test"}),
    "superglue/boolq": _superglue("boolq", _BINARY),
    "superglue/cb": _superglue("cb"),
    "superglue/copa": _superglue("copa", change=_copa, order="id"),
    "superglue/multirc": _superglue(
        "multirc",
        {"False": "0", "True": "1"},
        fields={"paragraph": "passage"},
        change=_multirc,
        order="order",
    ),
    "superglue/record": _superglue("record", change=_record, order="id"),
    "superglue/rte": _superglue("rte"),
    "superglue/wic": _superglue("wic", _BINARY),
    "superglue/wsc": _superglue("wsc", _BINARY),
    "superglue/ax_b": _superglue("axb", splits={"test": "test"}),
    "superglue/ax_g": _superglue("axg", splits={"test": "test"}),
    "squad1": TfdsSet("squad/v1.1", {"train": "train", "dev": "validation"}, change=_squad),
    "squad2": TfdsSet("squad/v2.0", {"train": "train", "dev": "validation"}, change=_squad),
    "xnli": TfdsSet("xnli", {"dev": "validation", "test": "test"}, change=_xnli),
    "snli": TfdsSet("snli", fields={**_NLI_PAIR, "label": "gold_label"}, change=_snli),
    "conll2003": TfdsSet(
        "conll2003",
        {"train": "train", "dev": "dev", "test": "test"},
        {"ner": "tags"},
    ),
    **{
        f"xquad/{name}": TfdsSet(f"xquad/{name}", {"test": "test"}, change=_squad)
        for name in _XQUAD
    },
}
"""By our names."""
