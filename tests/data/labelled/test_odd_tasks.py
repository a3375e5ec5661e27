"""WSC, WiC, MultiRC, ReCoRD and ChID: what is read of them, and their official figures."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import f1_score

from plmjax.data.labelled.blanks import Blanks
from plmjax.data.labelled.filling import Filling
from plmjax.data.labelled.mentions import Mentions
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.verification import Verification
from plmjax.data.plans.layout import PAIR, make_layout
from plmjax.data.tokenizers import WordPiece
from plmjax.errors import UserError
from plmjax.task_figures import metric_of
from tests.requires import need

SPECIAL = ("[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def refusal(call) -> str:
    with pytest.raises(UserError) as error:
        call()
    return str(error.value)


# ------------------------------------------------------------------------------- WSC, CLUEWSC, WiC


def spans(text: str, *places: tuple[str, int]) -> Row:
    fields = {"text": text, "label": "true"}
    for number, (span, index) in enumerate(places, 1):
        fields |= {f"span{number}_text": span, f"span{number}_index": index}
    return Row(fields, "dev.jsonl, line 3")


WORDS = {
    "a noun and a pronoun": (
        spans("Mark told Pete lies. He should know.", ("Mark", 0), ("He", 4)),
        "_Mark_ told Pete lies. [He] should know.",
    ),
    "the word of the number, not the first that is like it": (
        spans("the cup and the cup fell", ("the cup", 3), ("fell", 5)),
        "the cup and _the cup_ [fell]",
    ),
    "capitals and signs that the text has": (
        spans('"The pony" ran. It fell.', ("the pony", 0), ("it", 3)),
        '"_The pony_" ran. [It] fell.',
    ),
    "a span that is not literally there": (
        spans("a b  c d", ("b\nc", 1), ("d", 3)),
        "a _b  c_ [d]",
    ),
    "a pronoun in the noun": (
        spans("his dog bit Tom", ("his dog", 0), ("his", 0)),
        "_[his] dog_ bit Tom",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_words_are_marked(name):
    row, expected = WORDS[name]
    assert Mentions(places="words").texts(row) == (expected,)


def test_characters_are_marked_as_in_the_baseline_of_clue():
    """Its code marks these so; on FewCLUE's 1,615 rows it says the same as ours."""
    task = Mentions(places="characters")
    row = spans("小明把书给了小红，他很高兴。", ("小红", 6), ("他", 9))
    assert task.texts(row) == ("小明把书给了_小红_，[他]很高兴。",)
    row = spans("他很高兴，因为小明来了。", ("小明", 7), ("他", 0))
    assert task.texts(row) == ("[他]很高兴，因为_小明_来了。",)


def test_a_word_is_marked_in_both_sentences():
    fields = {
        "sentence1": "Do you want to come over?",
        "sentence2": "come over it",
        "label": "false",
    }
    fields |= {"word": "come", "start1": 15, "end1": 19, "start2": 0, "end2": 4}
    task = Mentions(text="sentence1", pair="sentence2", places="pair")
    assert task.texts(Row(fields, "x")) == ("Do you want to _come_ over?", "_come_ over it")
    wrong = Row({**fields, "end2": 99}, "train.jsonl, line 2")
    said = refusal(lambda: task.check(wrong, ("false", "true")))
    assert (
        said == "train.jsonl, line 2: 'start2' and 'end2' are no place in its text of 12 characters"
    )


def test_mistakes_with_mentions():
    row = spans("one two", ("two", 7), ("one", 0))
    said = refusal(lambda: Mentions().check(row, ("false", "true")))
    assert said == (
        "dev.jsonl, line 3: 'two' does not stand where 'span1_index' says; mend the row"
    )
    assert "places='letters' is unknown; give words" in refusal(lambda: Mentions(places="letters"))
    assert "places='pair' and pair=''" in refusal(lambda: Mentions(places="pair"))


# ---------------------------------------------------------------------------------------- MultiRC


def answer(passage: int, question: int, label: int, text: str = "Rome") -> Row:
    fields = {"passage": "All roads.", "question": "Where?", "answer": text, "label": label}
    return Row({**fields, "passage_id": passage, "question_id": question}, "val.jsonl, line 1")


