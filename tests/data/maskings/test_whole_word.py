import numpy as np
import pytest

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import WholeWordMasking
from plmjax.data.maskings.whole_word import filled
from tests.data.maskings.helpers import (
    assert_eighty_ten_ten,
    order_of,
    run,
    selected,
    used,
    words_of,
)

L = 128


def reference(words, order, budget):
    """google-research/bert, `create_masked_lm_predictions`."""
    taken = []
    for index in order:
        if len(taken) >= budget:
            break
        if len(taken) + len(words[index]) > budget:
            continue
        taken += words[index]
    return sorted(taken)


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize(("rate", "most"), [(0.15, 0), (0.15, 7), (0.9, 0)])
def test_it_is_berts_program(request, lengths, language, rate, most):
    text = request.getfixturevalue(language)
    lengths = lengths[:200]
    features = text.features(len(lengths), L, lengths)
    masking = WholeWordMasking(mask_rate=rate, max_predictions=most)
    result = run(masking.bind(text.vocabulary, L), features)
    for row, length in enumerate(lengths.tolist()):
        words = words_of(features, row)
        budget = min(most or L, max(1, round(rate * length)))
        starts = {word[0]: index for index, word in enumerate(words)}
        places = order_of(features["seeds"][row], "masked words", L)
        order = [starts[place] for place in places if place in starts]
        positions = result["masked_positions"][row][used(result)[row]]
        assert positions.tolist() == reference(words, order, budget)
    assert not result["overflow"].any()


def test_chinese_words_are_masked_whole(chinese):
    features = chinese.features(2000, 64)
    result = run(WholeWordMasking().bind(chinese.vocabulary, 64), features)
    chosen = selected(result)
    split = [(row, word) for row in range(2000) for word in words_of(features, row)]
    lengths = [len(word) for row, word in split if chosen[row, word].all()]
    assert sum(lengths) == chosen.sum() and max(lengths) >= 4
    assert chosen.sum(1).max() == round(0.15 * 64)
    assert (chosen.sum(1) == round(0.15 * 64)).mean() > 0.99


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_eighty_ten_ten_for_each_piece(request, language):
    text = request.getfixturevalue(language)
    features = text.features(7000, L)
    result = run(WholeWordMasking().bind(text.vocabulary, L), features)
    ids = np.arange(text.vocabulary.vocab_size)
    assert_eighty_ten_ten(result, text.vocabulary.mask_id, ids)
    # Pieces of one word are shown independently: both [MASK] in 0.8 * 0.8 of the cases.
    chosen, tokens = selected(result), result["tokens"]
    goes_on = (features["flags"][:, 1:] & 1 == 0) & chosen[:, 1:] & chosen[:, :-1]
    is_mask = tokens == text.vocabulary.mask_id
    both = (is_mask[:, 1:] & is_mask[:, :-1])[goes_on].mean()
    assert abs(both - 0.64) < 3 * np.sqrt(0.64 * 0.36 / goes_on.sum())


def test_budgets_are_filled_in_order_with_skipping():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, (500, 40)).astype(np.int32)
    budgets = rng.integers(0, 120, 500).astype(np.int32)
    taken, left = filled(tensorflow().constant(lengths), tensorflow().constant(budgets))
    for row in range(500):
        expected, rest = [], int(budgets[row])
        for length in lengths[row].tolist():
            fits = 0 < length <= rest
            expected.append(fits)
            rest -= length if fits else 0
        assert taken[row].numpy().tolist() == expected and int(left[row]) == rest
