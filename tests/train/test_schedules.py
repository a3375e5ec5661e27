"""Each schedule against its published formula, in float64 NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.errors import UserError
from plmjax.train.clock import TokenClock
from plmjax.train.schedules import _ENDLESS, ScheduleConfig, schedule

PEAK, WARMUP, TOTAL = 1e-4, 100, 1000
STEPS = np.arange(TOTAL + 50)


def bert(t, end=0.0, power=1.0):
    """google-research/bert optimization.py: polynomial_decay, then is_warmup picks."""
    decay = (PEAK - end) * (1 - np.minimum(t, TOTAL) / TOTAL) ** power + end
    is_warmup = (t < WARMUP).astype(np.float64)
    return (1 - is_warmup) * decay + is_warmup * PEAK * t / WARMUP


def nvidia(t, end=0.0, power=1.0):
    """NEZHA-TensorFlow optimization.py: bert() whose decay starts from p / (1-w/T)."""
    adjusted = PEAK / (1 - WARMUP / TOTAL)
    decay = adjusted * (1 - np.minimum(t, TOTAL) / TOTAL)
    return np.where(t < WARMUP, PEAK * t / WARMUP, decay)


def polynomial(t, end=0.0, power=1.0):
    left = (TOTAL - np.minimum(t, TOTAL)) / (TOTAL - WARMUP)
    return np.where(
        t < WARMUP, PEAK * t / WARMUP, (PEAK - end) * np.minimum(left, 1) ** power + end
    )


def electra(t, end=0.0, power=1.0):
    """google-research/electra model/optimization.py."""
    decay = (PEAK - end) * (1 - np.minimum(t, TOTAL) / TOTAL) ** power + end
    return decay * np.minimum(1.0, t / WARMUP)


def cosine(t, end=0.0, power=1.0):
    done = np.clip((t - WARMUP) / (TOTAL - WARMUP), 0, 1)
    decay = end + (PEAK - end) * (1 + np.cos(np.pi * done)) / 2
    return np.where(t < WARMUP, PEAK * t / WARMUP, decay)


def one_minus_sqrt(t, end=0.0, power=1.0):
    """AnswerDotAI/ModernBERT src/scheduler.py, OneMinusSqrtScheduler."""
    done = np.clip((t - WARMUP) / (TOTAL - WARMUP), 0, 1)
    return np.where(t < WARMUP, PEAK * t / WARMUP, (PEAK - end) * (1 - np.sqrt(done)) + end)


def constant(t, end=0.0, power=1.0):
    return PEAK * np.minimum(1.0, t / WARMUP)


def rsqrt(t, end=0.0, power=1.0):
    """mesh_tensorflow learning_rate_schedule_noam, multiplier so that its start is the peak."""
    multiplier = PEAK * np.sqrt(WARMUP)
    return multiplier / np.sqrt(np.maximum(np.minimum(t, TOTAL), WARMUP))


def inverse_sqrt(t, end=0.0, power=1.0):
    """facebookresearch/XLM optim.py, AdamInverseSqrtWithWarmup, with a warmup_init_lr of 0."""
    t = np.minimum(t, TOTAL)
    decay_factor = PEAK * WARMUP**0.5
    return np.where(t < WARMUP, t * (PEAK / WARMUP), decay_factor * np.maximum(t, 1) ** -0.5)


@pytest.mark.parametrize(
    ("name", "formula", "final", "power"),
    [
        ("bert", bert, 0.0, 1.0),
        ("bert", bert, 0.1, 0.5),
        ("linear", polynomial, 0.0, 1.0),
        ("linear", polynomial, 0.1, 1.0),
        ("linear", nvidia, 0.0, 1.0),
        ("polynomial", polynomial, 0.0, 2.0),
        ("polynomial", polynomial, 0.2, 0.5),
        ("electra", electra, 0.0, 1.0),
        ("electra", electra, 0.1, 2.0),
        ("cosine", cosine, 0.0, 1.0),
        ("cosine", cosine, 0.1, 1.0),
        ("one_minus_sqrt", one_minus_sqrt, 0.0, 1.0),
        ("one_minus_sqrt", one_minus_sqrt, 0.1, 1.0),
        ("constant", constant, 0.0, 1.0),
        ("rsqrt", rsqrt, 0.0, 1.0),
        ("inverse_sqrt", inverse_sqrt, 0.0, 1.0),
    ],
)
def test_equals_the_published_formula(name, formula, final, power):
    config = ScheduleConfig(name, PEAK, WARMUP, final_fraction=final, power=power)
    rates = jax.jit(schedule(config, TOTAL))(jnp.asarray(STEPS))
    assert rates.dtype == jnp.float32
    expected = formula(STEPS, final * PEAK, power)
    worst = np.abs(np.asarray(rates, np.float64) - expected).max() / PEAK
    print(f"{name}: worst deviation {worst:.1e} of the peak")
    assert worst < 1e-6, worst


def test_bert_starts_at_zero_and_jumps_at_the_end_of_warmup():
    rate = schedule(ScheduleConfig("bert", PEAK, WARMUP), TOTAL)
    assert rate(0) == 0
    np.testing.assert_allclose(rate(WARMUP - 1), PEAK * 0.99, rtol=1e-6)
    np.testing.assert_allclose(rate(WARMUP), PEAK * (1 - WARMUP / TOTAL), rtol=1e-6)
    assert rate(TOTAL) == 0


@pytest.mark.parametrize("name", ["bert", "linear", "polynomial", "electra", "cosine", "constant"])
def test_without_warmup_the_first_step_has_the_peak(name):
    np.testing.assert_allclose(schedule(ScheduleConfig(name, PEAK), TOTAL)(0), PEAK, rtol=1e-6)


@pytest.mark.parametrize("name", ["bert", "linear", "polynomial", "electra", "cosine", "constant"])
def test_warmup_may_fill_the_run(name):
    rate = schedule(ScheduleConfig(name, PEAK, warmup_steps=10), 10)
    assert np.isfinite([rate(t) for t in range(12)]).all()


def test_t5_had_the_inverse_square_root_of_the_step():
    rate = schedule(ScheduleConfig("rsqrt", 0.01, warmup_steps=10_000), 1_000_000)
    steps = np.array([0, 1, 9_999, 10_000, 10_001, 40_000, 999_999])
    np.testing.assert_allclose(rate(steps), np.maximum(steps, 10_000) ** -0.5, rtol=1e-6)


def test_a_fraction_of_the_run_as_warmup():
    by_fraction = schedule(ScheduleConfig("linear", PEAK, warmup_fraction=0.1), TOTAL)
    by_steps = schedule(ScheduleConfig("linear", PEAK, warmup_steps=100), TOTAL)
    np.testing.assert_array_equal(by_fraction(STEPS), by_steps(STEPS))


def test_a_decay_may_end_before_the_run_and_the_rate_stays():
    """GPT-3's: a cosine to a tenth of the peak, then constant."""
    config = ScheduleConfig("cosine", PEAK, WARMUP, final_fraction=0.1, decay_until=0.8)
    optaxs = optax.warmup_cosine_decay_schedule(0.0, PEAK, WARMUP, 800, 0.1 * PEAK)
    np.testing.assert_allclose(schedule(config, TOTAL)(STEPS), optaxs(STEPS), rtol=1e-5)
    np.testing.assert_allclose(schedule(config, TOTAL)(STEPS[800:]), 0.1 * PEAK, rtol=1e-6)