def official_multirc(rows: list[Row], predicted: list[int]) -> tuple[float, float]:
    """Khashabi et al. 2018: F1 over all answers; questions all of whose answers are told."""
    labels = [row.fields["label"] for row in rows]
    questions: dict[tuple, list[bool]] = {}
    for row, label, found in zip(rows, labels, predicted, strict=True):
        key = row.fields["passage_id"], row.fields["question_id"]
        questions.setdefault(key, []).append(label == found)
    return f1_score(labels, predicted), np.mean([all(one) for one in questions.values()])


def test_multirc_is_measured_over_answers_and_over_questions():
    """The same number of a question in two passages is two questions, which interleave here."""
    rng = np.random.default_rng(0)
    places = [(p, q) for p in range(4) for q in range(3) for _ in range(rng.integers(1, 5))]
    rng.shuffle(places)
    rows = [answer(p, q, int(rng.integers(2))) for p, q in places]
    task = Verification(labels="0,1")
    classes = task.classes(rows)
    for share in (0.0, 0.1, 0.5):
        flips = rng.random(len(rows)) < share
        predicted = [int(row.fields["label"]) ^ int(f) for row, f in zip(rows, flips, strict=True)]
        figures = metric_of(task).figures(task.references(rows, classes), np.array(predicted))
        f1, em = official_multirc(rows, predicted)
        assert figures["f1a"] == pytest.approx(f1) and figures["em"] == pytest.approx(em)


def test_an_answer_is_read_behind_its_question():
    task = Verification(labels="0,1")
    assert task.texts(answer(0, 0, 1)) == ("All roads.", "Where? Rome")
    said = refusal(lambda: task.check(answer(0, 0, 1, " "), ("0", "1")))
    assert "the field 'answer' is ' '; expected a text that is not empty" in said
    bare = Row({k: v for k, v in answer(0, 0, 1).fields.items() if k != "question_id"}, "row")
    assert "no field 'question_id', which config.task.group names" in refusal(
        lambda: task.check(bare, ("0", "1"))
    )


# ----------------------------------------------------------------------------------------- ReCoRD

ENGLISH = (*SPECIAL, "rome", "is", "old", "and", "paris", "new", "the", "of", ".")
QUERIES = [
    ("Rome is old . Paris is new .", "@placeholder is old .", ["Rome", "Paris"], ["Rome"]),
    ("The Rome of old . " * 5, "old is @placeholder", ["Rome", "The Rome", "old"], ["The Rome"]),
]
RECORD = [
    Row({"passage": p, "query": q, "options": o, "answers": a, "id": n}, f"query {n}")
    for n, (p, q, o, a) in enumerate(QUERIES)
]


def test_each_option_is_read_in_its_place_as_transformers_pairs_texts(tmp_path):
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    (tmp_path / "vocab.txt").write_text("\n".join(ENGLISH) + "\n")
    theirs = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"))
    ours = WordPiece(ENGLISH, True)
    layout = make_layout("bert", ours, 16, PAIR)
    made = Filling().features(RECORD, ("false", "true"), ours, layout)
    arrays = made.arrays(np.arange(len(made)), layout)
    assert made.owners.tolist() == [0, 0, 1, 1, 1] and made.cut == 1
    assert arrays["label"].tolist() == [1, 0, 0, 1, 0]
    texts = [
        (passage, query.replace("@placeholder", option))
        for passage, query, options, _ in QUERIES
        for option in options
    ]
    said = theirs(*zip(*texts, strict=True), truncation=True, padding="max_length", max_length=16)
    np.testing.assert_array_equal(arrays["tokens"], said["input_ids"])
    np.testing.assert_array_equal(arrays["token_types"], said["token_type_ids"])
    np.testing.assert_array_equal(arrays["attention_mask"], said["attention_mask"])


def test_record_is_measured_by_texts():
    """The likeliest option counts, of several right ones any, articles and capitals aside."""
    task, ours = Filling(), WordPiece(ENGLISH, True)
    made = task.features(RECORD, (), ours, make_layout("bert", ours, 16, PAIR))
    logits = np.array([[0, 1], [5, 7], [3, 0], [0, -2], [0, -1]], np.float32)
    found = task.predictions(made, logits, RECORD)
    # By P(right), not by the logit of being right: 7 - 5 > 1 - 0, and -1 > -2 > -3.
    assert found == ["Paris", "old"]
    logits[4] = (9, 0)
    logits[2] = (0, 0)
    found = task.predictions(made, logits, RECORD)
    assert found == ["Paris", "Rome"]
    figures = metric_of(task).figures(task.references(RECORD, ()), found)
    assert figures == {"em": 0.5, "f1": 0.5, "em_f1": 0.5}


