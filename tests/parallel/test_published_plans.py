"""The configs at published scale fit the slices they are meant for, by the real compiler.

  pytest -m plans tests/parallel/test_published_plans.py

plans all of them, one to four minutes each; CI plans the largest.
"""

import pytest

from launch.published_plans import PLANS, planned
from tests.requires import need

IN_CI = ("configs/gpt.py:gpt3-175b",)


@pytest.mark.parametrize(
    ("config", "topology"),
    [
        pytest.param(*pair, marks=pytest.mark.slow if pair[0] in IN_CI else pytest.mark.plans)
        for pair in PLANS
    ],
)
def test_a_published_scale_fits(config, topology):
    need("libtpu", "pip install -r requirements-ci.txt")
    figures = planned(config, topology)
    assert figures["fits"], figures["verdict"]
