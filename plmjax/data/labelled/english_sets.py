"""English sets: GLUE and SuperGLUE (https://gluebenchmark.com), and others beside them.

Orders of labels: GLUE's by transformers' processors (as google-research/bert, where it has the
task), SuperGLUE's by jiant.
"""

from collections.abc import Mapping
from typing import Any

from plmjax.data.labelled.benchmark import Benchmark, Split, splits

NLI = ("contradiction", "entailment", "neutral")
RTE = ("entailment", "not_entailment")
WSC_SPANS = ("span1_text", "span1_index", "span2_text", "span2_index")
_BINARY = ("0", "1")
_TSV = splits("train.tsv", "dev.tsv", "test.tsv")
_JSONL = splits("train.jsonl", "val.jsonl", "test.jsonl")
_COLA = ("source", "label", "star", "sentence")
_STS = ("genre", "file", "year", "id", "score", "sentence1", "sentence2", "*more")
_PAIR = {"text": "sentence1", "second": "sentence2"}


def _classes(
    labels: tuple[str, ...],
    metric: str = "accuracy",
    files: Mapping[str, Split] = _TSV,
    **fields: Any,
) -> Benchmark:
    fields.setdefault("format", "tsv" if files is _TSV else "jsonl")
    return Benchmark("classes", files, (metric,), labels=labels, **fields)


GLUE = {
    "glue/cola": _classes(
        _BINARY,
        "matthews",
        files={
            "train": Split(("train.tsv",), columns=_COLA),
            "dev": Split(("dev.tsv",), columns=_COLA),
            "test": Split(("test.tsv",), labelled=False),
        },
        text="sentence",
        format="tsv",
    ),
    "glue/sst2": _classes(_BINARY, text="sentence"),
    "glue/mrpc": _classes(
        _BINARY,
        "accuracy_f1",
        files=splits(
            "train.tsv|msr_paraphrase_train.txt", "dev.tsv", "test.tsv|msr_paraphrase_test.txt"
        ),
        text="#1 String",
        second="#2 String",
        label="Quality",
        format="tsv",
    ),
    "glue/qqp": _classes(
        _BINARY,
        "accuracy_f1",
        text="question1",
        second="question2",
        label="is_duplicate",
        format="qqp",
    ),
    "glue/stsb": Benchmark(
        "score", _TSV, ("pearson_spearman",), label="score", format="tsv", **_PAIR
    ),
    "glue/mnli": _classes(
        NLI,
        files={
            "train": Split(("train.tsv",)),
            "dev": Split(("dev_matched.tsv",)),
            "dev_mismatched": Split(("dev_mismatched.tsv",)),
            "test": Split(("test_matched.tsv",), labelled=False),
            "test_mismatched": Split(("test_mismatched.tsv",), labelled=False),
        },
        label="gold_label",
        dropped=("-",),
        format="tsv",
        **_PAIR,
    ),
    "glue/qnli": _classes(RTE, text="question", second="sentence"),
    "glue/rte": _classes(RTE, **_PAIR),
    "glue/wnli": _classes(_BINARY, **_PAIR),
    "glue/ax": _classes(
        NLI, "matthews", files=splits(test="diagnostic.tsv|AX.tsv"), format="tsv", **_PAIR
    ),
    "glue/ax_full": _classes(
        NLI,
        "matthews",
        files=splits(test="diagnostic-full.tsv", hidden=False),
        text="Premise",
        second="Hypothesis",
        label="Label",
        format="tsv",
    ),
}
_PREMISE = {"text": "premise", "second": "hypothesis"}
_FALSE_TRUE = ("false", "true")

SUPERGLUE = {
    "superglue/boolq": _classes(_FALSE_TRUE, files=_JSONL, text="passage", second="question"),
    "superglue/cb": _classes(
        ("neutral", "entailment", "contradiction"),
        "accuracy_macro_f1",
        files=_JSONL,
        **_PREMISE,
    ),
    "superglue/copa": Benchmark(
        "choice",
        _JSONL,
        ("choice_accuracy",),
        text="context",
        second="question",
        options="options",
        format="copa",
    ),
    "superglue/multirc": Benchmark(
        "classes",
        _JSONL,
        ("multirc",),
        text="passage",
        second="question",
        others=("answer",),
        labels=_BINARY,
        format="multirc",
    ),
    "superglue/record": Benchmark(
        "answer",
        _JSONL,
        ("record",),
        text="passage",
        second="query",
        label="answers",
        options="options",
        format="record",
    ),
    "superglue/rte": _classes(RTE, files=_JSONL, **_PREMISE),
    "superglue/wic": _classes(
        _FALSE_TRUE,
        files=_JSONL,
        others=("word", "start1", "end1", "start2", "end2"),
        **_PAIR,
    ),
    "superglue/wsc": _classes(
        _FALSE_TRUE, files=_JSONL, text="text", others=WSC_SPANS, format="wsc"
    ),
    "superglue/ax_b": _classes(
        RTE, "matthews", files=splits(test="AX-b.jsonl", hidden=False), **_PAIR
    ),
    "superglue/ax_g": _classes(
        RTE, "accuracy", files=splits(test="AX-g.jsonl", hidden=False), **_PREMISE
    ),
}

