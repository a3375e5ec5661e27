"""Sets of tensorflow-datasets: the rows that our readers make of the official files.

TFDS's own builders read the same small files, and prepare the sets as `tfds build` does.
"""

import json
from unittest import mock

import pytest

from plmjax.data.labelled import BENCHMARKS, label_name, read_set
from plmjax.data.labelled.tfds_sets import TFDS
from plmjax.errors import UserError
from tests.requires import need

LANGUAGES = [
    "ar",
    "bg",
    "de",
    "el",
    "en",
    "es",
    "fr",
    "hi",
    "ru",
    "sw",
    "th",
    "tr",
    "ur",
    "vi",
    "zh",
]


def table(*rows: tuple) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def nli(*labels: str) -> list[tuple]:
    """GLUE's columns of MNLI."""
    names = ("index", "promptID", "pairID", "genre", "s1", "s2", "s3", "s4")
    rows = [(n, "p", "q", "g", *"abcd", f"One {n}", f"Two {n}") for n in range(len(labels))]
    return [(*row, label) for row, label in zip(rows, labels, strict=True)], names


def mnli() -> str:
    rows, names = nli("neutral", "entailment", "contradiction")
    return table((*names, "sentence1", "sentence2", "gold_label"), *rows)


STS = ("index", "genre", "filename", "year", "old_index", "source1", "source2")
SPAN = {"span1_text": "Mark", "span1_index": 0, "span2_text": "He", "span2_index": 3}
ANSWERS = [{"idx": n, "text": f"answer {n}", "label": n % 2} for n in range(3)]
MULTIRC = [
    {"idx": n, "passage": {"text": f"Text {n}", "questions": [
        {"idx": q, "question": f"Question {q}?", "answers": ANSWERS} for q in range(2)
    ]}}
    for n in range(12)
]  # fmt: skip
RECORD = {
    "idx": 3,
    "passage": {
        "text": "Rome is old. Rome and Paris.",
        "entities": [{"start": 0, "end": 3}, {"start": 13, "end": 16}, {"start": 22, "end": 26}],
    },
    "qas": [
        {"idx": 5, "query": "@placeholder.", "answers": [{"start": 0, "end": 3, "text": "Rome"}]},
        {
            "idx": 4,
            "query": "@placeholder!",
            "answers": [{"start": 22, "end": 26, "text": "Paris"}],
        },
    ],
}


def squad(impossible: bool) -> str:
    questions = [
        {"id": "a", "question": "What?", "answers": [{"text": "two", "answer_start": 4}]},
        {"id": "b", "question": "Where?", "answers": [{"text": "one", "answer_start": 0}]},
    ]
    if impossible:
        questions[0] |= {"is_impossible": False}
        questions[1] |= {"is_impossible": True, "answers": [], "plausible_answers": []}
    article = {"title": "Words", "paragraphs": [{"context": "one two", "qas": questions}]}
    return json.dumps({"data": [article]})


def xnli() -> str:
    names = ("language", "gold_label", "sentence1", "sentence2", "pairID")
    rows = [
        (name, label, f"{name} one {n}", f"{name} two {n}", n)
        for n, label in enumerate(("neutral", "entailment"))
        for name in LANGUAGES
    ]
    return table(names, *rows)


