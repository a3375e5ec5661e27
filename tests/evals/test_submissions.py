"""What leaderboards take: as their own tools write it, or their samples show it."""

import csv
import io
import json

import pytest

from plmjax.data.labelled import read_rows
from plmjax.errors import UserError
from plmjax.evals.submissions import SUBMISSIONS, submission, with_none
from tests.requires import need


def text(benchmark: str, records: list[dict], split: str = "test", kind: str = "") -> str:
    return submission(benchmark, split, kind).text(records)


def said(*predictions, **fields) -> list[dict]:
    """Records whose numbers begin at 7, in an order that is not that of their numbers."""
    numbers = [7 + (3 * n) % len(predictions) for n in range(len(predictions))]
    pairs = zip(numbers, predictions, strict=True)
    return [
        {"where": f"row {n}", "predicted": one, **{key: n for key in fields or ("idx",)}}
        for n, one in pairs
    ]


GLUE = {
    "glue/cola": (["1", "0"], int),
    "glue/mnli": (["entailment", "contradiction", "neutral", "neutral"], str),
    "glue/rte": (["not_entailment", "entailment"], str),
    "glue/stsb": ([5.31, 3.14159, -0.2, 2.0], lambda x: min(max(0.0, x), 5.0)),
}


@pytest.mark.parametrize("name", GLUE)
def test_glue_is_what_jiant_writes(name):
    """nyu-mll/jiant evaluate.py: the call of `to_csv` and what it does to numbers beforehand."""
    pandas = need("pandas", "pip install pandas")
    predictions, change = GLUE[name]
    records = said(*predictions, index=True)
    frame = pandas.DataFrame(
        {
            "prediction": [change(one) for one in predictions],
            "index": [record["index"] for record in records],
        }
    )
    theirs = frame.to_csv(
        sep="\t",
        index=False,
        float_format="%.3f",
        quoting=csv.QUOTE_NONE,
        columns=["index", "prediction"],
        lineterminator="\n",
    )
    assert text(name, records) == theirs


def test_each_test_set_of_mnli_has_its_file():
    names = [submission("glue/mnli", split, "").file for split in ("test", "test_mismatched")]
    assert names == ["MNLI-m.tsv", "MNLI-mm.tsv"]


SUPERGLUE = {
    "superglue/boolq": (("true", "false"), "idx", ["true", "false"]),
    "superglue/wic": (("false", "true"), "idx", ["false", "true"]),
    "superglue/wsc": (("false", "true"), "idx", ["False", "True"]),
    "superglue/cb": (("neutral", "contradiction"), "idx", ["neutral", "contradiction"]),
    "superglue/rte": (("not_entailment", "entailment"), "idx", ["not_entailment", "entailment"]),
    "superglue/copa": ((1, 0), "id", [1, 0]),
    "superglue/record": (("Rome", "the “Pope”"), "id", ["Rome", "the “Pope”"]),
}


@pytest.mark.parametrize("name", SUPERGLUE)
def test_superglue_has_an_object_a_line(name):
    predictions, index, labels = SUPERGLUE[name]
    lines = [json.loads(line) for line in text(name, said(*predictions, **{index: 1})).splitlines()]
    assert lines == [{"idx": n, "label": one} for n, one in zip((7, 8), labels, strict=True)]


def test_multirc_is_nested_by_passage_and_question():
    """The same number of a question in two passages is two questions."""
    places = [(4, 0, 0, "1"), (4, 0, 1, "0"), (4, 1, 2, "1"), (9, 0, 3, "0")]
    records = [
        {"where": "", "passage_id": p, "question_id": q, "answer_id": a, "predicted": label}
        for p, q, a, label in places
    ]
    first, second = map(json.loads, text("superglue/multirc", records).splitlines())
    answers = [{"idx": 0, "label": 1}, {"idx": 1, "label": 0}]
    questions = [{"idx": 0, "answers": answers}, {"idx": 1, "answers": [{"idx": 2, "label": 1}]}]
    assert first == {"idx": 4, "passage": {"questions": questions}}
    assert second["passage"]["questions"] == [{"idx": 0, "answers": [{"idx": 3, "label": 0}]}]


CLUE_SAMPLE = '{"id": 0, "label": "0"}\n{"id": 1, "label": "1"}\n'
"""The README of clue_submit_examples.zip."""


