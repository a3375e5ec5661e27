"""A mesh changes where a model is, and not how likely it finds a text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = ("gpt / data 2, tensor 2, sequence 2", "t5 / fsdp 4, tensor 2", "bert / fsdp 8")


@pytest.mark.slow
def test_scores_on_eight_devices_are_those_of_one():
    command = [sys.executable, "-m", "tests.parallel.scoring_on_eight", *CASES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report) == set(CASES) and max(report.values()) <= 1e-4, report