def test_python_ints_and_traced_steps_give_the_same():
    rate = schedule(ScheduleConfig("bert", PEAK, WARMUP), TOTAL)
    for step in (0, 1, 99, 100, 101, 999):
        assert rate(step) == rate(jnp.int32(step))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "lineer"}, "did you mean 'linear'"),
        ({"warmup_steps": 1001}, "1000 steps of the run"),
        ({"name": "constant", "decay_until": 0.5}, "has no decay"),
        ({"decay_until": 0.0}, "fraction of the run"),
        ({"warmup_steps": 500, "decay_until": 0.4}, "within the 500 steps of warm-up"),
        ({"warmup_steps": -1}, "expected 0 to"),
        ({"warmup_steps": 5, "warmup_fraction": 0.1}, "both given"),
        ({"warmup_fraction": 10.0}, "there is warmup_steps"),
        ({"final_fraction": 1.5}, "fraction of the peak"),
        ({"learning_rate": -1.0}, "negative"),
        ({"power": 0.0}, "more than 0"),
        ({"name": "cosine", "power": 2.0}, "'polynomial' has one"),
        ({"name": "constant", "final_fraction": 0.1}, "does not end"),
        ({"name": "rsqrt", "final_fraction": 0.1, "warmup_steps": 9}, "'rsqrt' does not end"),
        ({"name": "rsqrt"}, "warmup_steps is 0; T5 has 10000"),
    ],
)
def test_mistakes_are_one_clear_line(changes, says):
    config = dataclasses.replace(ScheduleConfig(), **changes)
    with pytest.raises(UserError, match=says) as error:
        schedule(config, TOTAL)
    assert "\n" not in str(error.value)


