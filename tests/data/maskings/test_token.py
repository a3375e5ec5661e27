import numpy as np
import pytest
import scipy.stats

from plmjax.data.counter_random import draw
from plmjax.data.maskings import BertMasking, ElectraMasking, RobertaMasking
from tests.data.maskings.helpers import (
    assert_eighty_ten_ten,
    assert_share,
    is_text,
    run,
    selected,
    shown_at_targets,
    used,
    words_of,
)

L = 128
ROWS = 7000  # of 128 tokens: more than 10**5 targets


@pytest.fixture(scope="module")
def full(english):
    return english.features(ROWS, L)


@pytest.fixture(scope="module")
def mixed(english, lengths):
    return english.features(len(lengths), L, lengths)


@pytest.mark.parametrize("most", [0, 10])
def test_bert_budget(english, mixed, lengths, most):
    result = run(BertMasking(max_predictions=most).bind(english.vocabulary, L), mixed)
    expected = [min(most or L, max(1, round(0.15 * n))) for n in lengths.tolist()]
    assert used(result).sum(1).tolist() == expected
    assert not result["overflow"].any()


def test_bert_shows_eighty_ten_ten_and_every_position_is_as_likely(english, full):
    vocabulary = english.vocabulary
    result = run(BertMasking().bind(vocabulary, L), full)
    ids = np.arange(vocabulary.vocab_size)
    other = assert_eighty_ten_ten(result, vocabulary.mask_id, ids)
    counts = np.bincount(other, minlength=len(ids))[ids != vocabulary.mask_id]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    places = np.bincount(np.nonzero(selected(result))[1], minlength=L)
    candidates = is_text(full)[0]
    assert not places[~candidates].any()
    assert scipy.stats.chisquare(places[candidates]).pvalue > 1e-3


def test_bert_picks_pairs_of_positions_independently(english, full):
    """Neighbours are picked together as often as without replacement they must be."""
    chosen = selected(run(BertMasking().bind(english.vocabulary, L), full))
    n, k = int(is_text(full)[0].sum()), round(0.15 * L)
    expected = k * (k - 1) / (n * (n - 1))
    for distance in (1, 2, 7):
        first, second = chosen[:, :-distance], chosen[:, distance:]
        pairs = is_text(full)[:, :-distance] & is_text(full)[:, distance:]
        assert_share((first & second)[pairs].sum(), pairs.sum(), expected)


def test_roberta_number_and_candidates(english, mixed, lengths):
    """int(0.15 * n + u) of all tokens, <s> and </s> among them."""
    result = run(RobertaMasking().bind(english.vocabulary, L), mixed)
    counts = used(result).sum(1)
    assert ((counts == np.floor(0.15 * lengths)) | (counts == np.floor(0.15 * lengths) + 1)).all()
    assert_share(counts.sum(), lengths.sum(), 0.15)
    more = (counts > np.floor(0.15 * lengths)).sum()
    expected = (0.15 * lengths % 1).sum()
    variance = ((0.15 * lengths % 1) * (1 - 0.15 * lengths % 1)).sum()
    assert abs(more - expected) < 3 * np.sqrt(variance)
    first = selected(result)[:, 0]
    assert_share(first.sum(), len(first), 0.15, least=1500)


def test_roberta_draws_random_tokens_from_text_alone(english, full):
    vocabulary = english.vocabulary
    result = run(RobertaMasking().bind(vocabulary, L), full)
    other = assert_eighty_ten_ten(result, vocabulary.mask_id, vocabulary.text_ids)
    counts = np.bincount(other, minlength=vocabulary.vocab_size)[vocabulary.text_ids]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_roberta_whole_words(english, mixed):
    """Words are picked whole, int(0.15 * words + u) of them, and shown one way each."""
    vocabulary = english.vocabulary
    masking = RobertaMasking(whole_words=True, mask_specials=False, max_predictions=L)
    result = run(masking.bind(vocabulary, L), mixed)
    chosen = selected(result)
    picked_words = words = masked = kept = 0
    for row in range(len(chosen)):
        split = words_of(mixed, row)
        whole = [word for word in split if chosen[row, word].all()]
        assert chosen[row].sum() == sum(map(len, whole))
        assert len(whole) - int(0.15 * len(split)) in (0, 1)
        picked_words, words = picked_words + len(whole), words + len(split)
        for word in whole:
            is_mask = result["tokens"][row, word] == vocabulary.mask_id
            assert is_mask.all() or not is_mask.any()
            masked += is_mask.all()
            kept += (result["tokens"][row, word] == mixed["tokens"][row, word]).all()
    assert_share(picked_words, words, 0.15, least=9 * 10**4)
    assert_share(masked, picked_words, 0.8, least=10**4)
    assert_share(kept, picked_words, 0.1, least=10**4)


@pytest.mark.parametrize("rate", [0.15, 0.25])
def test_electra_is_its_own_program(english, mixed, lengths, rate):
    """Against a plain program with the same draws: positions drawn with replacement."""
    vocabulary = english.vocabulary
    rows = slice(0, 300)
    features = {key: value[rows] for key, value in mixed.items()}
    bound = ElectraMasking(mask_rate=rate).bind(vocabulary, L)
    result = run(bound, features)
    most = int((rate + 0.005) * L)
    assert bound.spec["masked_positions"] == ((most,), np.dtype(np.int32))
    for row, length in enumerate(lengths[rows].tolist()):
        candidates = np.flatnonzero(is_text(features)[row])
        bits = draw(features["seeds"][row : row + 1], "masked positions", most)[0]
        n = max(1, min(most, round(length * rate)))
        drawn = [int(candidates[(int(b) >> 32) * len(candidates) >> 32]) for b in bits[:n]]
        masks = {p for p, b in zip(drawn, bits.tolist(), strict=False) if b % 2**32 < 0.85 * 2**32}
        assert sorted(drawn) == result["masked_positions"][row][used(result)[row]].tolist()
        shown = features["tokens"][row].copy()
        shown[sorted(masks)] = vocabulary.mask_id
        assert np.array_equal(result["tokens"][row], shown)


def test_electra_rates(english, full):
    vocabulary = english.vocabulary
    result = run(ElectraMasking().bind(vocabulary, L), full)
    n = round(0.15 * L)
    assert (used(result).sum(1) == n).all()
    shown, target = shown_at_targets(result)
    assert ((shown == vocabulary.mask_id) | (shown == target)).all()
    candidates = int(is_text(full)[0].sum())
    # Distinct positions of n draws with replacement, of which at least one says [MASK].
    masked = (result["tokens"] == vocabulary.mask_id).sum()
    expected = 1 - (1 - 0.85 / candidates) ** n
    assert_share(masked, candidates * ROWS, expected)
    distinct = selected(result).sum()
    assert_share(distinct, candidates * ROWS, 1 - (1 - 1 / candidates) ** n)
