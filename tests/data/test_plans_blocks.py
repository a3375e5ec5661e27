import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from plmjax.data.plans import Blocks
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, random_split, split_of

DOCUMENTS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=20)
EOD = FakeTokenizer.eod_id


def bound(settings, split, frame="eod", seq_len=16, seed=0):
    layout = settings.layout(frame, FakeTokenizer(), seq_len)
    return settings.bind(split, layout, seed), layout


def rows(plan, layout, epoch=0):
    """The epoch's rows in the order of the stream."""
    return layout.assemble(plan._made(epoch, np.arange(plan.epoch_size(epoch))), [plan.split])


def streams(split, row):
    """Cuts a stream into documents at the marks of their ends, as (first, last) tokens."""
    ends = np.flatnonzero(row == EOD)
    return [
        tuple((d[[0, -1]] - 100).tolist())
        for d in np.split(row[row != EOD], ends - np.arange(len(ends)))
        if len(d)
    ]


@hypothesis.given(DOCUMENTS, st.integers(0, 3))
def test_blocks_are_the_stream_of_all_documents(documents, overlap):
    split = split_of(documents)
    plan, layout = bound(Blocks(overlap=overlap), split)
    features = rows(plan, layout)
    tokens, mask = features["tokens"], features["attention_mask"] == 1
    assert mask[:-1].all()
    for row, before in zip(tokens[1:], tokens, strict=False):
        assert np.array_equal(row[:overlap], before[len(before) - overlap :])
    stream = np.concatenate([tokens[0, :overlap], tokens[:, overlap:][mask[:, overlap:]]])[
        : plan._stream_tokens
    ]
    assert np.array_equal(np.sort(stream[stream != EOD]), np.arange(split.tokens) + 100)
    offsets = split.sentence_offsets[split.document_offsets]
    expected = sorted(zip(offsets[:-1].tolist(), (offsets[1:] - 1).tolist(), strict=True))
    assert sorted(streams(split, stream)) == expected
    assert stream[-1] == EOD
    assert (stream == EOD).sum() == len(documents)
    is_special = features["flags"] == 128
    assert np.array_equal(is_special, tokens == EOD)


def test_documents_have_a_new_order_each_epoch():
    split = random_split()
    plan, layout = bound(Blocks(), split)
    orders = [streams(split, rows(plan, layout, epoch)["tokens"].reshape(-1)) for epoch in range(3)]
    firsts = [[first for first, _ in order] for order in orders]
    assert firsts[0] != firsts[1] != firsts[2]
    assert firsts[0] != sorted(firsts[0])


def test_without_a_frame_there_is_text_alone():
    split = random_split()
    plan, layout = bound(Blocks(), split, "none")
    features = rows(plan, layout)
    text = features["tokens"][features["attention_mask"] == 1]
    assert np.array_equal(np.sort(text), np.arange(split.tokens) + 100)


@hypothesis.given(DOCUMENTS)
def test_isolated_documents_have_segments_and_positions_of_their_own(documents):
    split = split_of(documents)
    plan, layout = bound(Blocks(isolate=True), split)
    features = rows(plan, layout)
    for tokens, mask, segments, positions in zip(
        *(features[k] for k in ("tokens", "attention_mask", "segment_ids", "positions")),
        strict=True,
    ):
        number, position = 1, 0
        for place in range(len(tokens)):
            if not mask[place]:
                assert (segments[place], positions[place]) == (0, 0)
                continue
            assert (segments[place], positions[place]) == (number, position)
            position += 1
            if tokens[place] == EOD:
                number, position = number + 1, 0


def test_shared_blocks_have_neither():
    plan, layout = bound(Blocks(), random_split())
    assert not rows(plan, layout).keys() & {"segment_ids", "positions"}


def test_what_cannot_be_is_one_line():
    with pytest.raises(UserError, match=r"^overlap=16"):
        bound(Blocks(overlap=16), random_split())
    with pytest.raises(UserError, match=r"^frame=bert .* give one of eod, eos, none"):
        bound(Blocks(), random_split(), "bert")
