import numpy as np
import pytest

from plmjax.data.plans import Translation
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, pairs_split, pieces_of, random_split, split_of

EOS = FakeTokenizer.eos_id


def bound(split, seq_len=40, longest=0):
    settings = Translation(longest)
    layout = settings.layout("xlm", FakeTokenizer(), seq_len)
    return settings.bind(split, layout, 0), layout


def test_a_pair_makes_a_row_as_in_xlm():
    plan, layout = bound(split_of([[3, 4]]), 20)
    features = layout.assemble(plan.examples(np.array([0])), [plan.split])
    source, target = [100, 101, 102], [103, 104, 105, 106]
    row = [EOS, *source, EOS, EOS, *target, EOS]
    padding = [0] * (20 - len(row))
    assert features["tokens"][0].tolist() == row + padding
    assert features["positions"][0].tolist() == [*range(5), *range(6), *padding]
    assert features["token_types"][0].tolist() == [0] * 5 + [1] * 6 + padding
    assert features["attention_mask"][0].tolist() == [1] * 11 + padding
    assert "segment_ids" not in features  # attention crosses
    assert "label" not in features


def test_every_pair_comes_once():
    split = pairs_split()
    plan, _ = bound(split, 60)
    examples = plan.examples(np.arange(plan.epoch_size(0)))
    tokens = split.read(examples.starts, examples.lengths)
    assert np.array_equal(np.sort(tokens), np.arange(split.tokens) + 100)
    for (source, length, *_), (target, *_) in pieces_of(examples):
        assert source + length == target


@pytest.mark.parametrize(
    ("sides", "kept"), [((30, 5), (7, 5)), ((5, 30), (5, 7)), ((30, 30), (6, 6))]
)
def test_the_longer_side_is_cut_at_its_end(sides, kept):
    plan, _ = bound(split_of([list(sides)]), 16)  # 12 tokens of text
    [(source, target)] = pieces_of(plan.examples(np.array([0])))
    assert source[:2] == (0, kept[0])
    assert target[:2] == (sides[0], kept[1])


def test_pairs_with_a_longer_side_are_left_out():
    plan, _ = bound(split_of([[3, 4], [11, 2], [2, 11], [10, 10]]), longest=10)
    assert plan.epoch_size(0) == 2
    rows = pieces_of(plan._made(0, np.arange(2)))
    assert [[p[:2] for p in row] for row in rows] == [[(0, 3), (3, 4)], [(33, 10), (43, 10)]]
    with pytest.raises(UserError, match=r"^longest=1 leaves no pair"):
        bound(split_of([[3, 4]]), longest=1)


def test_other_documents_are_no_pairs():
    with pytest.raises(UserError, match="no source of translation pairs: its document 0 has"):
        bound(random_split())
