"""Published sets in T5's form, by the formulas and the tests of google-research/
text-to-text-transfer-transformer, t5/data/preprocessors.py and preprocessors_test.py."""

import numpy as np
import pytest

from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.t5_forms import T5_FORMS
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.task_figures import metric_of


def task(name: str) -> TextToText:
    return TextToText(benchmark=name, **T5_FORMS[name])


def said(name: str, fields: dict) -> tuple[str, list[str]]:
    """The source and the targets of an example, as its file has it."""
    asked, row = task(name), Row(fields, "row")
    return asked.texts(row)[0], asked.right_texts(row, asked.classes([row]))


def glue(name: str, features: dict, order: tuple[str, ...] = ()) -> str:
    """T5's `glue`: all features of TensorFlow Datasets, in their alphabet's order or one's own."""
    parts = [name]
    for key in order or sorted(features):
        parts += [f"{key}:", features[key]]
    return " ".join(parts)


A, B = "The cat's here.", "A dog, too!"
BOTH = {"sentence1": A, "sentence2": B}
# By name: an example's text as files have it, T5's source of what TensorFlow Datasets calls it, the
# field of the label, and for each label of the file the class of TensorFlow Datasets, in its order.
ENTAILED = {"entailment": "entailment", "not_entailment": "not_entailment"}
NLI = {name: name for name in ("entailment", "neutral", "contradiction")}
PREMISE = {"premise": A, "hypothesis": B}
TRUTH = {False: "False", True: "True"}
GLUE = {
    "glue/cola": (
        {"sentence": A},
        glue("cola", {"sentence": A}),
        *("label", {"0": "unacceptable", "1": "acceptable"}),
    ),
    "glue/sst2": (
        {"sentence": A},
        glue("sst2", {"sentence": A}),
        *("label", {"0": "negative", "1": "positive"}),
    ),
    "glue/mrpc": (
        {"#1 String": A, "#2 String": B},
        glue("mrpc", BOTH),
        *("Quality", {"0": "not_equivalent", "1": "equivalent"}),
    ),
    "glue/qqp": (
        {"question1": A, "question2": B},
        glue("qqp", {"question1": A, "question2": B}),
        *("is_duplicate", {"0": "not_duplicate", "1": "duplicate"}),
    ),
    "glue/mnli": (BOTH, glue("mnli", PREMISE), "gold_label", NLI),
    "glue/qnli": (
        {"question": A, "sentence": B},
        glue("qnli", {"question": A, "sentence": B}),
        *("label", ENTAILED),
    ),
    "glue/rte": (BOTH, glue("rte", BOTH), "label", ENTAILED),
    "glue/wnli": (
        BOTH,
        glue("wnli", BOTH),
        *("label", {"0": "not_entailment", "1": "entailment"}),
    ),
    "superglue/boolq": (
        {"question": A, "passage": B},
        glue("boolq", {"question": A, "passage": B}),
        *("label", TRUTH),
    ),
    "superglue/cb": (
        PREMISE,
        glue("cb", PREMISE),
        *("label", {name: name for name in ("entailment", "contradiction", "neutral")}),
    ),
    "superglue/copa": (
        {"context": A, "question": "cause", "options": [B, "It is."]},
        glue("copa", {"premise": A, "question": "cause", "choice1": B, "choice2": "It is."}),
        *("label", {0: "choice1", 1: "choice2"}),
    ),
    "superglue/rte": (PREMISE, glue("rte", PREMISE), "label", ENTAILED),
    "superglue/wic": (
        {**BOTH, "word": "cat"},
        glue("wic", {**BOTH, "word": "cat"}, ("sentence1", "sentence2", "word")),
        *("label", TRUTH),
    ),
}


@pytest.mark.parametrize("name", GLUE)
def test_texts_and_labels_are_told_as_t5_tells_them(name):
    fields, source, label, spoken = GLUE[name]
    for value, word in spoken.items():
        assert said(name, {**fields, label: value}) == (source, [word])
    # F1 is that of the second class.
    assert task(name).words.split(",") == list(spoken.values())


# The examples of preprocessors_test.py: fields, source, targets.
TESTED = {
    "squad1": (
        {
            "context": "Some context.",
            "question": "A question?",
            "answers": ["The answer.", "Another answer."],
        },
        "question: A question ? context: Some context .",
        ["The answer .", "Another answer ."],
    ),
    "glue/stsb": (
        {"sentence1": "Big news.", "sentence2": "No idea.", "score": "1.66"},
        "stsb sentence1: Big news. sentence2: No idea.",
        ["1.6"],
    ),
    "superglue/multirc": (
        {
            "passage": "<b>Sent 1: </b>Once upon a time, there was a squirrel named Joey.<br><b>"
            "Sent 2: </b>Joey loved to go outside and play with his cousin Jimmy.",
            "question": "Why was Joey surprised the morning he woke up for breakfast?",
            "answer": "There was only pie to eat",
            "label": 1,
        },
        "multirc question: Why was Joey surprised the morning he woke up for breakfast? answer:"
        " There was only pie to eat paragraph: Sent 1: Once upon a time, there was a squirrel named"
        " Joey. Sent 2: Joey loved to go outside and play with his cousin Jimmy.",
        ["True"],
    ),
    "superglue/record": (
        {
            "passage": "This is the passage\n@highlight\nAnother sentence.\n@highlight\nThird"
            " sentence.",
            "query": "It was @placeholder.",
            "options": ["A", "B", "C"],
            "answers": ["A", "C"],
        },
        "record query: It was @placeholder. entities: A, B, C passage: This is the passage. Another"
        " sentence. Third sentence.",
        ["A", "C"],
    ),
}


@pytest.mark.parametrize("name", TESTED)
def test_the_examples_of_t5s_own_tests(name):
    fields, source, targets = TESTED[name]
    assert said(name, fields) == (source, targets)


def test_punctuation_of_squad_stands_apart_as_in_t5():
    # preprocessors_test.py, test_pad_punctuation and test_pad_punctuation_i18n.
    text = '"This  is a string with "punctuation (1845-1986) ".'
    source, _ = said("squad1", {"question": text, "context": '"Introducción', "answers": ["x"]})
    expected = '" This is a string with " punctuation ( 1845 - 1986 ) " .'
    assert source == f'question: {expected} context: " Introducción'


def test_scores_of_stsb_are_rounded_as_tensorflow_rounds_them():
    asked = task("glue/stsb")
    for score in np.arange(0, 5.01, 0.01):
        row = Row({"score": f"{score:.3f}"}, "row")
        # tf.as_string(tf.round(x * 5) / 5, precision=1) of a float32, halves to even.
        expected = (
            f"{np.round(np.float32(row.fields['score']) * np.float32(5)) / np.float32(5):.1f}"
        )
        assert asked.right_texts(row, ()) == [expected]


def test_every_form_is_tried_and_fits_its_benchmark():
    assert T5_FORMS.keys() == {*GLUE, *TESTED}
    for name in T5_FORMS:
        asked, benchmark = task(name), BENCHMARKS[name]
        read = {*benchmark.others, benchmark.text, benchmark.second, benchmark.options} - {""}
        unread = {"superglue/wic": {"start1", "end1", "start2", "end2"}}.get(name, set())
        assert set(asked.source_template.fields) == read - unread, name
        assert asked.label == benchmark.label, name
        if benchmark.kind == "classes":
            assert set(asked.labels.split(",")) == set(benchmark.labels), name
        assert {"train", "dev"} <= benchmark.splits.keys()
        metric_of(asked)
