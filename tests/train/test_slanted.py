"""ULMFiT's slanted triangles against equation 3 of Howard & Ruder 2018, in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.train.optimizers import OptimizerConfig, learning_rate
from plmjax.train.schedules import ScheduleConfig, schedule

PEAK = 0.01


def slanted(t: np.ndarray, total: int, cut_frac: float = 0.1, ratio: float = 32) -> np.ndarray:
    cut = np.floor(total * cut_frac)
    falling = 1 - (t - cut) / (cut * (1 / cut_frac - 1))
    p = np.where(t < cut, t / cut, falling)
    return PEAK * (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(("total", "cut_frac", "ratio"), [(1000, 0.1, 32), (240, 0.25, 8)])
def test_rates_are_those_of_the_paper(total, cut_frac, ratio):
    config = ScheduleConfig("slanted", PEAK, warmup_fraction=cut_frac, final_fraction=1 / ratio)
    steps = np.arange(total + 1)
    rates = np.asarray(jax.jit(schedule(config, total))(jnp.asarray(steps)), np.float64)
    np.testing.assert_allclose(rates, slanted(steps, total, cut_frac, ratio), rtol=2e-6)
    assert rates.argmax() == total * cut_frac
    # Where the run is over it goes no further down.
    assert float(schedule(config, total)(total + 50)) == pytest.approx(PEAK / ratio)


def test_optimizers_have_it_by_name():
    config = OptimizerConfig(
        name="adamw",
        schedule="slanted",
        learning_rate=PEAK,
        warmup_fraction=0.1,
        final_fraction=1 / 32,
    )
    rate = learning_rate(config, 1000)
    found = [float(rate(step)) for step in (0, 50, 100, 550, 1000)]
    np.testing.assert_allclose(found, slanted(np.array([0, 50, 100, 550, 1000]), 1000), rtol=2e-6)


def test_a_triangle_has_two_sides():
    with pytest.raises(UserError, match=r"warmup_steps is 0; ULMFiT has warmup_fraction=0\.1"):
        schedule(ScheduleConfig("slanted", PEAK, final_fraction=1 / 32), 1000)
