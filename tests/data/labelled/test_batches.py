"""Rows of labelled examples: as transformers frames and cuts them, each once an epoch."""

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig
from plmjax.data.labelled.base import cut_lengths
from plmjax.data.labelled.batches import LabelledForm, LabelledInput
from plmjax.data.labelled.sets import read_set
from plmjax.data.labelled.text_tasks import Classification
from plmjax.data.tokenizers import WordPiece
from plmjax.errors import UserError
from tests.requires import need

WORDS = ("river", "engine", "teacher", "orchard", "violin", "glacier")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
TASK = Classification(text="a", pair="b", labels="0,1")


def examples(tmp_path, count: int, task=TASK):
    """Pairs of texts of other lengths each."""
    rng = np.random.default_rng(0)
    lines = ["a\tb\tlabel"]
    for number in range(count):
        a, b = (" ".join(rng.choice(WORDS, size=rng.integers(1, 15))) for _ in range(2))
        lines.append(f"{a}\t{b}\t{number % 2}")
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n")
    return read_set("train", str(path), task, ("0", "1"), WordPiece(VOCABULARY, True))


def input_of(some, batch_size=8, seq_len=16, seed=0, **more) -> LabelledInput:
    config = DataConfig(seq_len=seq_len, batch_size=batch_size)
    form = LabelledForm.of(config, some.task, 2, some.tokenizer)
    return LabelledInput(some, form, seed, **more)


def test_rows_are_transformers(tmp_path):
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    theirs = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"))
    some = examples(tmp_path, 64)
    # In rows with room for an odd number theirs leave the second text the longer one, and BERT's
    # code the first.
    batch = next(input_of(some, batch_size=64, seq_len=17).evaluation_batches())
    texts = [some.task.texts(row) for row in some.rows]
    options = {"truncation": "longest_first", "padding": "max_length", "max_length": 17}
    expected = theirs(*map(list, zip(*texts, strict=True)), **options, return_tensors="np")
    np.testing.assert_array_equal(batch["tokens"], expected["input_ids"])
    np.testing.assert_array_equal(batch["token_types"], expected["token_type_ids"])
    np.testing.assert_array_equal(batch["attention_mask"], expected["attention_mask"])
    long = sum(len(a.split()) + len(b.split()) > 14 for a, b in texts)
    assert input_of(some, seq_len=17).features.cut == long > 0


def test_the_longer_text_loses_its_end():
    def popped(first: int, second: int, room: int) -> tuple[int, int]:
        while first + second > room:  # google-research/bert, _truncate_seq_pair
            first, second = (first - 1, second) if first > second else (first, second - 1)
        return first, second

    for first in range(12):
        for second in range(12):
            for room in range(4, 20):
                assert cut_lengths((first, second), room) == popped(first, second, room)


def numbers(batches) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in batches for row in batch["tokens"]]


def test_what_is_cut_and_unknown_is_told(tmp_path):
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    path = tmp_path / "pairs.tsv"
    lines = ["a\tb\tlabel", "river quasar\tengine\t0", "teacher pulsar 中\tviolin river\t1"]
    path.write_text("\n".join([*lines, f"{'river ' * 20}\torchard\t0"]) + "\n")
    some = read_set("train", str(path), TASK, ("0", "1"), WordPiece(VOCABULARY, True))
    source = input_of(some, seq_len=16)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    theirs = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"))
    ids = [
        theirs(*some.task.texts(row), truncation="longest_first", max_length=16)["input_ids"]
        for row in some.rows
    ]
    flat = [one for each in ids for one in each]
    share = flat.count(theirs.unk_token_id) / sum(one not in (2, 3) for one in flat)
    assert share == pytest.approx(3 / 21)
    told = f"{share:.1%} of the tokens are unknown to the vocabulary"
    assert source.notes() == ["1 of them cut to 16 tokens", told]
    assert input_of(examples(tmp_path, 5), seq_len=64).notes() == []


def test_an_epoch_has_each_example_once(tmp_path):
    some = examples(tmp_path, 20)
    every = input_of(some, seq_len=64)
    rows = numbers(every.batches(0, 5))  # two epochs of 20
    once = numbers(every.evaluation_batches())[:20]
    assert sorted(rows[:20]) == sorted(rows[20:]) == sorted(once)
    assert rows[:20] != rows[20:]
    assert numbers(every.batches(3, 5)) == rows[24:]
    assert numbers(input_of(some, seq_len=64, seed=1).batches(0, 5)) != rows


def test_hosts_have_their_parts(tmp_path):
    some = examples(tmp_path, 20)
    whole = numbers(input_of(some).batches(0, 3))
    parts = [numbers(input_of(some, parts=i, part_count=2).batches(0, 3)) for i in range(2)]
    together = [row for at in range(0, 12, 4) for part in parts for row in part[at : at + 4]]
    assert together == whole


def test_what_fills_up_the_last_batch_has_no_weight(tmp_path):
    batches = list(input_of(examples(tmp_path, 20)).evaluation_batches())
    assert [int(batch["label_weights"].sum()) for batch in batches] == [8, 8, 4]


def test_examples_are_passed_over(tmp_path):
    every = input_of(examples(tmp_path, 40), seq_len=64)
    rows = numbers(every.batches(0, 4))
    passed = numbers(every.passing_over([(1, 5)]).batches(0, 3))
    assert passed == rows[:8] + rows[13:29]


def test_a_batch_that_does_not_divide(tmp_path):
    with pytest.raises(UserError, match="batch_size=8 does not divide by 3 processes"):
        input_of(examples(tmp_path, 20), parts=0, part_count=3)
