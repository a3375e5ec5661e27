"""The configs at published scale fit the slices they are meant for, by the real compiler."""

import importlib.util

import pytest

from launch.plan_table import PLANS, planned
from tests.requires import need

ALWAYS = ("configs/bert_lamb.py:large",)
"""Planned in every run; the others, which take as long each, are slow tests."""


@pytest.mark.skipif(importlib.util.find_spec("plmjax.plan") is None, reason="needs plmjax.plan")
@pytest.mark.parametrize(
    ("config", "topology"),
    [pytest.param(*pair, marks=[] if pair[0] in ALWAYS else pytest.mark.slow) for pair in PLANS],
)
def test_a_published_scale_fits(config, topology):
    need("libtpu", "pip install -r requirements-ci.txt")
    figures = planned(config, topology)
    assert figures["fits"], figures["verdict"]
