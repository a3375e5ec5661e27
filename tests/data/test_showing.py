"""What `preview` prints of an example."""

import json

import numpy as np
import pytest

from plmjax.data import showing
from plmjax.data.batch_form import DataConfig, masking_config, plan_config
from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.pipeline import Input
from plmjax.data.tokenizers import WordPiece

CHARACTERS = "我们喜欢机器学习"
TOKENIZER = WordPiece(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, "un", "##do"))
# 我们 喜欢 机器 学习 undo
STARTS = [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]


def raw_row():
    ids = [2, *range(5, 15), 3, 0, 0]
    flags = [SPECIAL, *(WORD * start for start in STARTS), SPECIAL, 0, 0]
    return {
        "tokens": np.array(ids),
        "flags": np.array(flags, np.uint8),
        "attention_mask": np.array([1] * 12 + [0, 0]),
    }


def masked_row():
    """机器 is hidden, 学 is left, 习 is shown as 我."""
    raw = raw_row()
    tokens = raw["tokens"].copy()
    tokens[[5, 6]], tokens[8] = 4, 5
    return {
        "tokens": tokens,
        "attention_mask": raw["attention_mask"],
        "masked_positions": np.array([5, 6, 7, 8, 0]),
        "masked_targets": np.array([9, 10, 11, 12, 0]),
        "masked_weights": np.array([1.0, 1.0, 1.0, 1.0, 0.0]),
    }


def test_words_stand_apart_and_targets_say_what_is_shown():
    (line,) = showing.rendered(masked_row(), raw_row(), TOKENIZER)
    assert line.plain == "[CLS] 我们 喜欢 [机][器] [学=][习→我] undo [SEP] + 2 of padding"
    styles = {line.plain[span.start : span.end]: span.style for span in line.spans}
    assert styles["[机]"] == showing.MASKED
    assert styles["[学=]"] == showing.KEPT
    assert styles["[习→我]"] == showing.REPLACED


def test_targets_of_a_permutation_are_hidden_where_they_are_predicted():
    ranks = np.array([3, 0, 0, 0, 0, 9, 2, 5, 8, 0, 0, 4, 0, 0])
    row = masked_row() | {"tokens": raw_row()["tokens"], "ranks": ranks}
    line, order = showing.rendered(row, raw_row(), TOKENIZER)
    assert line.plain == "[CLS] 我们 喜欢 [机][器] [学][习] undo [SEP] + 2 of padding"
    assert order.plain == "predicts 4 tokens in the order: 器 学 习 机 ..."
    batch, raw = ({key: x[None] for key, x in values.items()} for values in (row, raw_row()))
    found = showing.shares([(batch, raw)], TOKENIZER)
    assert found == {"predicted": 0.4, "hidden": 1.0, "kept": 0.0, "replaced": 0.0}


def test_documents_that_do_not_see_each_other_are_parted():
    row = masked_row() | {"segment_ids": np.array([1] * 5 + [2] * 7 + [0, 0])}
    (line,) = showing.rendered(row, raw_row(), TOKENIZER)
    assert "喜欢 ┃ [机]" in line.plain


def test_shares_of_the_text_and_of_its_targets():
    batch = {key: values[None] for key, values in masked_row().items()}
    raw = {key: values[None] for key, values in raw_row().items()}
    found = showing.shares([(batch, raw)], TOKENIZER)
    assert found == {"predicted": 0.4, "hidden": 0.5, "kept": 0.25, "replaced": 0.25}


def test_a_record_has_every_array():
    found = json.loads(showing.record(masked_row(), TOKENIZER, example=7))
    assert found["example"] == 7
    assert found["masked_targets"] == [9, 10, 11, 12, 0]
    assert found["text"].replace(" ", "") == "[CLS]我们喜欢[MASK][MASK]学我undo[SEP]"


def test_a_digest_is_of_every_byte():
    batch = masked_row()
    same = dict(reversed([(key, values.copy()) for key, values in batch.items()]))
    assert showing.digest(batch) == showing.digest(same)
    for key, values in same.items():
        changed = values.copy()
        changed[-1] += 1
        assert showing.digest(same | {key: changed}) != showing.digest(batch)


@pytest.mark.parametrize(
    ("plan", "masking", "frame"),
    [("blocks", "causal", "none"), ("packed", "token", "bert"), ("full_sentences", "span", "bert")],
)
def test_real_batches_are_shown(corpus, plan, masking, frame):
    config = DataConfig(
        seq_len=64,
        batch_size=4,
        frame=frame,
        plan=plan_config(plan),
        masking=masking_config(masking),
    )
    source = Input(corpus.train, corpus.tokenizer, config, 0, token_counts=np.ones(400, np.int64))
    batch, raw = source.batch(5), source.rows(5)
    row, before = ({k: v[0] for k, v in some.items()} for some in (batch, raw))
    lines = showing.rendered(row, before, corpus.tokenizer)
    words = corpus.tokenizer.decode(before["tokens"][before["attention_mask"] > 0]).split()
    assert lines[0].plain.count("[") >= (masking != "causal")
    assert any(word in lines[0].plain for word in words if word.isalpha())
    if masking == "causal":
        assert (
            "predicts the next token at 64 places" in lines[1].plain
            or "63 places" in lines[1].plain
        )
