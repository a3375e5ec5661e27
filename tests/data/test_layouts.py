"""Rows, written out by hand and against a plain loop."""

import numpy as np
import pytest

from plmjax.data.flags import SENTENCE, SPECIAL, WORD
from plmjax.data.plans import FRAMES, PLANS, Examples, SentencePairs
from plmjax.data.plans.layout import EACH, PAIR, RUN, STREAM, make_layout
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, random_split, split_of

PAD, CLS, SEP, BOS, EOS, EOD = 0, 2, 3, 4, 5, 6
SPLIT = split_of([[3, 2, 4], [5], [2, 2]])  # sentences begin at 0, 3, 5, 9, 14, 16


def one(pieces):
    """An example of pieces (start, length, segment, closes)."""
    columns = [np.array(column) for column in zip(*pieces, strict=True)]
    starts, lengths, segments, closes = columns
    seeds = np.array([7], np.uint64)
    rows = np.zeros(len(pieces))
    return Examples.of(seeds, rows, starts, lengths, segments, closes=closes.astype(bool))


def row_of(frame, style, pieces, seq_len=20, **options):
    layout = make_layout(frame, FakeTokenizer(), seq_len, style, **options)
    return {k: v[0].tolist() for k, v in layout.assemble(one(pieces), [SPLIT]).items()}


def text(start, length):
    return list(range(100 + start, 100 + start + length))


A, B = (1, 3, 0, True), (9, 2, 1, True)


@pytest.mark.parametrize(
    ("frame", "style", "pieces", "tokens", "types"),
    [
        ("bert", PAIR, [A, B], [CLS, *text(1, 3), SEP, *text(9, 2), SEP], [0] * 5 + [1] * 3),
        ("bert", PAIR, [A], [CLS, *text(1, 3), SEP], [0] * 5),
        ("roberta", PAIR, [A], [BOS, *text(1, 3), EOS], [0] * 5),
        (
            "roberta",
            PAIR,
            [A, B],
            [BOS, *text(1, 3), EOS, EOS, *text(9, 2), EOS],
            [0] * 5 + [1] * 4,
        ),
        ("xlnet", PAIR, [A, B], [*text(1, 3), SEP, *text(9, 2), SEP, CLS], [0] * 4 + [1] * 3 + [2]),
        ("xlm", PAIR, [A, B], [EOS, *text(1, 3), EOS, EOS, *text(9, 2), EOS], [0] * 5 + [1] * 4),
        ("roberta", RUN, [A, (9, 2, 0, True)], [BOS, *text(1, 3), EOS, *text(9, 2), EOS], [0] * 8),
        ("bert", EACH, [A, B], [CLS, *text(1, 3), SEP, CLS, *text(9, 2), SEP], [0] * 9),
        ("eod", EACH, [A, B], [*text(1, 3), EOD, *text(9, 2), EOD], [0] * 7),
        ("eod", STREAM, [A, (9, 2, 1, False)], [*text(1, 3), EOD, *text(9, 2)], [0] * 6),
        ("eod", STREAM, [(4, 0, 0, True), (9, 2, 1, False)], [EOD, *text(9, 2)], [0] * 3),
        ("eos", STREAM, [A], [*text(1, 3), EOS], [0] * 4),
        ("none", STREAM, [A, B], [*text(1, 3), *text(9, 2)], [0] * 5),
        ("bert", PAIR, [(0, 2, 0, False), (5, 2, 0, True), B], 
         [CLS, *text(0, 2), *text(5, 2), SEP, *text(9, 2), SEP], [0] * 6 + [1] * 3),
    ],
)  # fmt: skip
def test_rows_by_hand(frame, style, pieces, tokens, types):
    row = row_of(frame, style, pieces)
    padding = 20 - len(tokens)
    assert row["tokens"] == tokens + [PAD] * padding
    assert row["attention_mask"] == [1] * len(tokens) + [0] * padding
    assert row["token_types"] == types + [0] * padding
    assert row["seeds"] == 7


def test_flags_are_the_stores_with_sentences_and_specials():
    row = row_of("bert", PAIR, [A, B])
    # Stored flags are the place modulo 8; sentences begin at 3 and 9.
    expected = [SPECIAL, 1, 2, 3 | SENTENCE, SPECIAL, 1 | SENTENCE, 2, SPECIAL]
    assert row["flags"] == expected + [0] * 12


def test_isolated_segments_count_for_themselves():
    row = row_of("bert", EACH, [A, B], isolate=True)
    assert row["segment_ids"] == [1] * 5 + [2] * 4 + [0] * 11
    assert row["positions"] == [*range(5), *range(4)] + [0] * 11


def test_restarting_positions_count_over_the_pieces_of_a_segment():
    pieces = [(0, 2, 0, False), (5, 2, 0, True), B]
    row = row_of("xlm", PAIR, pieces, restart=True)
    assert row["positions"] == [*range(6), *range(4)] + [0] * 10
    assert "segment_ids" not in row


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("style", [PAIR, RUN, EACH])
def test_a_full_row_has_no_padding_and_a_fuller_one_is_refused(frame, style):
    layout = make_layout(frame, FakeTokenizer(), 16, style)
    room = layout.room(1)
    full = one([(0, room, 0, True)])
    assert layout.assemble(full, [SPLIT])["attention_mask"].all()
    with pytest.raises(ValueError, match="17 tokens does not fit 16"):
        layout.assemble(one([(0, room + 1, 0, True)]), [SPLIT])