WIC = {"word": "come", "sentence1": "come over", "sentence2": "they come"}
WIC |= {"start1": 0, "end1": 4, "start2": 5, "end2": 9}
FILES = {
    "glue/cola": ("train.tsv", table(("a", 1, "", "He left."), ("b", 0, "*", "Left he."))),
    "glue/sst2": ("train.tsv", table(("sentence", "label"), ("It is good .", 1), ("bad", 0))),
    "glue/stsb": (
        "dev.tsv",
        table(
            (*STS, "sentence1", "sentence2", "score"),
            *((n, *"abcdef", f"One {n}", f"Two {n}", n + 0.25) for n in range(11)),
        ),
    ),
    "glue/qqp": (
        "train.tsv",
        table(
            ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
            (0, 1, 2, "Who?", "What?", 0),
            (7, 1, 2, "Who is it?", "Who?", 1),
        ),
    ),
    "glue/mnli": ("train.tsv", mnli()),
    "glue/qnli": (
        "dev.tsv",
        table(
            ("index", "question", "sentence", "label"),
            (0, "Who?", "He.", "entailment"),
            (1, "Where?", "Now.", "not_entailment"),
        ),
    ),
    "glue/wnli": (
        "train.tsv",
        table(("index", "sentence1", "sentence2", "label"), (0, "A b.", "C.", 1), (1, "D", "E", 0)),
    ),
    "superglue/boolq": (
        "train.jsonl",
        lines(
            *(
                {"question": f"is it {n}", "passage": "It.", "idx": n, "label": n > 2}
                for n in range(12)
            )
        ),
    ),
    "superglue/cb": (
        "val.jsonl",
        lines({"premise": "a", "hypothesis": "b", "label": "neutral", "idx": 0}),
    ),
    "superglue/copa": (
        "train.jsonl",
        lines(
            {
                "premise": "a",
                "choice1": "b",
                "choice2": "c",
                "question": "cause",
                "label": 1,
                "idx": 0,
            }
        ),
    ),
    "superglue/multirc": ("train.jsonl", lines(*MULTIRC)),
    "superglue/record": ("train.jsonl", lines(RECORD)),
    "superglue/rte": (
        "test.jsonl",
        lines(*({"premise": "a", "hypothesis": "b", "idx": n} for n in range(11))),
    ),
    "superglue/wic": ("val.jsonl", lines({**WIC, "label": True, "idx": 0})),
    "superglue/wsc": (
        "train.jsonl",
        lines({"text": "Mark left. So He ran.", "target": SPAN, "label": False, "idx": 0}),
    ),
    "squad1": ("dev-v1.1.json", squad(False)),
    "squad2": ("train-v2.0.json", squad(True)),
    "xnli": ("xnli.dev.tsv", xnli()),
    "conll2003": (
        "eng.train",
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n",
    ),
}
OURS = {"train": "train", "dev": "dev", "val": "dev", "test": "test", "eng": "train", "xnli": "dev"}


@pytest.fixture(scope="module")
def tfds():
    return need("tensorflow_datasets", "pip install tensorflow-datasets")


@pytest.fixture
def data_dir(tfds, tmp_path):
    folder = tmp_path / "tfds"
    folder.mkdir()
    with mock.patch.object(tfds.core.constants, "DATA_DIR", str(folder)):
        yield folder


def build(tfds, data_dir, name: str, split: str, path) -> None:
    """What `tfds build` does, of our file in place of a download."""
    builder = tfds.builder(name, data_dir=data_dir)
    more = {"split": split} if name.startswith(("glue", "super_glue")) else {}

    def generators(self, *given, **named):
        return {split: self._generate_examples(str(path), **more)}

    with mock.patch.object(type(builder), "_split_generators", generators):
        builder.download_and_prepare()


