"""Files without labels: of every task, and of columns that lack the label's."""

import numpy as np
import pytest

from plmjax.data.labelled.blanks import Blanks
from plmjax.data.labelled.extraction import Extraction
from plmjax.data.labelled.filling import Filling
from plmjax.data.labelled.options import Choice
from plmjax.data.labelled.sets import read_set
from plmjax.data.labelled.similarity import Similarity
from plmjax.data.labelled.tagging import Tagging
from plmjax.data.labelled.text_tasks import Classification, MultiLabel, Regression
from plmjax.data.labelled.verification import Verification
from plmjax.data.plans.layout import PAIR, make_layout
from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece
from plmjax.errors import UserError

TOKENIZER = WordPiece((*SPECIAL_TOKENS, "rome", "is", "old"), True)
PAIRED = {"sentence1": "Rome is", "sentence2": "old"}
OPTIONS = {"options": ["Rome", "old"]}
# A task, its classes, a row without its label, and the label.
TASKS = {
    "classification": (Classification(), ("a", "b"), {"text": "Rome"}, {"label": "b"}),
    "multi_label": (MultiLabel(), ("a", "b"), {"text": "Rome"}, {"label": ""}),
    "regression": (Regression(), (), {"text": "Rome"}, {"label": 0.5}),
    "similarity": (Similarity(), (), PAIRED, {"score": 2}),
    "tagging": (Tagging(), ("B-X", "O"), {"tokens": ["Rome", "is"]}, {"tags": ["O", "B-X"]}),
    "extraction": (
        Extraction(),
        ("start", "end"),
        {"context": "Rome is old", "question": "Is it?"},
        {"answers": ["old"], "starts": [8]},
    ),
    "choice": (Choice(), ("0", "1"), {"context": "x", "question": "y", **OPTIONS}, {"label": 1}),
    "verification": (
        Verification(group="question"),
        ("0", "1"),
        {"passage": "Rome", "question": "Is it?", "answer": "old"},
        {"label": 1},
    ),
    "filling": (
        Filling(),
        ("false", "true"),
        {"passage": "Rome is old", "query": "@placeholder is", **OPTIONS},
        {"answers": ["Rome"]},
    ),
    "blanks": (
        Blanks(),
        ("0", "1"),
        {"left": "is", "right": "", "group": 0, **OPTIONS},
        {"label": 1},
    ),
}


def opened(folder, rows, name: str, maybe_unlabelled: bool = True):
    task, classes, *_ = TASKS[name]
    path = folder.write_lines("x.jsonl", rows)
    return read_set("data", path, task, classes, TOKENIZER, maybe_unlabelled)


@pytest.mark.parametrize("name", TASKS)
def test_a_model_reads_the_same_whether_there_are_labels(folder, name):
    *_, row, label = TASKS[name]
    bare, full = (opened(folder, [one] * 3, name) for one in (row, row | label))
    assert full.labelled and not bare.labelled
    layout = make_layout("bert", TOKENIZER, 24, PAIR)
    made = [examples.features(layout) for examples in (bare, full)]
    keys = ("tokens", "token_types", "attention_mask")
    first, second = (one.arrays(np.arange(len(one)), layout) for one in made)
    assert first.keys() == second.keys()
    for key in first:
        assert first[key].shape == second[key].shape and first[key].dtype == second[key].dtype
        if key in keys:
            np.testing.assert_array_equal(first[key], second[key])
    assert not label.keys() & bare.rows[0].fields.keys()


@pytest.mark.parametrize("name", TASKS)
def test_labels_in_some_rows_are_a_mistake(folder, name):
    *_, row, label = TASKS[name]
    said = folder.refusal(lambda: opened(folder, [row | label, row, row | label], name))
    assert said.startswith("x.jsonl, line 2 has no label in '")
    assert "and 2 of 3 examples have one" in said


@pytest.mark.parametrize("name", TASKS)
def test_training_needs_labels(folder, name):
    *_, row, _ = TASKS[name]
    with pytest.raises(UserError, match=r"x.jsonl, line 1"):
        opened(folder, [row], name, maybe_unlabelled=False)


COLUMNS = {
    "the label's": ("Rome NNP\nis VBZ\n\nold JJ\n", "tokens,pos,tags"),
    "all but the text's": ("Rome\nis\n\nold\n", "tokens,pos,tags"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_without(folder, name):
    text, columns = COLUMNS[name]
    path, task = folder.write("x.conll", text), Tagging(columns=columns)
    made = read_set("data", path, task, ("O", "B-X"), TOKENIZER, maybe_unlabelled=True)
    assert not made.labelled
    assert [row.fields["tokens"] for row in made.rows] == [["Rome", "is"], ["old"]]
    said = folder.refusal(lambda: read_set("data", path, task, ("O", "B-X"), TOKENIZER))
    assert f"expected 3 ({columns.replace(',', ', ')})" in said


def test_questions_that_squad_1_does_not_measure(folder):
    row = {"context": "Rome is old", "question": "Is it?"}
    rows = [row | {"answers": ["old"], "starts": [8]}, row | {"answers": [], "starts": []}]
    said = folder.refusal(lambda: opened(folder, rows, "extraction", maybe_unlabelled=False))
    assert said.startswith("x.jsonl, line 2 has nothing in 'answers' that the metric 'squad'")
    path, task = folder.write_lines("x.jsonl", rows), Extraction(metric="squad_v2_best")
    assert read_set("dev", path, task, ("start", "end"), TOKENIZER).labelled