def assembled_slowly(layout, examples, splits):
    rows = [[] for _ in range(len(examples))]
    last = {row: piece for piece, row in enumerate(examples.rows.tolist())}
    segment_of = {}
    for piece, row in enumerate(examples.rows.tolist()):
        split = splits[examples.sources[row]]
        segment = int(examples.segments[piece])
        if segment_of.get(row) != segment:
            head = layout.head_other if row in segment_of else layout.head_first
            rows[row] += [(token, SPECIAL, segment) for token in head]
        segment_of[row] = segment
        start, length = int(examples.starts[piece]), int(examples.lengths[piece])
        flags = split.read_flags([start], [length])
        for place in range(start, start + length):
            begins = SENTENCE if place in split.sentence_offsets else 0
            rows[row].append((100 + place, int(flags[place - start]) | begins, segment))
        assert not examples.backward[row]
        if examples.ends[piece]:
            rows[row] += [(token, WORD, segment) for token in layout.document_end]
        if examples.closes[piece]:
            rows[row] += [(token, SPECIAL, segment) for token in layout.tail]
        if last[row] == piece:
            rows[row] += [(token, SPECIAL, layout.piece_types) for token in layout.end]
    padded = [row + [(PAD, 0, 0)] * (layout.seq_len - len(row)) for row in rows]
    return np.moveaxis(np.array(padded), 2, 0)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", PLANS)
def test_batches_of_several_sources_are_those_of_a_plain_loop(name, frame):
    settings = PLANS[name]()
    if name == "blocks" and frame not in ("eod", "eos", "none"):
        return
    layout = settings.layout(frame, FakeTokenizer(), 40)
    if name == "translation":
        splits = [split_of([[n % 7 + 1, n % 5 + 1] for n in range(30 + k)], str(k)) for k in (0, 1)]
    else:
        splits = [random_split(seed=k) for k in (0, 1)]
    plans = [settings.bind(split, layout, 0) for split in splits]
    parts = [plan.examples(np.arange(20)).of_source(k) for k, plan in enumerate(plans)]
    order = np.random.default_rng(0).permutation(40)
    mixed = Examples.scattered(parts, [order[:20], order[20:]])
    for examples in (parts[1], mixed):
        tokens, flags, types = assembled_slowly(layout, examples, splits)
        features = layout.assemble(examples, splits)
        assert np.array_equal(features["tokens"], tokens)
        assert np.array_equal(features["flags"], flags)
        if layout.types:
            assert np.array_equal(features["token_types"], types)
        for key, (shape, dtype) in layout.spec.items():
            assert features[key].shape == (len(examples), *shape)
            assert features[key].dtype == dtype
        assert features.keys() == layout.spec.keys()


def test_labels_are_there_where_the_plan_has_some():
    for settings, labelled in (
        (SentencePairs(), True),
        (SentencePairs(next_sentence=False), False),
    ):
        layout = settings.layout("bert", FakeTokenizer(), 40)
        plan = settings.bind(random_split(), layout, 0)
        examples = plan.examples(np.arange(30))
        features = layout.assemble(examples, [plan.split])
        assert ("label" in features) == labelled
        if labelled:
            assert features["label"].tolist() == examples.labels.tolist()


@pytest.mark.parametrize(
    ("frame", "style", "tokenizer", "seq_len", "message"),
    [
        ("brt", PAIR, FakeTokenizer(), 40, r"^frame=brt is unknown; give one of bert, "),
        ("eod", STREAM, FakeTokenizer(eod_id=None), 40, "no <eod> or"),
        ("bert", PAIR, FakeTokenizer(pad_id=None), 40, "needed here as 'pad'"),
        ("xlnet", STREAM, FakeTokenizer(), 40, r"^frame=xlnet surrounds"),
        ("bert", PAIR, FakeTokenizer(), 7, r"^seq_len=7 leaves no room"),
        ("bert", PAIR, FakeTokenizer(), 1 << 16, r"^seq_len=65536 is too long"),
    ],
)
def test_what_cannot_be_is_one_line(frame, style, tokenizer, seq_len, message):
    with pytest.raises(UserError, match=message):
        make_layout(frame, tokenizer, seq_len, style)


def test_a_stream_is_filled_up_with_the_end_of_document_where_there_is_no_padding():
    layout = make_layout("eod", FakeTokenizer(pad_id=None), 8, STREAM)
    made = layout.assemble(one([A]), [SPLIT])
    assert made["tokens"].tolist() == [[*text(1, 3), EOD, EOD, EOD, EOD, EOD]]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_only_tokens_that_the_frame_has_are_needed():
    bare = FakeTokenizer(cls_id=None, sep_id=None, bos_id=None, eos_id=None)
    assert make_layout("eod", bare, 40, STREAM).tail == (EOD,)
