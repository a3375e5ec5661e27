"""Tasks told and answered in words: templates, rows, and answers that are read back."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.templates import Template
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.data.plans.layout import PAIR, make_layout
from plmjax.data.tokenizers import WordPiece, train_tokenizer
from plmjax.errors import UserError
from plmjax.evals.confusion import of_classes
from plmjax.task_figures import metric_of

TEXTS = ("good bad fine it is so very 0123456789. 1.2 3.4 -5.0 : the film, a film!",) * 8
T5 = train_tokenizer("t5", lambda: TEXTS, 139)
GPT = train_tokenizer("gpt2", lambda: TEXTS, 280)
ROWS = [
    Row({"text": "the film is good", "label": "1", "score": "3.44", "said": "good film"}, "line 1"),
    Row({"text": "a bad film", "label": "0", "score": "-5", "said": ["bad", "so bad"]}, "line 2"),
]
CLASSES = ("0", "1")


def asked(**fields) -> TextToText:
    return TextToText(**{"source": "film: {text}", **fields})


def sentiment(**fields) -> TextToText:
    return asked(answers="class", labels="0,1", words="bad,good", **fields)


def features(task: TextToText, seq_len: int = 40, tokenizer=T5, classes=CLASSES, frame="eos"):
    layout = make_layout(frame, tokenizer, seq_len, PAIR, any_pad=True)
    return task.features(ROWS, classes, tokenizer, layout), layout


# ---------------------------------------------------------------------------------- templates


def test_fields_stand_in_a_text():
    row = Row({"a": "x", "b c": ["y", "z"], "n": 3, "t": True}, "row")
    for text, expected in {
        "is {a}, {a}": "is x, x",
        "{b c}": "y, z",
        "{b c[1]}-{n}": "z-3",
        "{t}": "true",
    }.items():
        assert Template(text, "config.task.source").rendered(row) == expected


def test_a_list_has_several_right_answers_each_once():
    template = Template("it is {x}", "config.task.target")
    assert template.alternatives(Row({"x": ["a", "b", "a"]}, "row")) == ["it is a", "it is b"]
    assert template.alternatives(Row({"x": "a"}, "row")) == ["it is a"]


@pytest.mark.parametrize("text", ["none", "{}", "{a", "a}", "{a[x]}", "{{a}}", ""])
def test_a_text_that_is_no_template(text):
    with pytest.raises(UserError, match=r"is no text with fields such as \{sentence\} in it"):
        Template(text, "config.task.source")


BAD_ROWS = {
    "no such field": (
        {"texd": "x"},
        "row has no field 'text', which config.task.source names; did",
    ),
    "an empty field": ({"text": " "}, "row: the field 'text', which config.task.source names, is"),
    "no text": ({"text": {"a": 1}}, "expected a text that is not empty"),
    "null": ({"text": None}, "is None; expected a text that is not empty"),
    "an empty list": ({"text": []}, "is []; expected a text that is not empty"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_that_does_not_fit_a_template(name):
    fields, expected = BAD_ROWS[name]
    with pytest.raises(UserError) as error:
        asked().check(Row({"label": "x", **fields}, "row"), ())
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_entries_and_lists_that_are_not_there():
    with pytest.raises(UserError, match=r"'options' is .*, which has no entry 2 as"):
        Template("{options[2]}", "config.task.source").rendered(Row({"options": ["a"]}, "row"))
    with pytest.raises(UserError, match=r"'a' and 'b' in config.task.target are lists both"):
        two = Template("{a} {b}", "config.task.target")
        two.alternatives(Row({"a": ["x"], "b": ["y"]}, "row"))
    with pytest.raises(UserError, match=r"the field 'a' in config.task.target is an empty list"):
        Template("{a}", "config.task.target").alternatives(Row({"a": []}, "row"))


# ---------------------------------------------------------------------------------------- rows


def test_targets_stand_behind_the_start_and_padding_has_no_weight():
    made, layout = features(sentiment(target_len=8))
    arrays = made.arrays(np.array([0, 1, 1]), layout)
    spec = sentiment(target_len=8).spec(40, 2)
    assert {key: (x.shape[1:], x.dtype) for key, x in arrays.items()} == dict(spec)
    pad, end = T5.id_of("pad"), T5.id_of("eos")
    for at, (text, word) in enumerate([("the film is good", "good"), ("a bad film", "bad")]):
        source, target = (ids.tolist() for ids in T5.encode_batch([f"film: {text}", word]))
        filled = [*source, end] + [pad] * (39 - len(source))
        assert arrays["tokens"][at].tolist() == filled
        assert arrays["attention_mask"][at].sum() == len(source) + 1
        written, zeros = [*target, end], [0] * (7 - len(target))
        assert arrays["decoder_targets"][at].tolist() == written + [pad] * len(zeros)
        assert arrays["decoder_tokens"][at].tolist()[: len(written)] == [pad, *target]
        assert arrays["decoder_weights"][at].tolist() == [1] * len(written) + zeros
    assert (made.cut, made.short, made.begin) == (0, 0, (pad,))


def test_what_is_too_long_is_cut_and_counted():
    made, _ = features(asked(target="{said}", target_len=3), seq_len=8, classes=())
    assert made.cut == 2 and made.short == 2
    for source, target in zip(made.ids, made.written, strict=True):
        assert len(source[0]) == 8 and source[0][-1] == T5.id_of("eos")
        assert len(target) == 3 and target[-1] == T5.id_of("eos")


def test_a_decoder_reads_source_and_answer_as_one_row():
    task = asked(target=" {said}", start="", target_len=10)
    made, layout = features(task, 40, GPT, (), "eod")
    arrays = made.arrays(np.array([0]), layout)
    source, target = (
        ids.tolist() for ids in GPT.encode_batch(["film: the film is good", " good film"])
    )
    row, end = [*source, *target, GPT.id_of("eod")], len(source) + len(target) + 1
    assert arrays["tokens"][0][:end].tolist() == row
    used = arrays["weights"][0] == 1
    assert arrays["targets"][0][used].tolist() == [*target, GPT.id_of("eod")]
    assert np.flatnonzero(used).tolist() == list(range(len(source) - 1, end - 1))
    assert made.begin is None and made.ids[0][0].tolist() == source
    with pytest.raises(UserError, match="target_len=10 leaves no room for the source in rows of"):
        features(task, 10, GPT, (), "eod")


def test_every_right_answer_may_be_an_example_of_its_own():
    once, _ = features(asked(target="{said}"), classes=())
    assert once.owners.tolist() == [0, 1]
    made, _ = features(asked(target="{said}", every=True), classes=())
    assert made.owners.tolist() == [0, 1, 1] and made.firsts.tolist() == [0, 1]
    ends = [T5.decode(ids[:-1]) for ids in made.written]
    assert ends == ["good film", "bad", "so bad"]


# ------------------------------------------------------------------------------ what is written


def test_classes_are_read_back_letter_for_letter():
    task = sentiment(target="it is {label}")
    made, _ = features(task)
    written = ["it is good", " it is bad ", "good", "It is good", "it is good good", ""]
    found = task.predictions(made, written, ROWS)
    assert found.tolist() == [1, 0, -1, -1, -1, -1]
    assert task.besides(made, written) == {"not_an_answer": 4}
    said = task.said(found, written, CLASSES, ROWS)
    assert [line["predicted"] for line in said] == ["1", "0", None, None, None, None]
    assert said[1]["written"] == "it is bad"
    assert task.references(ROWS, CLASSES).tolist() == [1, 0]
    assert task.usual(np.array([1, 0, 1]), ROWS).tolist() == [1, 1]


def test_classes_are_compared_as_the_tokenizer_writes_them():
    tokenizer = WordPiece(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "not", "_", "so"), True)
    task = asked(answers="class", source="{label}", words="Not_so,so", labels="0,1", start="end")
    made, _ = features(task, 40, tokenizer, frame="bert")
    assert task.predictions(made, ["not _ so", "so", "not"], ROWS).tolist() == [0, 1, -1]


def test_numbers_are_parsed_and_others_count_as_one():
    task = asked(target="score {score} .", answers="number", step=0.2)
    assert [task.right_texts(row, ())[0] for row in ROWS] == ["score 3.4 .", "score -5.0 ."]
    made, _ = features(task, classes=())
    written = ["score 3.4 .", "score 7 .", "3.4", "score nan .", "score inf .", "score so ."]
    found = task.predictions(made, written, ROWS)
    np.testing.assert_allclose(found, [3.4, 7, -1, -1, -1, -1])
    assert task.besides(made, written) == {"not_an_answer": 4}
    said = task.said(found, written, (), ROWS)
    assert [line["predicted"] for line in said] == [3.4, 7.0, -1.0, -1.0, -1.0, -1.0]
    np.testing.assert_allclose(task.references(ROWS, ()), [3.44, -5])


def test_rows_without_labels_have_ones_that_stand_for_them():
    bare = Row({"text": "x", "label": "", "score": None, "said": []}, "row")
    number = {"target": "{score}", "answers": "number"}
    for task, classes in (
        (sentiment(), CLASSES),
        (asked(**number), ()),
        (asked(target="{said}"), ()),
    ):
        assert task.has_label(ROWS[0]) and not task.has_label(bare)
        filled = Row({**bare.fields, **task.stand_in(bare, classes)}, "row")
        task.check(filled, classes)


def test_words_are_measured_against_all_right_answers():
    task = asked(target="{said}")
    made, _ = features(task, classes=())
    assert task.references(ROWS, ()) == [["good film"], ["bad", "so bad"]]
    assert task.predictions(made, [" bad ", ""], ROWS) == ["bad", ""]
    assert task.besides(made, [" bad ", ""]) == {}
    assert task.usual([["x"], ["y"], ["y", "z"]], ROWS) == ["y", "y"]


def test_answers_that_are_none_are_wrong_as_t5_has_it():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 2, 200), rng.integers(-1, 2, 200)
    # t5/evaluation/metrics.py, f1_score_with_invalid.
    opposite = np.where(found < 0, 1 - truth, found)
    figures = metric_of(sentiment(metric="accuracy_f1")).figures(truth, found)
    assert figures["f1"] == pytest.approx(f1_score(truth, opposite))
    assert figures["accuracy"] == pytest.approx(np.mean(truth == opposite))


def test_multirc_is_measured_by_questions():
    task = sentiment(group="paragraph,question", metric="multirc")
    rows = [
        Row({"text": "x", "label": label, "paragraph": p, "question": q}, "row")
        for label, p, q in (("1", 1, 1), ("0", 1, 1), ("1", 1, 2), ("1", 2, 1))
    ]
    classes, groups = task.references(rows, CLASSES)
    assert classes.tolist() == [1, 0, 1, 1] and groups.tolist() == [0, 0, 1, 2]
    assert task.kind == "grouped_classification"
    assert task.usual((classes, groups), rows).tolist() == [1] * 4


# ---------------------------------------------------------------------------------- bad settings

MISTAKES = {
    "an unknown answer": ({"answers": "clas"}, "answers='clas' is unknown; did you mean 'class'"),
    "a class of two fields": (
        {"answers": "class", "target": "{a} {b}"},
        "config.task.target='{a} {b}' has 2 fields; a class or a number is one field",
    ),
    "a label that is not written": (
        {"label": "class"},
        "label=class is no field of config.task.target={label}; leave it out",
    ),
    "no length": ({"target_len": 1}, "target_len=1; give 2 or more"),
    "no beams": ({"beams": 0}, "beams=0; give 1 or more"),
    "a penalty without beams": ({"length_penalty": 0.6}, "length_penalty=0.6 does nothing with"),
    "words without labels": ({"words": "a,b"}, "words=a,b are 2 and config.task.labels= are 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_setting_that_is_wrong(name):
    given, expected = MISTAKES[name]
    with pytest.raises(UserError) as error:
        asked(**given)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_words_that_the_tokenizer_does_not_know():
    with pytest.raises(UserError, match="0 and 1, which a model cannot tell apart; give"):
        features(asked(answers="class", labels="0,1", words="完,全"))


def test_a_number_that_is_none():
    task = asked(target="{label}", answers="number")
    with pytest.raises(UserError, match="line 9: the label 'label' is 'high'; expected a number"):
        task.check(Row({"text": "x", "label": "high"}, "line 9"), ())


def test_one_class_alone():
    with pytest.raises(UserError, match="has one value alone, '1', in the training set"):
        asked(answers="class").classes(ROWS[:1])


def test_an_answer_that_is_none_has_a_column_in_the_picture():
    found = of_classes(np.array([0, 1, 1, 1]), np.array([0, 1, -1, 0]), CLASSES)
    assert (found.rows, found.columns) == (CLASSES, (*CLASSES, "(none)"))
    assert found.counts.tolist() == [[1, 0, 0], [1, 1, 1]]