_TREEBANK = "{0}-ud-train.conllu", "{0}-ud-dev.conllu", "{0}-ud-test.conllu"
_QUESTIONS = {"text": "context", "second": "question", "label": "answers", "format": "squad"}
_OPTIONS = {"text": "context", "second": "question", "options": "options"}

OTHERS = {
    "sts_benchmark": Benchmark(
        "score",
        {
            name: Split((f"sts-{name}.tsv", f"sts-{name}.csv"), columns=_STS)
            for name in ("train", "dev", "test")
        },
        ("pearson_spearman",),
        label="score",
        format="tsv",  # its .csv files are tab-separated as well
        **_PAIR,
    ),
    "snli": _classes(
        NLI,
        files=splits(
            "snli_1.0_train.jsonl", "snli_1.0_dev.jsonl", "snli_1.0_test.jsonl", hidden=False
        ),
        label="gold_label",
        dropped=("-",),
        **_PAIR,
    ),
    "conll2003": Benchmark(
        "tags",
        splits(
            "eng.train|train.txt",
            "eng.testa|valid.txt|dev.txt|testa.txt",
            "eng.testb|test.txt|testb.txt",
            hidden=False,
        ),
        ("entity_f1",),
        text="tokens",
        label="tags",
        labels=("PER", "ORG", "LOC", "MISC"),
        format="columns",
        columns=("tokens", "pos", "chunks", "tags"),
    ),
    "squad1": Benchmark(
        "span", splits("train-v1.1.json", "dev-v1.1.json"), ("squad1",), **_QUESTIONS
    ),
    "squad2": Benchmark(
        "span", splits("train-v2.0.json", "dev-v2.0.json"), ("squad2",), **_QUESTIONS
    ),
    "race": Benchmark(
        "choice",
        splits("train", "dev", "test", hidden=False),
        ("choice_accuracy",),
        format="race",
        **_OPTIONS,
    ),
    "story_cloze": Benchmark(
        "choice",
        splits(
            dev="cloze_test_val__spring2016 - cloze_test_ALL_val.csv|"
            "cloze_test_val__winter2018-cloze_test_ALL_val - 1 - 1.csv",
            test="cloze_test_test__spring2016 - cloze_test_ALL_test.csv|"
            "cloze_test_test__winter2018-cloze_test_ALL_test - 1.csv",
        ),
        ("choice_accuracy",),
        format="story_cloze",
        **_OPTIONS,
    ),
    "ud_en_ewt": Benchmark(
        "tree",
        splits(*(name.format("en_ewt") for name in _TREEBANK), hidden=False),
        ("uas_las",),
        text="tokens",
        label="heads",
        format="conllu",
    ),
    "ud_zh_gsdsimp": Benchmark(
        "tree",
        splits(*(name.format("zh_gsdsimp") for name in _TREEBANK), hidden=False),
        ("uas_las",),
        text="tokens",
        label="heads",
        format="conllu",
    ),
}
_XNLI = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
_XQUAD = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")

MULTILINGUAL = {
    # A file of dev or test holds all languages: the rows say theirs, and dev_zh has those of one.
    "xnli": _classes(
        NLI,
        files={
            **{f"train_{name}": Split((f"multinli.train.{name}.tsv",)) for name in _XNLI},
            **splits(dev="xnli.dev.tsv", test="xnli.test.tsv", hidden=False),
            **{
                f"{split}_{name}": Split((f"xnli.{split}.tsv",), only={"language": name})
                for split in ("dev", "test")
                for name in _XNLI
            },
        },
        label="gold_label",
        aliases={"contradictory": "contradiction"},
        format="xnli",
        **_PAIR,
    ),
    # Chinese has no blanks between words, at which the metric of SQuAD cuts.
    **{
        f"xquad/{name}": Benchmark(
            "span",
            splits(test=f"xquad.{name}.json", hidden=False),
            ("cmrc" if name == "zh" else "squad1",),
            **_QUESTIONS,
        )
        for name in _XQUAD
    },
}
