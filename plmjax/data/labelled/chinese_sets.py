"""Chinese sets: CLUE and FewCLUE (https://github.com/CLUEbenchmark), NER, reviews, questions.

Orders of labels: by CLUE's baselines where they have one.
"""

from collections.abc import Mapping
from typing import Any

from plmjax.data.labelled.benchmark import Benchmark, Split, splits
from plmjax.data.labelled.english_sets import NLI, WSC_SPANS

_BINARY = ("0", "1")
_TRUE_FALSE = ("true", "false")
_JSON = splits("train.json", "dev.json", "test.json")
_PAIR = {"text": "sentence1", "second": "sentence2"}
_TNEWS = tuple(str(number) for number in range(100, 117) if number not in (105, 111))
_IFLYTEK = tuple(str(number) for number in range(119))
_CLUENER = ("address", "book", "company", "game", "government")
_CLUENER += ("movie", "name", "organization", "position", "scene")


def _classes(
    labels: tuple[str, ...], files: Mapping[str, Split] = _JSON, **fields: Any
) -> Benchmark:
    return Benchmark(
        "classes", files, ("accuracy",), labels=labels, **{"format": "jsonl", **fields}
    )


def _few(kind: str = "classes", **fields: Any) -> Benchmark:
    """A task of FewCLUE: five small folds, all of them together, and the test that is reported."""
    names = ["train_few_all", "dev_few_all", "test_public"]
    names += [f"{part}_{fold}" for part in ("train", "dev") for fold in range(5)]
    files = {name: Split((f"{name}.json",)) for name in names}
    metrics = ("choice_accuracy",) if kind == "choice" else ("accuracy",)
    return Benchmark(kind, files, metrics, **{"format": "jsonl", **fields})


def _entities(kind: str, labels: tuple[str, ...], files: Mapping[str, Split]) -> Benchmark:
    columns = () if kind == "cluener" else ("tokens", "tags")
    return Benchmark(
        "tags",
        files,
        ("entity_f1",),
        text="tokens",
        label="tags",
        labels=labels,
        format=kind,
        columns=columns,
    )


_C3 = "c3-d-{0}.json + c3-m-{0}.json|d-{0}.json + m-{0}.json"
_QUESTIONS = {"text": "context", "second": "question", "label": "answers"}

CLUE = {
    "clue/afqmc": _classes(_BINARY, **_PAIR),
    "clue/tnews": _classes(
        _TNEWS,
        splits("train.json", "dev.json", "test1.1.json|test.json|test1.0.json"),
        text="sentence",
    ),
    "clue/iflytek": _classes(_IFLYTEK, text="sentence"),
    "clue/cmnli": _classes(NLI, dropped=("-",), **_PAIR),
    "clue/ocnli": _classes(
        NLI,
        {
            **splits("train.50k.json|train.json", "dev.json", "test.json"),
            **{f"train_{size}": Split((f"train.{size}.json",)) for size in ("30k", "10k", "3k")},
        },
        dropped=("-",),
        **_PAIR,
    ),
    "clue/cluewsc": _classes(
        _TRUE_FALSE,
        splits("train.json", "dev.json", "test1.1.json|test.json|test1.0.json"),
        text="text",
        others=WSC_SPANS,
        format="cluewsc",
    ),
    "clue/csl": _classes(_BINARY, text="keywords", second="abst", format="csl"),
    "clue/cmrc2018": Benchmark(
        "span",
        {
            **splits(
                "cmrc2018_train.json|train.json",
                "cmrc2018_dev.json|dev.json",
                "cmrc2018_test.json|test.json",
            ),
            "trial": Split(("cmrc2018_trial.json", "trial.json")),
        },
        ("cmrc",),
        format="cmrc",
        **_QUESTIONS,
    ),
    "clue/chid": Benchmark(
        "choice",
        splits("train.json", "dev.json", "test1.1.json|test.json|test1.0.json"),
        ("chid",),
        text="left",
        second="right",
        options="options",
        format="chid",
    ),
    "clue/c3": Benchmark(
        "choice",
        splits(
            *(_C3.format(name) for name in ("train", "dev")),
            f"{_C3.format('test')}|test1.1.json|test1.0.json",
        ),
        ("choice_accuracy",),
        text="context",
        second="question",
        options="options",
        format="c3",
    ),
    "clue/cluener": _entities(
        "cluener", _CLUENER, splits("train.json", "dev.json|dev_as_test.json", "test.json")
    ),
}
FEWCLUE = {
    "fewclue/bustm": _few(labels=_BINARY, **_PAIR),
    "fewclue/chid": _few("choice", text="left", second="right", options="options", format="chid"),
    "fewclue/cluewsc": _few(labels=_TRUE_FALSE, text="text", others=WSC_SPANS, format="cluewsc"),
    "fewclue/csl": _few(labels=_BINARY, text="keywords", second="abst", format="csl"),
    # Its 67 labels are in labels_all.txt beside its files.
    "fewclue/csldcp": _few(text="content"),
    "fewclue/eprstmt": _few(labels=("Negative", "Positive"), text="sentence"),
    "fewclue/iflytek": _few(labels=_IFLYTEK, text="sentence"),
    "fewclue/ocnli": _few(labels=NLI, dropped=("-",), **_PAIR),
    "fewclue/tnews": _few(labels=_TNEWS, text="sentence"),
}
_TABLES = splits("train.tsv", "dev.tsv", "test.tsv", hidden=False)
_BMES = splits("train.char.bmes", "dev.char.bmes", "test.char.bmes", hidden=False)

CHINESE = {
    "chnsenticorp": _classes(_BINARY, _TABLES, text="text_a", format="tsv"),
    "lcqmc": _classes(_BINARY, _TABLES, text="text_a", second="text_b", format="tsv"),
    "drcd": Benchmark(
        "span",
        splits("DRCD_training.json", "DRCD_dev.json", "DRCD_test.json", hidden=False),
        ("cmrc",),
        format="squad",
        **_QUESTIONS,
    ),
    "msra_ner": _entities(
        "columns",
        ("PER", "LOC", "ORG"),
        splits(
            "msra_train_bio.txt|train.char.bmes|train.txt",
            "dev.char.bmes|dev.txt",
            "msra_test_bio.txt|test.char.bmes|test.txt",
            hidden=False,
        ),
    ),
    "weibo_ner": _entities(
        "weibo",
        tuple(f"{kind}.{name}" for kind in ("PER", "ORG", "GPE", "LOC") for name in ("NAM", "NOM")),
        splits(
            *(
                f"weiboNER_2nd_conll.{name}|weiboNER.conll.{name}|{name}.all.bmes"
                for name in ("train", "dev", "test")
            ),
            hidden=False,
        ),
    ),
    "resume_ner": _entities(
        "columns", ("CONT", "EDU", "LOC", "NAME", "ORG", "PRO", "RACE", "TITLE"), _BMES
    ),
}
