"""Dialogues and labelled pairs: from JSON lines through a store to rows."""

import itertools
import json
import random

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig, masking_config, plan_config
from plmjax.data.dialogues import turns_of
from plmjax.data.pipeline import Input
from plmjax.data.plans.dialogue import Dialogue, first_turns, fitted
from plmjax.data.preparation import CorpusConfig, prepare
from plmjax.data.tasks import open_input
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, split_of

WORDS = ("river", "engine", "teacher", "orchard", "parliament", "violin", "glacier", "market")


def corpus_of(folder, records, field):
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    source = f"jsonl[field={field}]:{folder}/lines.jsonl"
    cache = str(folder / "cache")
    return prepare(CorpusConfig(source=source, cache_dir=cache, vocab_size=200), quiet=True)


def said(rng, most=9):
    return " ".join(rng.choices(WORDS, k=rng.randint(1, most)))


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory):
    rng, records = random.Random(0), []
    for number in range(80):
        roles = "".join(rng.choice("QR") for _ in range(rng.randint(1, 7)))
        turns = [{"role": role, "text": f"{said(rng)} {number}"} for role in roles]
        records.append({"turns": turns})
    return corpus_of(tmp_path_factory.mktemp("dialogues"), records, "turns")


def input_of(corpus, tasks, seq_len=48):
    config = DataConfig(
        seq_len=seq_len,
        batch_size=32,
        plan=plan_config("multi_task", tasks=tasks),
        masking=masking_config("unit", unit="token"),
    )
    return Input(corpus.train, corpus.tokenizer, config, seed=1)


def turns_in(corpus):
    """Every stored turn as (role, ids), and those that follow each other."""
    (split,) = corpus.train.values()
    offsets = split.sentence_offsets
    marks = {"q": 0, "r": 1}
    found = []
    for begin, end in itertools.pairwise(offsets):
        ids = split.read(np.array([begin]), np.array([end - begin])).tolist()
        assert corpus.tokenizer.vocabulary[ids[1]] == ":"
        found.append((marks[corpus.tokenizer.vocabulary[ids[0]]], tuple(ids[2:])))
    runs = set()
    for first, end in itertools.pairwise(split.document_offsets):
        runs |= {tuple(found[n : n + 3]) for n in range(first, end - 2)}
    return found, runs


def test_rows_are_three_turns_with_their_roles_or_one_is_a_stranger(dialogues):
    source = input_of(dialogues, "dialogue:1", seq_len=64)
    every, runs = turns_in(dialogues)
    texts = {ids for _, ids in every}
    labels, patterns = [], set()
    for step in range(6):
        rows = source.rows(step)
        for row in range(32):
            real = rows["attention_mask"][row] > 0
            tokens, types = rows["tokens"][row][real], rows["token_types"][row][real]
            closed = np.flatnonzero(tokens == dialogues.tokenizer.sep_id)
            assert len(closed) == 3 and set(types.tolist()) <= {2, 3}
            begins = [1, *(closed[:2] + 1)]
            seen = []
            for begin, end in zip(begins, closed, strict=True):
                assert len(set(types[begin : end + 1].tolist())) == 1
                seen.append((int(types[begin]) - 2, tuple(tokens[begin:end].tolist())))
            assert all(ids in texts for _, ids in seen)
            label = int(rows["label"][row])
            if not label:
                assert tuple(seen) in runs
            labels.append(label)
            patterns.add("".join("QR"[role] for role, _ in seen))
    assert patterns == {"QRQ", "QRR", "QQR"}
    assert abs(np.mean(labels) - 0.5) < 0.13
    batch = source.batch(0)
    assert (batch["masked_weights"].sum(axis=1) > 0).mean() > 0.8


def test_dialogues_and_text_take_turns(dialogues, corpus):
    splits = {"dialogues": dialogues.train["jsonl"], "text": dialogues.train["jsonl"]}
    plan = {"tasks": "pairs:0,dialogue:1"}
    config = DataConfig(
        seq_len=48,
        batch_size=8,
        plan=plan_config("multi_task", tasks="pairs:1,dialogue:0"),
        tasks={"text": {"sources": "text"}, "talk": {"sources": "dialogues", "plan": plan}},
    )
    source = open_input(splits, dialogues.tokenizer, config, 0)
    kinds = [set(source.batch(step)["task"].tolist()) for step in range(6)]
    assert sorted(map(tuple, kinds)) == [(0,)] * 3 + [(1,)] * 3
    assert all(one != other for one, other in itertools.pairwise(kinds))


def test_labelled_pairs_come_back_with_their_classes(tmp_path):
    rng = random.Random(1)
    records = [
        {"query": said(rng), "title": f"{said(rng, 40)} {number}", "label": rng.randint(0, 2)}
        for number in range(60)
    ]
    corpus = corpus_of(tmp_path, records, "query+title+label")
    source = input_of(corpus, "relevance:1")
    known = {}
    for record in records:
        ids = corpus.tokenizer.encode_batch([record["title"]])[0]
        known[tuple(ids[:6].tolist())] = record["label"]
    rows = source.rows(0)
    for row in range(32):
        title = rows["tokens"][row][(rows["token_types"][row] == 1)].tolist()
        title = title[: title.index(corpus.tokenizer.sep_id)]
        assert known[tuple(title[:6])] == rows["label"][row]
    assert set(rows["label"].tolist()) == {0, 1, 2}


def test_only_three_forms_begin_an_example():
    roles = np.array([0, 1, 0, 0, 1, 1, 1, 0, 0, 0])
    found = first_turns(roles, np.array([0, 6, 10]))
    assert found.tolist() == [0, 2, 3]


def test_the_longest_turns_are_cut():
    lengths = np.array([[3, 4, 5], [20, 2, 9], [30, 31, 40], [0, 14, 2]])
    expected = [[3, 4, 5], [5, 2, 5], [4, 4, 4], [0, 10, 2]]
    assert fitted(lengths, 12).tolist() == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"role": "X", "text": "a"}], "turn 0 is neither"),
        (["a", {"role": "Q"}], "turn 0 is neither"),
        ([{"role": "Q", "text": "a"}, 3], "turn 1 is neither"),
    ],
)
def test_what_is_no_turn_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        turns_of(value)


def test_texts_alternate():
    assert turns_of(["a", "b", "c"]) == ["Q: a", "R: b", "Q: c"]


def test_other_documents_are_refused(corpus, dialogues, tmp_path):
    for tasks, message in (
        ("dialogue:1", "is no source of dialogues: its sentence 0 does not begin with Q: or R:"),
        ("relevance:1", "is no source of relevance: its document 0 is not a query"),
    ):
        with pytest.raises(UserError, match=message):
            input_of(corpus, tasks)
    short = corpus_of(tmp_path, [{"turns": ["a b", "c d"]}] * 40, "turns")
    with pytest.raises(UserError, match="has no three turns in a row of the forms QRQ"):
        input_of(short, "dialogue:1")
    (tmp_path / "bad").mkdir()
    with pytest.raises(UserError, match="the field 'turns' is no dialogue: turn 0 is neither"):
        corpus_of(tmp_path / "bad", [{"turns": [3]}], "turns")
    with pytest.raises(UserError, match=r"^fake_prob=2 is not a share"):
        Dialogue(fake_prob=2)
    with pytest.raises(UserError, match="give more text"):
        layout = Dialogue().layout("bert", Letters(), 40)
        Dialogue().bind(split_of([]), layout, 0)


class Letters(FakeTokenizer):
    def encode_batch(self, texts):
        return [np.array([10 + len(text), 9]) for text in texts]
