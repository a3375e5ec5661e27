import numpy as np
import pytest
import scipy.stats

from plmjax.data.counter_random import fold, key_of
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.masking import TokenMasking

PAD, CLS, SEP, MASK, VOCABULARY = 0, 2, 3, 4, 1000
EXAMPLES, L = 8000, 128


def masking(rate=0.15, most=20):
    return TokenMasking(rate, most, MASK, (CLS, SEP), VOCABULARY)


def make_examples(examples=EXAMPLES, lengths=None):
    rng = np.random.default_rng(0)
    if lengths is None:
        lengths = rng.integers(5, L + 1, examples)
    place = np.arange(L)[None]
    tokens = rng.integers(5, VOCABULARY, (examples, L)).astype(np.int32)
    tokens[:, 0] = CLS
    middle = lengths // 2
    tokens[(place == middle[:, None]) | (place == lengths[:, None] - 1)] = SEP
    mask = (place < lengths[:, None]).astype(np.int32)
    tokens[mask == 0] = PAD
    seeds = fold(key_of(1), np.arange(examples, dtype=np.uint64))
    return tokens, mask, seeds, lengths


def run(tokens, mask, seeds, transform=None):
    result = (transform or masking())(*map(tensorflow().constant, (tokens, mask, seeds)))
    return {key: value.numpy() for key, value in result.items()}


@pytest.fixture(scope="module")
def masked():
    tokens, mask, seeds, lengths = make_examples()
    return tokens, lengths, run(tokens, mask, seeds)


def test_the_number_of_predictions_follows_the_rule(masked):
    _, lengths, result = masked
    expected = [min(20, max(1, round(0.15 * length))) for length in lengths.tolist()]
    # Five tokens are [CLS] A [SEP] B [SEP]: two candidates, one prediction.
    assert result["masked_weights"].sum(1).tolist() == expected


def test_targets_are_the_original_tokens_and_never_special(masked):
    tokens, _, result = masked
    used = result["masked_weights"] > 0
    original = np.take_along_axis(tokens, result["masked_positions"], 1)
    assert np.array_equal(result["masked_targets"][used], original[used])
    assert not np.isin(result["masked_targets"][used], (PAD, CLS, SEP, MASK)).any()
    assert not result["masked_targets"][~used].any()
    assert not result["masked_positions"][~used].any()


def test_positions_ascend_and_nothing_else_changes(masked):
    tokens, _, result = masked
    used = result["masked_weights"] > 0
    steps = np.diff(result["masked_positions"], axis=1)
    assert (steps[used[:, 1:]] > 0).all()
    picked = np.zeros_like(tokens, bool)
    rows = np.broadcast_to(np.arange(len(tokens))[:, None], used.shape)
    picked[rows[used], result["masked_positions"][used]] = True
    assert np.array_equal(result["tokens"][~picked], tokens[~picked])


def test_eighty_ten_ten_on_a_hundred_thousand_positions():
    tokens, mask, seeds, _ = make_examples(examples=2 * EXAMPLES)
    result = run(tokens, mask, seeds)
    used = result["masked_weights"] > 0
    shown = np.take_along_axis(result["tokens"], result["masked_positions"], 1)[used]
    target = result["masked_targets"][used]
    n = len(shown)
    assert n >= 10**5
    # A random token is [MASK] or the target itself once in VOCABULARY times.
    for share, expected in (
        ((shown == MASK).mean(), 0.8 + 0.1 / VOCABULARY),
        ((shown == target).mean(), 0.1 + 0.1 / VOCABULARY),
        (((shown != target) & (shown != MASK)).mean(), 0.1 - 0.2 / VOCABULARY),
    ):
        assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / n)
    random_ids = shown[(shown != target) & (shown != MASK)]
    counts = np.bincount(random_ids, minlength=VOCABULARY)[np.arange(VOCABULARY) != MASK]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(random_ids, target[(shown != target) & (shown != MASK)])[0, 1]) < 0.05


def test_every_candidate_position_is_picked_equally_often():
    tokens, mask, seeds, _ = make_examples(lengths=np.full(EXAMPLES, L))
    result = run(tokens, mask, seeds)
    used = result["masked_weights"] > 0
    counts = np.bincount(result["masked_positions"][used], minlength=L)
    candidates = np.setdiff1d(np.arange(L), (0, L // 2, L - 1))
    assert not counts[[0, L // 2, L - 1]].any()
    # Drawing without replacement varies less than chi-square expects: test on both sides.
    assert scipy.stats.chisquare(counts[candidates]).pvalue > 1e-4


def test_each_example_depends_on_its_own_seed_alone():
    tokens, mask, seeds, _ = make_examples(examples=64)
    whole = run(tokens, mask, seeds)
    part = run(tokens[10:20], mask[10:20], seeds[10:20])
    assert all(np.array_equal(whole[key][10:20], part[key]) for key in whole)
    other = run(tokens, mask, fold(seeds, np.array(1, np.uint64)))
    assert (whole["masked_positions"] != other["masked_positions"]).any(axis=1).mean() > 0.9


def test_a_rate_of_one_takes_every_candidate():
    tokens, mask, seeds, lengths = make_examples(examples=50)
    result = run(tokens, mask, seeds, masking(rate=1.0, most=L - 1))
    assert np.array_equal(result["masked_weights"].sum(1), lengths - 3)