def test_an_empty_run_is_refused():
    with pytest.raises(UserError, match="0 steps"):
        schedule(ScheduleConfig(), 0)


def gpt3_rate(tokens: float) -> float:
    """Brown et al. 2020, appendix B."""
    if tokens < 375e6:
        return 6e-5 * tokens / 375e6
    share = min((tokens - 375e6) / (260e9 - 375e6), 1.0)
    return 6e-5 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * share)))


def test_gpt3s_schedule_counts_tokens_while_its_batch_grows():
    clock = TokenClock((0, 10_000, 20_000, 110_000), (0, 10**9, 12 * 10**9, 300 * 10**9))
    numbers = {"warmup_tokens": 375_000_000, "decay_tokens": 260_000_000_000}
    config = ScheduleConfig("cosine", 6e-5, final_fraction=0.1, **numbers)
    rate = schedule(config, 110_000, clock=clock)
    for step in (0, 1, 1000, 3749, 3751, 9_999, 15_000, 50_000, 97_000, 110_000, 120_000):
        tokens = np.interp(step, clock.steps, np.array(clock.tokens, np.float64))
        assert float(rate(step)) == pytest.approx(gpt3_rate(tokens), rel=2e-5)
        assert float(jax.jit(rate)(step)) == pytest.approx(gpt3_rate(tokens), rel=2e-5)


@pytest.mark.parametrize(
    "name", ["bert", "linear", "cosine", "electra", "rsqrt", "inverse_sqrt", "constant"]
)
def test_tokens_of_equal_batches_are_steps(name):
    """A clock that ticks 64 tokens a step gives every schedule its own curve again."""
    ends = {} if name in _ENDLESS else {"decay_tokens": 64 * 80}
    part = {} if name in _ENDLESS else {"decay_until": 0.8}
    by_tokens = ScheduleConfig(name, 1e-3, warmup_tokens=64 * 10, **ends)
    by_steps = ScheduleConfig(name, 1e-3, warmup_steps=10, **part)
    clock = TokenClock((0, 100), (0, 6400))
    steps = np.arange(105)
    np.testing.assert_allclose(
        schedule(by_tokens, 100, clock=clock)(steps), schedule(by_steps, 100)(steps), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"warmup_tokens": 10, "warmup_steps": 3}, "warmup_steps=3 and warmup_fraction=0.0 do not"),
        ({"decay_tokens": 50, "decay_until": 0.5}, "decay_until=0.5 and decay_tokens=50 are both"),
        ({"warmup_tokens": 60, "decay_tokens": 50}, "warmup_tokens=60 is more than the 50 tokens"),
        ({"warmup_tokens": 200}, "warmup_tokens=200 is more than the 100 tokens"),
        ({"warmup_tokens": -1}, "warmup_tokens=-1"),
        ({"name": "constant", "decay_tokens": 9}, "'constant' has no decay that ends"),
    ],
)
def test_a_wrong_count_of_tokens_is_one_line(fields, words):
    config = ScheduleConfig(**{"name": "linear", **fields})
    with pytest.raises(UserError) as raised:
        schedule(config, 10, clock=TokenClock((0, 10), (0, 100)))
    assert words in str(raised.value) and "\n" not in str(raised.value)