def test_clue_is_as_its_readme_shows_it():
    records = [{"id": n, "predicted": str(n)} for n in range(2)]
    for name in ("afqmc", "tnews", "iflytek", "ocnli", "cluewsc", "csl", "cmnli"):
        assert text(f"clue/{name}", records) == CLUE_SAMPLE
    without = [{"predicted": "0"}, {"predicted": "1"}]
    assert text("clue/ocnli", without) == CLUE_SAMPLE
    questions = [{"question_id": 5, "id": "a document", "predicted": 3}]
    assert json.loads(text("clue/c3", questions)) == {"id": 5, "label": 3}


def test_answers_and_blanks_are_one_object():
    records = [
        {"id": "TEST_0_QUERY_0", "predicted": "美国海军提康德罗加级"},
        {"id": "TEST_0_QUERY_1", "predicted": "第二艘"},
    ]
    expected = {"TEST_0_QUERY_0": "美国海军提康德罗加级", "TEST_0_QUERY_1": "第二艘"}
    for name in ("clue/cmrc2018", "squad1", "xquad/de"):
        assert json.loads(text(name, records, kind="answers")) == expected
    blanks = [{"id": "#idiom000378#", "predicted": 3}, {"id": "#idiom000379#", "predicted": 0}]
    expected = {"#idiom000378#": 3, "#idiom000379#": 0}
    assert json.loads(text("clue/chid", blanks)) == expected


def test_no_answer_is_empty_from_a_threshold_on():
    records = [{"id": "a", "predicted": "Rome", "null_score": 1.5}]
    assert with_none(records, 1.5)[0]["predicted"] == "Rome"
    assert with_none(records, 1.4)[0]["predicted"] == ""


SENTENCE = "北京勘察设计协会副会长兼秘书长周荫如"
ENTITIES = {
    "organization": {"北京勘察设计协会": [[0, 7]]},
    "name": {"周荫如": [[15, 17]]},
    "position": {"副会长": [[8, 10]], "秘书长": [[12, 14]]},
}
"""The example of CLUENER2020's README."""


def test_entities_are_as_the_readme_of_cluener_shows_them():
    tags = ["O"] * len(SENTENCE)
    for kind, surfaces in ENTITIES.items():
        for ((start, end),) in surfaces.values():
            tags[start : end + 1] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start)
    bioes = [*tags]
    bioes[7], bioes[10], bioes[14], bioes[17] = (f"E-{tags[at][2:]}" for at in (7, 10, 14, 17))
    for given in (tags, bioes):
        record = {"id": 3, "tokens": list(SENTENCE), "predicted": given}
        assert json.loads(text("clue/cluener", [record])) == {"id": 3, "label": ENTITIES}


def test_columns_are_read_again(tmp_path):
    records = [
        {"tokens": ["John", "lives"], "predicted": ["S-PER", "O"], "tags": ["O", "O"]},
        {"tokens": ["New", "Rome"], "predicted": ["B-LOC", "E-LOC"], "tags": ["B-LOC", "I-LOC"]},
    ]
    path = tmp_path / "said.conll"
    path.write_text(text("conll2003", records, kind="tagging"))
    assert path.read_text().startswith("John O B-PER\nlives O O\n\nNew B-LOC B-LOC\n")
    rows = read_rows(str(path), columns=("tokens", "true", "found"))
    assert [row.fields["found"] for row in rows] == [["B-PER", "O"], ["B-LOC", "I-LOC"]]
    bare = [{"tokens": ["a b"], "predicted": ["O"]}]
    assert list(csv.reader(io.StringIO(text("", bare, kind="tagging")), delimiter="\t")) == [
        ["a b", "O"]
    ]


def test_a_file_that_no_leaderboard_takes():
    with pytest.raises(UserError, match="no leaderboard's file is known for snli; --items=FILE"):
        submission("snli", "test", "classification")
    with pytest.raises(UserError, match="row 3 has no 'idx', which the leaderboard's file needs"):
        text("superglue/cb", [{"where": "row 3", "predicted": "neutral"}])


def test_files_have_the_names_of_the_leaderboards():
    names = [one.file for name, one in SUBMISSIONS.items() if ":" not in name]
    assert len(names) == len(set(names)), "two tasks of a zip would have one name"
