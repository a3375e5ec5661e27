import itertools

import numpy as np
import pytest

from plmjax.data.flags import ENTITY, PHRASE, WORD
from plmjax.data.maskings import UnitMasking
from tests.data.maskings.helpers import assert_share, is_text, run, selected, words_of

L = 128
BITS = {"word": WORD, "phrase": PHRASE, "entity": ENTITY}


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("unit", BITS)
def test_units_are_chosen_whole_and_independently(request, unit, language):
    text = request.getfixturevalue(language)
    features = text.features(1200, L)
    result = run(UnitMasking(unit, max_predictions=L).bind(text.vocabulary, L), features)
    chosen, units, picked, together, neighbours = selected(result), 0, 0, 0, 0
    for row in range(1200):
        whole = []
        for words in words_of(features, row, BITS[unit]):
            assert chosen[row, words].all() or not chosen[row, words].any()
            whole.append(bool(chosen[row, words[0]]))
        units, picked = units + len(whole), picked + sum(whole)
        neighbours += len(whole) - 1
        together += sum(a and b for a, b in itertools.pairwise(whole))
    assert_share(picked, units, 0.15, least=4 * 10**4)
    assert_share(together, neighbours, 0.15**2, least=4 * 10**4)


@pytest.mark.parametrize("unit", ["token", "word", "entity"])
def test_eighty_ten_ten_for_each_token(english, unit):
    """For first tokens of units and for the others alike."""
    vocabulary = english.vocabulary
    features = english.features(12000, L)
    result = run(UnitMasking(unit, max_predictions=L).bind(vocabulary, L), features)
    chosen, tokens = selected(result), result["tokens"]
    starts = np.ones_like(chosen) if unit == "token" else features["flags"] & BITS[unit] > 0
    for where, least in ((starts & chosen, 4 * 10**4), (~starts & chosen, 2 * 10**4)):
        if unit == "token" and not where.any():
            continue
        shown, target = tokens[where], features["tokens"][where]
        n = len(shown)
        same = 0.1 / (vocabulary.vocab_size - 1)
        assert_share((shown == vocabulary.mask_id).sum(), n, 0.8 + same, least)
        assert_share((shown == target).sum(), n, 0.1 + same, least)
        assert shown[shown != target].min() >= 1
    assert chosen.sum() > 10**5


def test_tokens_are_the_units_of_the_first_stage(english):
    features = english.features(1200, L)
    result = run(UnitMasking("token").bind(english.vocabulary, L), features)
    assert_share(selected(result).sum(), is_text(features).sum(), 0.15)
    assert not result["overflow"].any()


def test_a_share_of_the_examples_is_masked_by_tokens(english):
    """Rows of one entity, but for [CLS] and [SEP]: by units all or nothing is masked."""
    features = english.features(30000, 16, layout="single")
    features["flags"] &= np.uint8(255 - ENTITY)
    result = run(UnitMasking("entity", unit_share=0.7).bind(english.vocabulary, 16), features)
    counts = selected(result).sum(1) + result["overflow"]
    assert_share((counts == 14).sum(), 30000, 0.7 * 0.15, least=30000)
    by_tokens = 1 - 0.85**14
    assert_share(((counts > 0) & (counts < 14)).sum(), 30000, 0.3 * by_tokens, least=30000)


def test_no_unit_share_is_tokens(english):
    features = english.features(50, L)
    by_share = run(UnitMasking("phrase", unit_share=0).bind(english.vocabulary, L), features)
    by_unit = run(UnitMasking("token").bind(english.vocabulary, L), features)
    assert all(np.array_equal(by_share[key], by_unit[key]) for key in by_unit)
