"""Batches that grow: their rows against a count token by token, and what is in them."""

import itertools

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig
from plmjax.data.ramp import RampConfig, growing_rows, shape_of, steps_for
from plmjax.errors import UserError
from plmjax.phases import plan_phases, tokens_seen
from tests.data.elastic import Case, Direct, joined
from tests.data.stores import open_stores, write_stores

GPT3_175B = (RampConfig(16, 12_000_000_000, 256), 1536, 2048)
RAMPS = [
    (RampConfig(2, 600), 7, 8),
    (RampConfig(1, 1600, 4), 16, 8),
    (RampConfig(3, 100), 3, 8),
    (RampConfig(1, 30), 40, 16),
    GPT3_175B,
]


@pytest.mark.parametrize(("ramp", "batch_size", "seq_len"), RAMPS)
def test_rows_lie_on_a_line_over_the_tokens_seen(ramp, batch_size, seq_len):
    found = growing_rows(ramp, batch_size, seq_len)
    used = 0
    for step in range(found.steps[-1] + 4):
        line = ramp.rows + (batch_size - ramp.rows) * used * seq_len // ramp.tokens
        assert found.of(step) == min(line, batch_size)
        assert found.before(step) == used
        used += found.of(step)
    for tokens in (seq_len, 7 * seq_len * batch_size, ramp.tokens // 2, 3 * ramp.tokens):
        steps = steps_for(tokens, ramp, batch_size, seq_len)
        assert found.before(steps - 1) * seq_len < tokens <= found.before(steps) * seq_len


def test_without_a_ramp_steps_are_tokens_by_batches():
    assert steps_for(300_000_000_000, RampConfig(), 1536, 2048) == -(-300 * 10**9 // (1536 * 2048))


def test_gpt3_175b_grows_in_four_shapes():
    ramp, batch_size, seq_len = GPT3_175B
    data = DataConfig(seq_len=seq_len, batch_size=batch_size)
    phases = plan_phases(data, {}, 110_000, ramp)
    assert [phase.data.batch_size for phase in phases] == [256, 512, 1024, 1536, 1536]
    assert [phase.growing is None for phase in phases] == [False] * 4 + [True]
    for before, after in itertools.pairwise(phases):
        assert before.last == after.first
        assert before.rows.before(before.last) == after.first_example
    steps, tokens = tokens_seen(phases)
    grown = growing_rows(*GPT3_175B)
    for step in (0, 1, 100, 9_999, grown.steps[-1], 100_000):
        seen = np.interp(step, steps, np.array(tokens, np.float64))
        assert seen == pytest.approx(grown.before(step) * seq_len, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 5, 9, 300])
def test_a_run_may_end_while_its_batch_grows(steps):
    phases = plan_phases(DataConfig(seq_len=8, batch_size=16), {}, steps, RampConfig(1, 1600, 4))
    assert (phases[0].first, phases[-1].last) == (0, steps)
    assert all(before.last == after.first for before, after in itertools.pairwise(phases))
    assert tokens_seen(phases)[0][-1] == steps


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_growing_batches_feed_the_examples_of_a_run_without_a_ramp(tmp_path, hosts):
    write_stores(tmp_path)
    stores, ramp = open_stores(tmp_path), RampConfig(2, 1200, 4)
    case = Case("blocks", "causal", frame="eos", seq_len=24, batch_size=16, seed=4)
    data = case.config(stores)
    phases = plan_phases(data, {}, 20, ramp)
    assert len({phase.data.batch_size for phase in phases}) == 3
    shared, plain = {}, case.input(stores, kind=Direct).shared({})
    wanted = joined(list(plain.batches(0, 20)))
    used = 0
    for phase in phases:
        of_phase = Case("blocks", "causal", frame="eos", seq_len=24, seed=4)
        object.__setattr__(of_phase, "batch_size", phase.data.batch_size)
        parts = [
            of_phase.input(stores, host, hosts, Direct).with_rows(phase.rows).shared(shared)
            for host in range(hosts)
        ]
        for step in range(phase.first, phase.last):
            batch = joined([part.batch(step) for part in parts])
            rows = phase.rows.of(step)
            assert len(batch["tokens"]) == phase.data.batch_size >= rows
            for key, values in batch.items():
                expected = wanted[key][used : used + rows]
                np.testing.assert_array_equal(values[:rows], expected, key)
            assert batch["weights"][:rows].sum() > 0
            assert not batch["weights"][rows:].any()
            used += rows


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rows": -1, "tokens": 5}, "rows=-1 is negative"),
        ({"rows": 4}, "tokens=0 with ramp.rows=4; give the tokens"),
        ({"tokens": -4}, "tokens=-4 with ramp.rows=0; give the tokens"),
        ({"rows": 4, "tokens": 9, "multiple_of": 0}, "multiple_of=0; give 1 or more"),
    ],
)
def test_a_wrong_ramp_is_one_line(fields, words):
    with pytest.raises(UserError) as raised:
        RampConfig(**fields)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_ramp_that_does_not_fit_the_run_is_one_line():
    data = DataConfig(seq_len=8, batch_size=16)
    with pytest.raises(UserError, match=r"^config\.ramp\.rows=17 of the first batch are more"):
        plan_phases(data, {}, 100, RampConfig(17, 100))
    late = {"late": {"start": 10, "seq_len": 16}}
    with pytest.raises(UserError, match=r"^config\.phases\.late begins at step 10, and .* step 46"):
        plan_phases(data, late, 100, RampConfig(1, 1600))
    assert plan_phases(data, {"late": {"start": 50}}, 100, RampConfig(1, 1600))[-1].name == "late"


def test_shapes_double():
    ramp = RampConfig(1, 10, 6)
    assert [shape_of(rows, ramp, 40) for rows in (1, 6, 7, 12, 13, 25, 40)] == [
        *(6, 6, 12, 12, 24, 40, 40)
    ]
