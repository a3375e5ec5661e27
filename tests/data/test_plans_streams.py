"""XLNet's streams, against its program written in plain Python."""

import numpy as np
import pytest

from plmjax.data.counter_random import below, fold, key_of, uniform
from plmjax.data.flags import SENTENCE, SPECIAL, WORD
from plmjax.data.plans import Streams
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, random_split, rows_of, split_of

L, REUSE, ROWS = 32, 12, 4
EOD, SEP, CLS = FakeTokenizer.eod_id, FakeTokenizer.sep_id, FakeTokenizer.cls_id
ROOM = L - 3 - REUSE


def bound(split, rows=ROWS, seed=0, **settings):
    settings = Streams(reuse_len=REUSE, **settings)
    layout = settings.layout("xlnet", FakeTokenizer(), L)
    return settings.bind(split, layout, seed, rows), layout


def whole_text(split, order):
    """The original's `input_data` and `sent_ids`, of lines and, behind each document, a blank."""
    tokens, sentence_of, number = [], [], 0
    for document in order.tolist():
        for sentence in range(*split.document_offsets[document : document + 2]):
            place, end = split.sentence_offsets[sentence : sentence + 2]
            tokens += range(100 + place, 100 + end)
            sentence_of += [number] * (end - place)
            number += 1
        tokens.append(EOD)
        sentence_of.append(number - 1)
    return np.array(tokens), np.array(sentence_of)


def split_a_and_b(data, sentences, begin, room, seed):
    """`_split_a_and_b`, with the plan's draws."""

    def drawn(purpose, bound):
        return int(below(fold(seed, key_of(purpose)), bound))

    end, cuts = begin + 1, []
    while end < len(data):
        if sentences[end] != sentences[end - 1]:
            if end - begin >= room:
                break
            cuts.append(end)
        end += 1
    cut = cuts[drawn("cut", len(cuts))] if cuts else end
    if not cuts or uniform(fold(seed, key_of("random"))) < 0.5:
        length = max(1, room - (cut - begin))
        b_begin = drawn("other", len(data) - length)
        b_end = b_begin + length
        while b_begin > 0 and sentences[b_begin - 1] == sentences[b_begin]:
            b_begin -= 1
        while b_end < len(data) - 1 and sentences[b_end - 1] == sentences[b_end]:
            b_end += 1
    else:
        b_begin, b_end = cut, end
    while cut - begin + b_end - b_begin > room:
        if cut - begin > b_end - b_begin:
            cut -= 1
        else:
            b_end -= 1
    return data[begin:cut], data[b_begin:b_end]


@pytest.mark.parametrize("bi_data", [False, True])
@pytest.mark.parametrize("longest", [3, 18, 60])
def test_rows_are_those_of_xlnets_program(bi_data, longest):
    split = random_split(documents=25, longest=longest)
    plan, layout = bound(split, bi_data=bi_data)
    size, streams = plan._size, ROWS // 2 if bi_data else ROWS
    steps = (size - REUSE - ROOM) // REUSE + 1
    assert plan.epoch_size(0) == steps * ROWS
    for epoch in (0, 1):
        examples = plan.examples(epoch * steps * ROWS + np.arange(steps * ROWS))
        features = layout.assemble(examples, [split])
        tokens, sentences = whole_text(split, plan._texts[epoch].order)
        for row, found in enumerate(features["tokens"]):
            step, column = divmod(row, ROWS)
            of = slice(column % streams * size, (column % streams + 1) * size)
            data, sentence_of = tokens[of], sentences[of]
            if column >= streams:
                data, sentence_of = data[::-1], sentence_of[::-1]
            reused, seed = data[step * REUSE :][:REUSE], examples.seeds[row]
            a, b = split_a_and_b(data, sentence_of, (step + 1) * REUSE, ROOM, seed)
            assert found.tolist() == [*reused, *a, SEP, *b, SEP, CLS], (epoch, row)
            types = [0] * (REUSE + len(a) + 1) + [1] * (len(b) + 1) + [2]
            assert features["token_types"][row].tolist() == types
    if bi_data:
        assert features["backward"].tolist() == [0, 0, 1, 1] * steps
    assert features["attention_mask"].all()


def test_flags_are_those_of_their_tokens():
    split = random_split()
    plan, layout = bound(split, bi_data=True)
    features = layout.assemble(plan.examples(np.arange(200)), [split])
    for token, flag in zip(features["tokens"].flat, features["flags"].flat, strict=True):
        if token >= 100:
            begins = SENTENCE if token - 100 in split.sentence_offsets else 0
            assert flag == (token - 100) % 8 | begins
        else:
            assert flag == (WORD if token == EOD else SPECIAL)


def test_a_row_goes_on_where_that_of_the_batch_before_has_ended():
    """What is reused in a batch is followed by what is reused in the next, also from the end."""
    plan, layout = bound(random_split(), bi_data=True)
    steps = plan.epoch_size(0) // ROWS
    tokens = layout.assemble(plan.examples(np.arange(steps * ROWS)), [plan.split])["tokens"]
    streams = tokens.reshape(steps, ROWS, L)[:, :, :REUSE].swapaxes(0, 1).reshape(ROWS, -1)
    for forward, backward in zip(streams[:2], streams[2:], strict=True):
        both = np.intersect1d(forward, backward)
        assert len(both) > 0.9 * len(forward) - 2 * L
        text = forward[forward >= 100]
        neighbours = np.diff(text) == 1
        assert neighbours.mean() > 0.9  # but where a document ends
        assert (np.diff(backward[backward >= 100]) == -1).mean() > 0.9


def test_a_short_text_is_gone_through_several_times():
    split = split_of([[3, 4], [5]])
    plan, layout = bound(split, rows=8, bi_data=True)
    features = layout.assemble(plan.examples(np.arange(16)), [split])
    assert plan.epoch_size(0) % 8 == 0
    assert features["attention_mask"].all()
    assert set(range(100, 112)) <= set(features["tokens"].flat)


def test_without_an_end_of_documents_there_is_none():
    split, tokenizer = random_split(), FakeTokenizer(eod_id=None)
    layout = Streams().layout("xlnet", tokenizer, L)
    plan = Streams().bind(split, layout, 0)
    tokens = layout.assemble(plan.examples(np.arange(40)), [split])["tokens"]
    assert np.isin(tokens[tokens < 100], [SEP, CLS]).all()


def test_epochs_have_orders_of_their_own():
    plan, _ = bound(random_split())
    size = plan.epoch_size(0)
    starts = [[row[3:] for row in rows_of(plan.examples(e * size + np.arange(8)))] for e in (0, 1)]
    assert starts[0] != starts[1]


@pytest.mark.parametrize(
    ("settings", "rows", "message"),
    [
        ({"reuse_len": -1}, 4, r"^reuse_len=-1 is negative"),
        ({"reuse_len": 28}, 4, r"^reuse_len=28 leaves no room .* give 27 or less"),
        ({"bi_data": True}, 3, r"^bi_data=True reads each stream .* batch_size=3 is odd"),
    ],
)
def test_mistakes_are_one_line(settings, rows, message):
    with pytest.raises(UserError, match=message) as caught:
        some = Streams(**settings)
        some.bind(random_split(), some.layout("xlnet", FakeTokenizer(), L), 0, rows)
    assert "\n" not in str(caught.value)
