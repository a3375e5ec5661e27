"""Batches as long as their longest row: what is read stays, places of padding go."""

import dataclasses

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig
from plmjax.data.labelled.batches import LabelledForm, LabelledInput, row_lengths
from plmjax.data.labelled.sets import LabelledSet
from plmjax.data.labelled.tagging import Tagging
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece
from plmjax.errors import UserError
from plmjax.task_answers import in_order
from tests.data.labelled.test_batches import WORDS, examples, input_of
from tests.data.labelled.test_tagging import CLASSES, ROWS, TOKENIZER

KEYS = ("tokens", "token_types", "attention_mask", "label", "label_weights")


def assert_cut(short: dict[str, np.ndarray], long: dict[str, np.ndarray]) -> int:
    """That a batch is the beginning of another that has only padding behind it; its length."""
    assert short.keys() == long.keys()
    length = short["tokens"].shape[-1]
    for key, whole in long.items():
        of_tokens = whole.ndim > 1 and whole.shape[-1] == long["tokens"].shape[-1]
        np.testing.assert_array_equal(short[key], whole[..., :length] if of_tokens else whole)
    assert not long["attention_mask"][..., length:].any()
    return length


@pytest.mark.parametrize(
    ("seq_len", "shortest", "expected"),
    [
        (128, 32, (32, 64, 128)),
        (128, 33, (64, 128)),
        (96, 8, (12, 24, 48, 96)),
        (50, 1, (25, 50)),
        (128, 0, (128,)),
        (16, 32, (16,)),
    ],
)
def test_lengths_are_halves(seq_len, shortest, expected):
    assert row_lengths(seq_len, shortest) == expected


def test_a_batch_has_the_smallest_length_that_holds_its_rows(tmp_path):
    whole = input_of(examples(tmp_path, 60), batch_size=2, seq_len=64)
    pairs = zip(whole.with_rows_from(8).batches(0, 30), whole.batches(0, 30), strict=True)
    found = [(assert_cut(*given), given[1]["attention_mask"].sum(-1).max()) for given in pairs]
    assert all(length == min(n for n in (8, 16, 32, 64) if n >= used) for length, used in found)
    assert {length for length, _ in found} == {8, 16, 32}


def test_all_hosts_have_the_same_length(tmp_path):
    some, config = examples(tmp_path, 60), DataConfig(seq_len=64, batch_size=4)
    form = LabelledForm.of(config, some.task, 2, some.tokenizer)

    def batches(**more):
        return LabelledInput(some, form, 0, **more).with_rows_from(8).batches(0, 30)

    parts = zip(*(batches(parts=part, part_count=4) for part in range(4)), strict=True)
    for whole, each in zip(batches(), parts, strict=True):
        for key in KEYS:
            np.testing.assert_array_equal(np.concatenate([one[key] for one in each]), whole[key])


def test_an_evaluation_has_short_rows_first_and_each_once(tmp_path):
    whole = input_of(examples(tmp_path, 30), batch_size=8, seq_len=64)
    short = whole.with_rows_from(8)
    np.testing.assert_array_equal(whole.order, np.arange(30))
    found, lengths = [], []
    for batch in short.evaluation_batches():
        counts = batch["label_weights"] > 0
        lengths += batch["attention_mask"].sum(-1)[counts].tolist()
        found += [row[row > 0].tolist() for row in batch["tokens"][counts]]
    assert lengths == sorted(lengths) and len(lengths) == 30
    made = [each["tokens"].shape[-1] for each in short.evaluation_batches()]
    longest = [max(lengths[first : first + 8]) for first in range(0, 30, 8)]
    assert made == [min(n for n in (8, 16, 32, 64) if n >= used) for used in longest]
    assert len(set(made)) > 1
    expected = next(input_of(whole.examples, 30, 64).evaluation_batches())["tokens"]
    rows = [row[row > 0].tolist() for row in expected]
    assert found == [rows[number] for number in short.order]


def test_of_rewound_runs_too(tmp_path):
    whole = input_of(examples(tmp_path, 60), batch_size=4, seq_len=64).passing_over([(3, 6)])
    short = whole.with_rows_from(8)
    for given in zip(short.batches(0, 9), whole.batches(0, 9), strict=True):
        assert_cut(*given)


def test_tags_are_cut_with_their_words():
    some = LabelledSet("train", "a file", tuple(ROWS), Tagging(), CLASSES, TOKENIZER)
    config = DataConfig(seq_len=64, batch_size=1)
    form = LabelledForm.of(config, Tagging(), len(CLASSES), TOKENIZER)
    whole = LabelledInput(some, form, 0)
    short = whole.with_rows_from(8)
    of_whole = list(whole.evaluation_batches())
    pairs = zip(short.evaluation_batches(), short.order, strict=True)
    assert [assert_cut(some, of_whole[number]) for some, number in pairs] == [8, 8, 16]


@pytest.mark.parametrize("start", ["pad", ""])
def test_texts_that_are_written_have_their_room(start):
    tokenizer = WordPiece((*SPECIAL_TOKENS, *WORDS), True)
    task = TextToText(source="{a}", target="{b}", target_len=6, start=start)
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(20):
        texts = (" ".join(rng.choice(WORDS, size=rng.integers(1, most))) for most in (30, 5))
        rows.append(dataclasses.replace(ROWS[0], fields=dict(zip("ab", texts, strict=True))))
    some = LabelledSet("train", "a file", tuple(rows), task, (), tokenizer)
    config = DataConfig(seq_len=64, batch_size=1, frame="bert")
    form = LabelledForm.of(config, task, 0, tokenizer)
    whole = LabelledInput(some, form, 0)
    pairs = zip(whole.with_rows_from(8).batches(0, 20), whole.batches(0, 20), strict=True)
    assert {assert_cut(*given) for given in pairs} >= {16, 32}


def test_what_is_said_is_by_the_numbers_of_the_features():
    rng = np.random.default_rng(0)
    lengths, order = [3, 3, 7], rng.permutation(8)
    batches = [rng.normal(size=(3, length, 2)).astype(np.float32) for length in lengths]
    found = in_order(batches, order)
    assert found.shape == (8, 7, 2)
    for place, number in enumerate(order):
        batch, row = divmod(place, 3)
        expected = np.zeros((7, 2), np.float32)
        expected[: lengths[batch]] = batches[batch][row]
        np.testing.assert_array_equal(found[number], expected)
    scalars = [some[:, 0, 0] for some in batches]
    np.testing.assert_array_equal(in_order(scalars, order), found[:, 0, 0])


def test_a_length_below_zero():
    with pytest.raises(UserError, match="shortest=-1; give a number of tokens, or 0 for seq_len"):
        Tagging(shortest=-1)
