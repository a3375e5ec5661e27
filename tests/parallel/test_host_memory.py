"""Freed memory is kept for the next step: no page is faulted in twice."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys

import numpy as np

from plmjax.parallel.host_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [np.ones(16 << 20, np.uint8) for _ in range(4)]
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del buffers
print(faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator alone")
def test_freed_memory_is_not_faulted_in_again():
    assert faults_of_the_third_round("default") > 64  # or else the test shows nothing
    assert faults_of_the_third_round("kept") < 10


def faults_of_the_third_round(how: str) -> int:
    """Page faults while 64 MiB are allocated and written that were freed just before."""
    command = [sys.executable, "-c", SCRIPT, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
