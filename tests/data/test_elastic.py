"""The same bytes whoever reads them: any number of hosts, in order or by jumping, after a restart.

Plan x masking x mixture, with settings, seeds and steps drawn by hypothesis.
"""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmjax.data.maskings import MASKINGS
from plmjax.data.plans import PLANS
from tests.data.elastic import (
    COMBINATIONS,
    MIXTURES,
    Case,
    Direct,
    digest,
    frames_of,
    joined,
    plan_changes,
)

HOSTS = (8, 2, 4)
STEPS = st.one_of(st.integers(0, 60), st.integers(0, 10**6), st.integers(10**6, 10**9))
SEEDS = st.integers(0, 2**40)
# Odd: rows do not fill the registers of vector instructions evenly.
LENGTHS = st.sampled_from((47, 29))
NO_LIMIT = st.just(0)
WITH_SLOTS = {
    name
    for name, masking in MASKINGS.items()
    if "max_predictions" in {field.name for field in dataclasses.fields(masking)}
}
_FUNCTIONS: dict = {}


@st.composite
def cases(draw, plan, masking, mixture="one", lengths=LENGTHS, few=NO_LIMIT):
    fields = {"max_predictions": draw(few)} if masking in WITH_SLOTS else {}
    return Case(
        plan,
        masking,
        mixture,
        frame=draw(st.sampled_from(frames_of(plan))),
        seq_len=draw(lengths),
        batch_size=draw(st.sampled_from((16, 8, 24))),
        seed=draw(SEEDS),
        step=draw(STEPS),
        plan_changes=draw(st.sampled_from(plan_changes(plan, masking))),
        masking_changes=fields,
    )


def opened(case, stores, host=0, hosts=1, **more):
    return case.input(stores, host, hosts, Direct, **more).shared(_FUNCTIONS)


def same(a, b):
    return a.keys() == b.keys() and all(
        (a[key].dtype, a[key].shape, a[key].tobytes())
        == (b[key].dtype, b[key].shape, b[key].tobytes())
        for key in a
    )


def by_hosts(case, stores, hosts):
    """The case's global batch, each host jumping to it with an input of its own."""
    return joined([opened(case, stores, host, hosts).batch(case.step) for host in range(hosts)])


def in_order(case, stores, before):
    """The case's batch, reached from `before` steps earlier; its form is checked."""
    source = opened(case, stores)
    *_, batch = source.batches(max(0, case.step - before), case.step + 1)
    assert {key: (x.shape, x.dtype) for key, x in batch.items()} == source.spec
    return batch


FEW = COMBINATIONS[2::5]
"""With every plan and every masking in it; the slow tests have them all."""


def test_few_combinations_have_every_plan_and_every_masking():
    assert [{pair[i] for pair in FEW} for i in (0, 1)] == [set(PLANS), set(MASKINGS)]


@pytest.mark.parametrize("plan, masking", FEW)
@settings(max_examples=2)
@given(data=st.data())
def test_any_number_of_hosts_reads_the_same_batch_in_order_or_by_jumping(
    stores, plan, masking, data
):
    case = data.draw(cases(plan, masking, data.draw(st.sampled_from(MIXTURES))))
    hosts = data.draw(st.sampled_from(HOSTS))
    assert same(by_hosts(case, stores, hosts), in_order(case, stores, 1)), case


# Each with a mixture, so that every plan and every masking meets every mixture.
MIXED = [
    (plan, masking, MIXTURES[(list(PLANS).index(plan) + list(MASKINGS).index(masking)) % 3])
    for plan, masking in COMBINATIONS
]


@pytest.mark.slow
@pytest.mark.parametrize("plan, masking, mixture", MIXED)
@settings(max_examples=3)
@given(data=st.data())
def test_every_number_of_hosts_reads_the_same_batch(stores, plan, masking, mixture, data):
    lengths, few = st.sampled_from((47, 24, 61)), st.sampled_from((3, 0))
    case = data.draw(cases(plan, masking, mixture, lengths, few))
    whole = in_order(case, stores, 2)
    for hosts in (1, *HOSTS):
        assert same(by_hosts(case, stores, hosts), whole), hosts


