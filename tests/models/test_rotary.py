"""Rotary positions against the formula of Su et al. 2021, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.models import bert, modernbert
from plmjax.nn.positions import rotated
from tests.compare import deviation


@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize(("width", "base"), [(2, 10_000.0), (12, 10_000.0), (64, 500.0)])
def test_pairs_are_points_that_are_turned(width, base, neighbours):
    """A pair is a complex number, times exp(i * place * base^(-2k/K)); places as long rows have."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3, width))
    places, half = np.array([0, 1, 2, 700, 1535]), width // 2
    first = np.arange(half) * 2 if neighbours else np.arange(half)
    second = first + (1 if neighbours else half)
    angle = places[:, None, None] * base ** (-2.0 * np.arange(half) / width)
    turned = (x[..., first] + 1j * x[..., second]) * np.exp(1j * angle)
    expected = np.empty_like(x)
    expected[..., first], expected[..., second] = turned.real, turned.imag
    found = rotated(jnp.asarray(x, jnp.float32), jnp.asarray(places), base, neighbours)
    assert deviation(found, expected) <= 1e-4


@pytest.mark.parametrize("config", [bert.Config, modernbert.Config])
def test_odd_heads_have_no_pairs(config):
    rotary = {"rotary_base": 1e4} if config is bert.Config else {}
    with pytest.raises(UserError, match="head_size=5 have no pairs"):
        config(head_size=5, **rotary)
