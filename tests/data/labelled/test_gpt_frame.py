"""Rows as GPT-1 was fine-tuned on them: by the lines of openai/finetune-transformer-lm."""

import types

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig
from plmjax.data.labelled.base import framed
from plmjax.data.labelled.batches import LabelledForm
from plmjax.data.labelled.extraction import Extraction
from plmjax.data.labelled.options import Choice
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.similarity import Similarity
from plmjax.data.labelled.text_tasks import Classification, Regression
from plmjax.data.showing import with_added
from plmjax.data.tokenizers import WordPiece
from plmjax.errors import UserError

WORDS = ("river", "engine", "teacher", "orchard", "violin", "glacier", "which", "?")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
TOKENIZER = WordPiece(VOCABULARY, True)
START, DELIM, EXTRACT = (len(VOCABULARY) + number for number in range(3))


def form_of(task, classes=2, seq_len=16, tokenizer=TOKENIZER) -> LabelledForm:
    return LabelledForm.of(
        DataConfig(seq_len=seq_len, batch_size=4, frame="gpt1"), task, classes, tokenizer
    )


def made(task, rows, classes=("0", "1"), seq_len=16):
    form = form_of(task, len(classes), seq_len)
    features = task.features(rows, classes, TOKENIZER, form.layout)
    arrays = features.arrays(np.arange(len(rows)), form.layout)
    for key, (shape, dtype) in form.spec.items():
        if key != "label_weights":
            assert arrays[key].shape[1:] == shape[1:] and arrays[key].dtype == dtype, key
    return features, arrays


def transform_roc(first: list[int], second: list[int], n_ctx: int) -> tuple[list[int], int]:
    """train.py: x12 = [start]+x1[:max_len]+[delimiter]+x2[:max_len]+[clf_token], and its length."""
    max_len = n_ctx // 2 - 2
    x12 = [START, *first[:max_len], DELIM, *second[:max_len], EXTRACT]
    return x12 + [0] * (n_ctx - len(x12)), len(x12)


def ids(text: str) -> list[int]:
    return [VOCABULARY.index(word) for word in text.split()]


def drawn(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 15))) for _ in range(count)]


@pytest.mark.parametrize("seq_len", [16, 17, 40])
def test_pairs_are_those_of_the_published_code(seq_len):
    texts = list(zip(drawn(20), drawn(40)[20:], strict=True))
    rows = [Row({"a": a, "b": b, "label": "1"}, "") for a, b in texts]
    features, arrays = made(Classification(text="a", pair="b"), rows, seq_len=seq_len)
    for number, (a, b) in enumerate(texts):
        expected, length = transform_roc(ids(a), ids(b), seq_len)
        assert arrays["tokens"][number].tolist() == expected
        assert arrays["attention_mask"][number].sum() == length
    half = seq_len // 2 - 2
    assert features.cut == sum(max(len(a.split()), len(b.split())) > half for a, b in texts)


def test_a_single_text_has_the_whole_row():
    features, arrays = made(Classification(), [Row({"text": "river " * 20, "label": "0"}, "")])
    assert arrays["tokens"].tolist() == [[START, *[VOCABULARY.index("river")] * 14, EXTRACT]]
    assert features.cut == 1


def test_similar_texts_are_read_in_both_orders():
    rows = [Row({"a": "river", "b": "engine violin", "label": "0.5"}, "")]
    _, arrays = made(Regression(text="a", pair="b", both_orders=True), rows)
    a, b = ids("river"), ids("engine violin")
    expected = [transform_roc(a, b, 16)[0], transform_roc(b, a, 16)[0]]
    assert arrays["tokens"].tolist() == [expected]
    with pytest.raises(UserError, match=r"both_orders=True is of pairs, and config\.task\.pair is"):
        Classification(both_orders=True)
    with pytest.raises(UserError, match="sentences that are read apart have no order"):
        Similarity(both_orders=True)


def test_options_follow_the_text_and_the_question():
    fields = {"context": "river engine", "question": "which ?", "label": 0}
    rows = [Row({**fields, "options": ["violin", "teacher orchard"]}, "")]
    _, arrays = made(Choice(question_with="text"), rows)
    first = ids("river engine which ?")
    for number, option in enumerate(("violin", "teacher orchard")):
        expected, _ = transform_roc(first, ids(option), 16)
        assert arrays["tokens"][0, number].tolist() == expected
    # As BERT has it, unless that is asked for.
    _, arrays = made(Choice(), rows)
    expected, _ = transform_roc(ids("river engine"), ids("which ? violin"), 16)
    assert arrays["tokens"][0, 0].tolist() == expected
    with pytest.raises(UserError, match=r"config\.task\.question_with='end' is unknown"):
        Choice(question_with="end")


def test_windows_of_a_long_text_keep_their_places():
    """A question and as much of the text as fits: halves are for texts that are cut."""
    text = " ".join(WORDS[number % 6] for number in range(23))
    fields = {"context": text, "question": "which ?", "answers": ["violin"], "starts": [29]}
    rows = [Row(fields, "")]
    assert text[29:35] == "violin"
    task = Extraction(stride=4)
    form = form_of(task, seq_len=20)
    features = task.features(rows, ("start", "end"), TOKENIZER, form.layout)
    windows, _ = features.places
    for (row,), window, span in zip(features.ids, windows, features.targets["spans"], strict=True):
        assert row[0] == START and row[3] == DELIM and row[-1] == EXTRACT
        inside = row[window.first : window.first + len(window.begins)]
        assert [VOCABULARY[i] for i in inside] == [text[b:].split()[0] for b in window.begins]
        assert span.tolist() == [0, 0] or VOCABULARY[row[span[0]]] == "violin"
    assert features.targets["spans"].any()


def test_other_frames_cut_the_longer_text_first():
    layout = form_of(Classification()).layout
    pieces = [np.arange(2), np.arange(20)]
    assert len(framed(layout, pieces)[0]) == 16
    assert len(framed(layout, pieces, halves=True)[0]) == 3 + 2 + 6


def test_added_tokens_are_shown_by_name():
    row = np.array([START, *ids("river engine"), DELIM, *ids("violin"), EXTRACT])
    shown = with_added(row, TOKENIZER, ("start", "delim", "extract"))
    assert shown == "<start> river engine <delim> violin <extract>"


def test_a_vocabulary_without_padding_will_do():
    """GPT-1's has none, and no other special token."""
    bare = types.SimpleNamespace(vocab_size=9, pad_id=None, id_of=lambda role: None, kind="x")
    assert form_of(Classification(), tokenizer=bare).layout.pad_id == 0
    ends = types.SimpleNamespace(
        vocab_size=9, pad_id=None, id_of=lambda role: 8 if role == "eod" else None, kind="x"
    )
    assert form_of(Classification(), tokenizer=ends).layout.pad_id == 8