@pytest.mark.parametrize("masking", MASKINGS)
@settings(max_examples=1)
@given(data=st.data())
def test_tensorflows_pipeline_changes_nothing(stores, masking, data):
    """What the other tests leave out: tf.data, and maskings traced for each host by itself."""
    plans = [plan for plan, name in COMBINATIONS if name == masking]
    plan, mixture = data.draw(st.sampled_from(plans)), data.draw(st.sampled_from(MIXTURES))
    case = data.draw(cases(plan, masking, mixture))
    hosts = data.draw(st.sampled_from(HOSTS))
    host = data.draw(st.integers(0, hosts - 1))
    whole = list(opened(case, stores).batches(case.step, case.step + 3))
    parts = case.input(stores, host, hosts).batches(case.step, case.step + 3)
    for part, batch in zip(parts, whole, strict=True):
        assert same(part, case.part(batch, host, hosts))
    assert same(case.input(stores).batch(case.step + 2), whole[2])


def plans_mixed(plans):
    """Each plan with one of the mixtures; with the others among the slow tests."""
    return [
        pytest.param(plan, mixture, marks=() if number % 3 == place else pytest.mark.slow)
        for number, plan in enumerate(plans)
        for place, mixture in enumerate(MIXTURES)
    ]


@pytest.mark.parametrize("plan, mixture", plans_mixed(PLANS))
def test_reading_on_over_several_epochs_equals_jumping(stores, plan, mixture):
    case = Case(plan, "token", mixture, frames_of(plan)[0], 48, 16, seed=5)
    source = opened(case, stores)
    last = 3 * sum(source.epoch_sizes().values()) // case.batch_size + 2
    read = list(source.batches(0, last))
    assert len({digest(batch) for batch in read}) == last
    for step in {0, 1, last // 3 - 1, last // 3, last // 3 + 1, last // 2, last - 1}:
        assert same(opened(case, stores).batch(step), read[step]), step
    backwards = opened(case, stores)
    for step in range(last - 1, 0, -5):
        assert same(backwards.batch(step), read[step]), step
    assert not same(opened(dataclasses.replace(case, seed=6), stores).batch(0), read[0])


@pytest.mark.slow
def test_another_process_reads_the_same(stores, stores_folder):
    """Another hash seed, another order of everything that has none."""
    rng = np.random.default_rng(0)
    maskings = list(MASKINGS)
    pairs = [(plan, maskings[number % len(maskings)]) for number, plan in enumerate(PLANS)]
    pairs += [("blocks", masking) for masking in maskings[len(PLANS) :]]
    listed = [
        Case(
            plan,
            masking if (plan, masking) in COMBINATIONS else "prefix",
            MIXTURES[number % 3],
            frames_of(plan)[0],
            seq_len=33,
            seed=int(rng.integers(1 << 40)),
            step=int(rng.integers(2 * 10**6)),
        )
        for number, (plan, masking) in enumerate(pairs)
    ]
    here = [digest(opened(case, stores).batch(case.step)) for case in listed]
    there = subprocess.run(
        [sys.executable, "-m", "tests.data.elastic", str(stores_folder)],
        input=json.dumps([dataclasses.asdict(case) for case in listed]),
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
    )
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout.splitlines()[-1]) == here


def phases_of(first, changes, steps):
    """Cases of phases as `Input` is given them: (case, first step, first example)."""
    phases, case, step, example = [], first, 0, 0
    for change, count in zip(({}, *changes), steps, strict=True):
        case = dataclasses.replace(case, **change)
        phases.append((case, step, example))
        step, example = step + count, example + count * case.batch_size
    return phases


