"""Whole sentences against fairseq's loops, written out from their description."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from plmjax.data.plans import DocSentences, FullSentences
from plmjax.data.plans.sentences import complete, cut_sentences
from tests.data.splits import FakeTokenizer, pieces_of, random_split, split_of

DOCUMENTS = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=20)


def blocks(settings, split, seq_len=26, frame="roberta"):
    plan = settings.bind(split, settings.layout(frame, FakeTokenizer(), seq_len), 0)
    return pieces_of(plan._made(0, np.arange(plan.epoch_size(0))))


def complete_loop(sizes, block_size):
    """fairseq's "complete": (first token, end) of each block."""
    found, token, size, i = [], 0, 0, 0
    while i < len(sizes):
        if size + sizes[i] <= block_size or size == 0:
            size += sizes[i]
            i += 1
        else:
            found.append((token, token + size))
            token, size = token + size, 0
    if size:
        found.append((token, token + size))
    return found


def pieces_loop(documents, budget):
    """Sentences over the budget cut into pieces."""
    return [
        [min(budget, n - at) for n in document for at in range(0, n, budget)]
        for document in documents
    ]


def separated_loop(documents, budget):
    """Blocks as lists of (first token, end) by document; a separator costs one token."""
    found, block, cost, token = [], [], 0, 0
    for d, document in enumerate(documents):
        for n in document:
            extra = n + (bool(block) and block[-1][0] != d)
            if block and cost + extra > budget:
                found.append(block)
                block, cost, extra = [], 0, n
            if block and block[-1][0] == d:
                block[-1] = (d, block[-1][1], token + n)
            else:
                block.append((d, token, token + n))
            cost += extra
            token += n
    found.append(block)
    return [[(start, end) for _, start, end in block] for block in found]


@hypothesis.given(DOCUMENTS)
def test_full_sentences_joined_are_fairseqs_complete(documents):
    sizes = [n for document in pieces_loop(documents, 24) for n in document]
    ours = blocks(FullSentences(separate=False), split_of(documents))
    assert [(b[0][0], b[0][0] + b[0][1]) for b in ours] == complete_loop(sizes, 24)
    assert all(len(block) == 1 for block in ours)


@hypothesis.given(DOCUMENTS)
def test_full_sentences_have_a_separator_between_documents(documents):
    expected = separated_loop(pieces_loop(documents, 24), 24)
    ours = blocks(FullSentences(), split_of(documents))
    assert [[(p[0], p[0] + p[1]) for p in block] for block in ours] == expected


@hypothesis.given(DOCUMENTS)
def test_doc_sentences_are_fairseqs_complete_doc(documents):
    expected, token = [], 0
    for document in pieces_loop(documents, 24):
        expected += [(token + a, token + b) for a, b in complete_loop(document, 24)]
        token += sum(document)
    ours = blocks(DocSentences(), split_of(documents))
    assert [(b[0][0], b[0][0] + b[0][1]) for b in ours] == expected


@pytest.mark.parametrize("settings", [FullSentences(), FullSentences(False), DocSentences()])
@pytest.mark.parametrize("frame", ["roberta", "bert", "eod"])
@hypothesis.given(documents=DOCUMENTS)
def test_every_token_comes_once_and_rows_fit(settings, frame, documents):
    split = split_of(documents)
    layout = settings.layout(frame, FakeTokenizer(), 26)
    plan = settings.bind(split, layout, 0)
    examples = plan.examples(np.arange(plan.epoch_size(0)))
    tokens = split.read(examples.starts, examples.lengths)
    assert np.array_equal(np.sort(tokens), np.arange(split.tokens) + 100)
    layout.assemble(examples, [split])


def test_a_mark_of_the_end_of_a_document_stands_there_alone():
    documents = [[10, 10, 10], [4]]
    for settings in (FullSentences(), DocSentences()):
        found = blocks(settings, split_of(documents), 26, "eod")
        ends = [start + length for block in found for start, length, _, closes in block if closes]
        assert ends == [30, 34]


def test_blocks_of_units_do_not_change_the_result(monkeypatch):
    split = random_split(documents=200)
    arguments = split.sentence_offsets, split.document_offsets, 40, 1
    expected = complete(*arguments)
    monkeypatch.setattr("plmjax.data.plans.sentences._UNITS_AT_ONCE", 3)
    assert np.array_equal(complete(*arguments), expected)


def test_short_sentences_are_not_copied():
    split = random_split()
    offsets, documents = cut_sentences(split.sentence_offsets, split.document_offsets, 18)
    assert offsets is split.sentence_offsets and documents is split.document_offsets