def meaning(name: str, rows) -> list:
    """What a task reads of rows: texts and labels, and what leaderboards' files need."""
    benchmark = BENCHMARKS[name]
    names = (benchmark.text, benchmark.second, *benchmark.others, benchmark.options)
    names = (*filter(None, names), "starts", "is_impossible", "language", "id", "idx")
    names += ("passage_id", "question_id", "answer_id") if name != "superglue/record" else ()
    found = []
    for row in rows:
        label = row.fields.get(benchmark.label)
        label = float(label) if benchmark.kind == "score" else label
        label = label_name(label) if benchmark.kind == "classes" else label
        found.append({"label": label, **{one: row.fields.get(one) for one in names}})
    # GLUE's idx is the number of a row, which its files do not have; QQP's files have another id.
    if name.startswith("glue/"):
        found = [{k: v for k, v in one.items() if k not in ("id", "idx")} for one in found]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_rows_are_those_of_the_official_file(tfds, data_dir, tmp_path, name):
    file, text = FILES[name]
    (tmp_path / file).write_text(text)
    split = OURS[file.replace("-", ".").split(".")[0]]
    known = TFDS[name]
    build(tfds, data_dir, known.name, known.splits[split], tmp_path / file)
    theirs = read_set(name, f"tfds:{known.name}", split)
    ours = read_set(name, str(tmp_path), split)
    found, expected = meaning(name, theirs), meaning(name, ours)
    if known.order == "":  # in the order that TFDS mixes them
        found, expected = (sorted(some, key=str) for some in (found, expected))
    if name == "superglue/record":
        expected.sort(key=lambda one: one["id"])
        for one in (*found, *expected):
            one["options"] = sorted(one["options"])
    assert found == expected
    assert theirs[0].where == f"tfds:{known.name}, {known.splits[split]}, example 1"


@pytest.mark.slow
def test_a_language_is_a_split(tfds, data_dir, tmp_path):
    (tmp_path / "xnli.dev.tsv").write_text(xnli())
    build(tfds, data_dir, "xnli", "validation", tmp_path / "xnli.dev.tsv")
    rows = read_set("xnli", "tfds:xnli", "dev_sw")
    assert {row.fields["sentence1"] for row in rows} == {"sw one 0", "sw one 1"}
    assert rows[0].fields.keys() >= {"sentence2", "gold_label"}
    files = read_set("xnli", str(tmp_path), "dev_sw")
    assert sorted(meaning("xnli", rows), key=str) == sorted(meaning("xnli", files), key=str)


def test_names_are_those_of_benchmarks():
    assert TFDS.keys() <= BENCHMARKS.keys()
    for name, known in TFDS.items():
        assert known.splits.keys() <= BENCHMARKS[name].splits.keys(), name


@pytest.mark.slow
def test_every_set_is_one_that_tfds_has(tfds):
    """Names of labels are TFDS's: one that it does not have would never be met."""
    for name, known in TFDS.items():
        features = tfds.builder(known.name).info.features
        theirs = {value: key for key, value in known.fields.items()}
        label = theirs.get(BENCHMARKS[name].label, BENCHMARKS[name].label)
        names = getattr(features[label], "names", None) if label in features else None
        if names is not None and BENCHMARKS[name].kind == "classes":
            found = {known.labels.get(one, one) for one in names}
            assert found == set(BENCHMARKS[name].labels), name
        assert set(known.fields) <= set(features), name


@pytest.mark.slow
def test_a_set_that_is_not_on_this_machine(tfds, data_dir):
    with pytest.raises(UserError) as error:
        read_set("glue/sst2", "tfds:glue/sst2", "train")
    assert str(error.value) == (
        "'tfds:glue/sst2' has no split 'train'; there are: none; tfds build glue/sst2 makes them"
    )


MISTAKES = {
    (
        "glue/sst2",
        "tfds:glue/cola",
        "train",
    ): "tfds:glue/cola is not glue/sst2; give tfds:glue/sst2",
    ("clue/tnews", "tfds:clue/tnews", "train"): "clue/tnews is none of the sets that are read from",
    ("xnli", "tfds:xnli", "train_zh"): "split of tfds:xnli='train_zh' is unknown; there are: dev",
}


@pytest.mark.parametrize("given", MISTAKES)
def test_a_mistake_is_one_line(given):
    with pytest.raises(UserError) as error:
        read_set(*given)
    assert str(error.value).startswith(MISTAKES[given])


def test_without_the_library(monkeypatch):
    """Which is imported when a set of it is read, and no sooner."""
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="needs tensorflow-datasets: pip install tensorflow-data"):
        read_set("glue/sst2", "tfds:glue/sst2", "train")
