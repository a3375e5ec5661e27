"""Freed memory is kept for the next step: no page is faulted in twice."""

import os
import subprocess
import sys

import pytest

from plmjax.host_memory import computes_on_cpu

SCRIPT = """
import resource
import sys
import threading

sys.argv = sys.argv[1:]
import plmjax
import numpy as np


def count():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        buffers = [np.ones(int(size) << 20, np.uint8) for size in sys.argv[1:]]
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        del buffers
    print(faults)


count()
# As XLA's: a thread of its own, which glibc would give an arena of at most 64 MiB.
thread = threading.Thread(target=count)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator alone")
@pytest.mark.parametrize("sizes", ["16 16 16 16", "80"])
def test_freed_memory_is_not_faulted_in_again(sizes):
    # What is the first argument where `python -m plmjax.main` imports plmjax, and anywhere else.
    assert all(faults > 20 for faults in faults_of_the_third_round("-c", sizes))
    assert all(faults < 10 for faults in faults_of_the_third_round("-m", sizes))


def faults_of_the_third_round(how: str, sizes: str) -> list[int]:
    """Page faults while buffers of MiB are written that were freed just before, by thread."""
    command = [sys.executable, "-c", SCRIPT, how, *sizes.split()]
    said = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=said)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize(("asked", "cpu"), [("cpu", True), ("cpu,tpu", True), ("tpu,cpu", False)])
def test_where_jax_is_told_to_compute(asked, cpu, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    assert computes_on_cpu() == cpu


def test_without_a_word_the_plugins_say_where(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    there = set()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in there else None)
    assert computes_on_cpu()
    there.add("libtpu")
    assert not computes_on_cpu()
