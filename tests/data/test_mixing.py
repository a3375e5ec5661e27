import time
from fractions import Fraction

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from plmjax.data import mixing
from plmjax.data.mixing import Mixture, Schedule
from plmjax.data.plans import Examples, MixedPlan, Packed, SentencePairs
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, random_split, rows_of

WEIGHTS = st.lists(st.one_of(st.integers(1, 1000), st.floats(0.01, 10)), min_size=1, max_size=12)
ADVERSARIAL = {
    "equal": [1] * 100,
    "one and many": [0.9, *[0.1 / 99] * 99],
    "halves": [0.5**n for n in range(1, 18)],
    "nearly a half twice": [0.499999, 0.499999, 0.000002],
    "golden": [(5**0.5 - 1) / 2, 1 - (5**0.5 - 1) / 2],
    "coprime": [101, 103, 107, 109, 113, 127, 131, 137],
    "steep": [1.1**n for n in range(100)],
    "gpt3": [60, 22, 8, 8, 3],
    "thirds": [1 / 3, 1 / 3, 1 / 3],
    "primes": [p**0.5 for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)],
    "rare": [1, 1e-6 * 1.01],
}


def plain_schedule(schedule, count):
    """Earliest deadline first, one step after the other, in exact fractions."""
    shares = [Fraction(n, schedule._denominator) for n in schedule._numerators.tolist()]
    counts, chosen = [0] * len(shares), []
    for step in range(count):
        deadlines = [
            (-(-(done + 1) // share), source)
            for source, (done, share) in enumerate(zip(counts, shares, strict=True))
            if done // share <= step
        ]
        source = min(deadlines)[1]
        counts[source] += 1
        chosen.append(source)
    return np.array(chosen)


def counts_after(sources, number):
    """int64 [N + 1, K]: counts after n examples."""
    one_hot = sources[:, None] == np.arange(number)
    return np.concatenate([np.zeros((1, number), np.int64), one_hot.cumsum(axis=0)])


@hypothesis.settings(max_examples=40)
@hypothesis.given(WEIGHTS)
def test_is_the_plain_earliest_deadline_first(weights):
    schedule = Schedule(weights)
    expected = plain_schedule(schedule, 400)
    sources, inner = schedule(np.arange(400))
    assert np.array_equal(sources, expected)
    counts = counts_after(expected, len(weights))
    assert np.array_equal(inner, counts[np.arange(400), expected])


@pytest.mark.parametrize("weights", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_counts_stay_within_one_of_the_shares(weights):
    schedule = Schedule(weights)
    true = np.array(weights, np.float64) / sum(weights)
    assert np.abs(schedule.shares - true).max() < 1e-11
    number = 50_000
    counts = counts_after(schedule(np.arange(number))[0], len(weights))
    # Exactly, in integers: |count - n * numerator / denominator| < 1.
    D, W = schedule._denominator, schedule._numerators
    for first in range(0, number + 1, 5000):
        n = np.arange(first, min(first + 5000, number + 1))[:, None]
        difference = (counts[n[:, 0]] * D).astype(object) - n.astype(object) * W.astype(object)
        assert abs(difference).max() < D
    assert np.abs(counts - np.arange(number + 1)[:, None] * true).max() < 1 + 1e-6


@hypothesis.settings(max_examples=60)
@hypothesis.given(WEIGHTS, st.integers(0, 10**12))
def test_counts_stay_within_one_anywhere(weights, n):
    schedule = Schedule(weights)
    hypothesis.assume(schedule.shares.min() > 1e-4)
    counts = schedule.counts(n)
    assert counts.sum() == n
    for count, numerator in zip(counts.tolist(), schedule._numerators.tolist(), strict=True):
        assert abs(count - Fraction(n * numerator, schedule._denominator)) < 1


@pytest.mark.parametrize("weights", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_a_jump_lands_where_following_leads(weights):
    schedule = Schedule(weights)
    number = 2 * mixing._BLOCK + 100
    counts = counts_after(schedule(np.arange(number))[0], len(weights))
    for n in [0, 1, 2, 99, 100, 101, mixing._BLOCK, 2 * mixing._BLOCK, number]:
        assert np.array_equal(Schedule(weights).counts(n), counts[n])
    far = np.arange(mixing._BLOCK - 50, mixing._BLOCK + 50)
    jumped, whole = Schedule(weights)(far), schedule(np.arange(number))
    assert all(np.array_equal(a, b[far]) for a, b in zip(jumped, whole, strict=True))


@pytest.mark.parametrize("weights", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_a_far_jump_agrees_with_the_blocks_before_it(weights):
    block = 10**9 // mixing._BLOCK
    begin = time.process_time()
    schedule = Schedule(weights)
    schedule(np.arange(10**9, 10**9 + 256))
    assert time.process_time() - begin < 2
    followed = Schedule(weights)
    followed._block(block)  # leaves what the next block starts with
    start, counts = followed._ends
    assert start == (block + 1) * mixing._BLOCK
    assert np.array_equal(Schedule(weights).counts(start), counts)


def test_sources_count_their_own_examples_without_a_gap():
    schedule = Schedule([5, 2, 1])
    start = 10**9 + 17
    sources, inner = schedule(np.arange(start, start + 40_000))
    counts = schedule.counts(start)
    for source in range(3):
        own = inner[sources == source]
        assert np.array_equal(own, counts[source] + np.arange(len(own)))


def test_typed_decimals_and_whole_weights_are_exact_shares():
    assert Schedule([0.1, 0.2, 0.7])._denominator == 10
    assert Schedule([60, 22, 8, 8, 3])._denominator == 101
    assert Schedule([2**0.5, 1])._denominator == 1 << 40
    assert Schedule([7])(np.array([0, 5]))[1].tolist() == [0, 5]


def test_temperature_flattens_the_shares():
    sizes = {"en": 1_000_000, "sw": 1_000}
    for alpha in (0.0, 0.3, 0.5, 0.7, 1.0):
        powers = np.array(list(sizes.values()), float) ** alpha
        shares = Mixture(alpha=alpha).schedule(sizes).shares
        assert np.allclose(shares, powers / powers.sum())


def test_weights_are_taken_by_name():
    schedule = Mixture(weights={"b": 1, "a": 3}).schedule({"a": 10, "b": 20})
    assert schedule.shares.tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": 1.5}, r"^alpha=1.5"),
        ({"weights": {"a": 0}}, r"^weights.a=0 is not a weight"),
        ({"weights": {"a": float("nan")}}, r"^weights.a=nan"),
        ({"weights": {"a": 1}, "alpha": 0.5}, r"^alpha=0.5 and weights exclude"),
    ],
)
def test_settings_check_themselves(fields, message):
    with pytest.raises(UserError, match=message):
        Mixture(**fields)


def test_weights_of_other_sources_are_one_line():
    with pytest.raises(
        UserError, match=r"^weights=a, b, c: c is no source of the data; .* of a, b$"
    ):
        Mixture({"a": 1, "b": 1, "c": 1}).schedule({"a": 1, "b": 1})
    with pytest.raises(UserError, match=r"^weights\.b is a share of 1e-08"):
        Mixture({"a": 1, "b": 1e-8}).schedule({"a": 1, "b": 1})


def mixed(seed=0, weights=(3, 2, 1)):
    settings = (SentencePairs(), SentencePairs(dupe_factor=2), SentencePairs())
    layout = settings[0].layout("bert", FakeTokenizer(), 40)
    splits = [random_split(seed=n) for n in range(3)]
    for number, split in enumerate(splits):
        split.name = f"source {number}"
    plans = [s.bind(split, layout, seed) for s, split in zip(settings, splits, strict=True)]
    return MixedPlan(plans, Schedule(weights)), layout


def test_a_mixed_plan_gives_each_source_its_own_examples_in_turn():
    plan, layout = mixed()
    examples = plan.examples(np.arange(600))
    assert np.bincount(examples.sources).tolist() == [300, 200, 100]
    rows = rows_of(examples)
    for source, single in enumerate(plan.plans):
        own = [row[:2] + row[3:] for row in rows if row[2] == source]
        alone = [row[:2] + row[3:] for row in rows_of(single.examples(np.arange(len(own))))]
        assert own == alone
    assert layout.assemble(examples, plan.splits)["tokens"].shape == (600, 40)


def test_a_mixed_plan_is_a_pure_function_of_the_index():
    whole = rows_of(mixed()[0].examples(np.arange(10**8, 10**8 + 64)))
    for hosts in (1, 2, 4, 8):
        parts = [
            rows_of(mixed()[0].examples(10**8 + np.arange(h * 64 // hosts, (h + 1) * 64 // hosts)))
            for h in range(hosts)
        ]
        assert [row for part in parts for row in part] == whole


def test_packed_sources_mix():
    layout = Packed().layout("bert", FakeTokenizer(), 40)
    splits = [random_split(seed=n) for n in range(2)]
    plan = MixedPlan([Packed().bind(s, layout, 0) for s in splits], Schedule([1, 1]))
    examples = plan.examples(np.arange(10))
    assert isinstance(examples, Examples)
    assert layout.assemble(examples, plan.splits)["segment_ids"].max() > 1