def test_mistakes_with_fillings():
    fields = RECORD[0].fields
    said = refusal(lambda: Filling().check(Row({**fields, "query": "Rome"}, "query 0"), ()))
    assert "query 0: there is no '@placeholder' in the field 'query'" in said
    said = refusal(lambda: Filling().check(Row({**fields, "options": []}, "query 0"), ()))
    assert "query 0: the field 'options' is no list of options" in said


# ------------------------------------------------------------------------------------------- ChID

LETTERS = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥天地玄黄宇宙洪荒"
CHINESE = (*SPECIAL, *LETTERS)
IDIOMS = ["甲乙丙丁", "戊己庚辛", "壬癸子丑"]


def blank(left: str, right: str, label: int = 0, group: int = 0, number: int = 0) -> Row:
    fields = {"left": left, "right": right, "options": IDIOMS, "label": label, "group": group}
    return Row({**fields, "id": f"#idiom{number:06d}#"}, f"blank {number}")


def read(row: Row, seq_len: int) -> list[str]:
    ours = WordPiece(CHINESE, True)
    layout = make_layout("bert", ours, seq_len, PAIR)
    made = Blanks().features([row], ("0", "1", "2"), ours, layout)
    arrays = made.arrays(np.array([0]), layout)
    assert not arrays["token_types"].any()
    return [
        "".join(CHINESE[one] for one, real in zip(ids, mask, strict=True) if real)
        for ids, mask in zip(arrays["tokens"][0], arrays["attention_mask"][0], strict=True)
    ]


ROWS = {
    "all of a short text": (
        ("天地", "玄黄", 20),
        "[CLS]甲乙丙丁[SEP]天地[unused1]玄黄[SEP]",
    ),
    "half of each side": (
        ("子丑寅卯辰巳", "午未申酉戌亥", 14),
        "[CLS]甲乙丙丁[SEP]卯辰巳[unused1]午未申[SEP]",
    ),
    "what is left of a short side": (
        ("天", "午未申酉戌亥", 14),
        "[CLS]甲乙丙丁[SEP]天[unused1]午未申酉戌[SEP]",
    ),
    "another blank, whose masks take the room of what is furthest": (
        ("子丑寅卯#idiom000007#巳", "午未", 16),
        "[CLS]甲乙丙丁[SEP]卯[MASK][MASK][MASK][MASK]巳[unused1]午未[SEP]",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_blank_is_read_as_in_the_baseline_of_clue(name):
    """Its code makes these rows; of 840 blanks of FewCLUE's texts it makes the same as ours."""
    (left, right, seq_len), expected = ROWS[name]
    rows = read(blank(left, right), seq_len)
    assert rows[0] == expected
    assert rows[1] == expected.replace("甲乙丙丁", "戊己庚辛")


def test_candidates_are_used_once_in_a_group():
    rows = [blank("天", "地", label, group) for label, group in ((0, 0), (1, 0), (2, 0), (1, 1))]
    task = Blanks()
    scores = np.array([[5, 4.9, 0], [6, 5.5, 1], [4, 3, 2], [9, 0, 0]], np.float32)
    ours = WordPiece(CHINESE, True)
    made = task.features(rows, ("0", "1", "2"), ours, make_layout("bert", ours, 20, PAIR))
    found = task.predictions(made, scores, rows)
    assert [group.shape for group in found] == [(3, 3), (1, 3)]
    references = task.references(rows, ())
    accuracy = {}
    for metric in ("chid", "chid_optimal", "chid_independent"):
        accuracy[metric] = metric_of(Blanks(metric=metric)).figures(references, found)["accuracy"]
    # Greedy: 6 takes the first idiom for the second blank, 4.9 the second for the first.
    assert accuracy["chid"] == pytest.approx(1 / 4)
    assert accuracy["chid_independent"] == pytest.approx(1 / 4)
    _, columns = linear_sum_assignment(-found[0])
    right = np.sum(columns == references[0])
    assert accuracy["chid_optimal"] == pytest.approx(right / 4)


def test_a_blank_without_its_group():
    bare = Row({k: v for k, v in blank("天", "地").fields.items() if k != "group"}, "blank 0")
    assert "no field 'group', which config.task.group names" in refusal(
        lambda: Blanks().check(bare, ("0", "1", "2"))
    )
    Blanks(group="").check(bare, ("0", "1", "2"))
    assert [one.tolist() for one in Blanks(group="").references([bare] * 2, ())] == [[0], [0]]
