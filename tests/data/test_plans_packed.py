import itertools
import re
from pydoc_data.topics import topics

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from plmjax.data.plans import Packed
from plmjax.data.plans.bins import pack
from tests.data.splits import FakeTokenizer, pieces_of, random_split, split_of

DOCUMENTS = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=4), min_size=1, max_size=40)


def bound(split, frame="bert", seq_len=24, seed=0):
    layout = Packed().layout(frame, FakeTokenizer(), seq_len)
    return Packed().bind(split, layout, seed), layout


def best_fit_decreasing(sizes, capacity):
    """The plain loop: room left in each bin."""
    rooms = []
    for size in sorted(sizes, reverse=True):
        fitting = [(room, n) for n, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting)[1]] -= size
        else:
            rooms.append(capacity - size)
    return rooms


@hypothesis.given(st.lists(st.integers(1, 20), min_size=1, max_size=200))
def test_packing_a_histogram_is_best_fit_decreasing(sizes):
    counts = np.bincount(sizes, minlength=21)
    bins = pack(counts, 20)
    contents, ranks = [], {size: [] for size in range(21)}
    for shape in range(len(bins.begins) - 1):
        slots = slice(*bins.first_slots[shape : shape + 2])
        for copy in range(bins.begins[shape + 1] - bins.begins[shape]):
            contents.append(bins.sizes[slots].sum())
            for size, rank in zip(bins.sizes[slots].tolist(), bins.ranks[slots], strict=True):
                ranks[size].append(int(rank) + copy)
    assert all(sorted(ranks[size]) == list(range(counts[size])) for size in range(21))
    assert sorted(contents) == sorted(20 - room for room in best_fit_decreasing(sizes, 20))
    assert len(bins) == len(contents)


@pytest.mark.parametrize("frame", ["bert", "roberta", "eod", "eos", "none", "xlnet"])
@hypothesis.given(DOCUMENTS)
def test_an_epoch_has_every_token_once_and_rows_fit(frame, documents):
    split = split_of(documents)
    plan, layout = bound(split, frame)
    examples = plan.examples(np.arange(plan.epoch_size(0)))
    tokens = split.read(examples.starts, examples.lengths)
    assert np.array_equal(np.sort(tokens), np.arange(split.tokens) + 100)
    features = layout.assemble(examples, [split])
    share = features["attention_mask"].mean()
    assert share == pytest.approx(plan.efficiency)


@hypothesis.given(DOCUMENTS)
def test_documents_that_fit_are_whole_and_longer_ones_fill_rows(documents):
    split = split_of(documents)
    for frame, last, full in (("bert", 22, 22), ("eod", 23, 24)):
        plan, _ = bound(split, frame)
        pieces = sorted(itertools.chain(*pieces_of(plan._made(0, np.arange(plan.epoch_size(0))))))
        expected, start = [], 0
        for document in documents:
            left = sum(document)
            while left > last:
                expected.append((start, full, frame == "bert"))
                start, left = start + full, left - full
            expected.append((start, left, True))
            start += left
        assert [(p[0], p[1], p[3]) for p in pieces] == expected


def test_segments_and_positions_restart_at_each_document():
    split = random_split(documents=300, longest=4)
    plan, layout = bound(split)
    features = layout.assemble(plan.examples(np.arange(50)), [split])
    assert (features["segment_ids"].max(axis=1) > 1).any()
    for tokens, segments, positions in zip(
        features["tokens"], features["segment_ids"], features["positions"], strict=True
    ):
        expected, number, position = [], 0, 0
        for token in tokens:
            if token == FakeTokenizer.cls_id:
                number, position = number + 1, 0
            expected.append((0, 0) if token == FakeTokenizer.pad_id else (number, position))
            position += 1
        assert list(zip(segments.tolist(), positions.tolist(), strict=True)) == expected
        for segment in range(1, segments.max() + 1):
            own = tokens[segments == segment]
            assert (own[0], own[-1]) == (FakeTokenizer.cls_id, FakeTokenizer.sep_id)


def test_neighbours_in_a_row_differ_between_epochs():
    split = random_split(documents=3000, longest=4)
    plan, _ = bound(split)
    size = plan.epoch_size(0)
    assert plan.epoch_size(1) == size
    rows = [
        {
            tuple(sorted(p[0] for p in row))
            for row in pieces_of(plan._made(e, np.arange(size)))
            if len(row) > 1
        }
        for e in (0, 1)
    ]
    assert len(rows[0] & rows[1]) < 0.05 * len(rows[0])


def test_over_97_percent_of_512_places_are_used_on_real_text():
    """Lengths of the topics of Python's reference, with a token a word or punctuation mark."""
    split = split_of([[len(re.findall(r"\w+|[^\w\s]", text))] for text in topics.values()])
    for frame in ("bert", "eod"):
        plan, _ = bound(split, frame, 512)
        assert plan.epoch_size(0) > 100
        assert plan.efficiency > 0.97


def test_blocks_of_documents_do_not_change_the_result(monkeypatch):
    split = random_split(documents=100)
    expected = bound(split)[0]._by_size
    monkeypatch.setattr("plmjax.data.plans.packed._DOCUMENTS_AT_ONCE", 7)
    assert np.array_equal(bound(split)[0]._by_size, expected)