def phase_at(phases, step):
    return next(phase for phase in reversed(phases) if phase[1] <= step)


def whole_at(phases, stores, step, hosts=1):
    case, first_step, first_example = phase_at(phases, step)
    start = {"first_step": first_step, "first_example": first_example}
    parts = [opened(case, stores, host, hosts, **start) for host in range(hosts)]
    return joined([part.batch(step) for part in parts])


# Where rows go on from batch to batch, each of another number of rows is of other streams.
SHUFFLED = [name for name, plan in PLANS.items() if not hasattr(plan, "contiguous")]


@pytest.mark.parametrize("plan, mixture", plans_mixed(SHUFFLED))
@settings(max_examples=2)
@given(data=st.data())
def test_a_batch_ramp_feeds_the_examples_of_a_run_without_one(stores, plan, mixture, data):
    masking = data.draw(st.sampled_from([name for of, name in COMBINATIONS if of == plan]))
    case = dataclasses.replace(data.draw(cases(plan, masking, mixture)), batch_size=8)
    steps = [data.draw(st.integers(1, 6)) for _ in range(3)]
    phases = phases_of(case, ({"batch_size": 16}, {"batch_size": 32}), steps)
    ramp = joined([whole_at(phases, stores, step) for step in range(sum(steps))])
    count = steps[0] + 2 * steps[1] + 4 * steps[2]
    plain = joined(list(opened(case, stores).batches(0, count)))
    assert same(ramp, plain)


@pytest.mark.parametrize("plan", PLANS)
@settings(max_examples=1)
@given(data=st.data())
def test_hosts_read_the_same_on_both_sides_of_a_change_of_everything(stores, plan, data):
    mixture = data.draw(st.sampled_from(MIXTURES))
    before = data.draw(cases(plan, "token", mixture))
    others = [name for name in PLANS if (name == "translation") == (plan == "translation")]
    after = data.draw(cases(data.draw(st.sampled_from(others)), "whole_word", mixture))
    change = dataclasses.asdict(after) | {"batch_size": 16, "seq_len": 61, "seed": before.seed}
    at = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 10**6)))
    phases = phases_of(before, (change,), (at, 9))
    hosts = data.draw(st.sampled_from(HOSTS))
    for step in (at - 1, at, at + 1, at + 8):
        batch = whole_at(phases, stores, step, hosts)
        assert same(batch, whole_at(phases, stores, step)), step
        case = phase_at(phases, step)[0]
        assert len(batch["tokens"]) == case.batch_size
    second, first_step, first_example = phases[1]
    source = opened(second, stores, first_step=first_step, first_example=first_example)
    read = list(source.batches(at, at + 9))
    assert same(read[8], whole_at(phases, stores, at + 8, hosts))


@pytest.mark.parametrize("mixture", ("weights", "alpha"))
@pytest.mark.parametrize("plan", ("sentence_pairs", "packed", "translation"))
@settings(max_examples=4)
@given(data=st.data())
def test_each_source_is_within_one_of_its_share_after_any_number_of_examples(
    stores, plan, mixture, data
):
    case = data.draw(cases(plan, "token", mixture))
    source = opened(case, stores)
    shares = np.array(list(source.shares.values()))
    assert list(source.shares) == list(case.splits(stores))
    assert shares.sum() == pytest.approx(1)
    steps = 3 * sum(source.epoch_sizes().values()) // case.batch_size
    drawn = np.concatenate([source.examples(step).sources for step in range(steps)])
    counts = np.cumsum(drawn[:, None] == np.arange(len(shares)), axis=0)
    wanted = np.arange(1, len(drawn) + 1)[:, None] * shares
    assert np.abs(counts - wanted).max() < 1
    sizes = np.array([split.tokens for split in case.splits(stores).values()])
    roots = np.array([5, 2.5, 0.75]) if mixture == "weights" else np.sqrt(sizes)
    assert shares == pytest.approx(roots / roots.sum())
