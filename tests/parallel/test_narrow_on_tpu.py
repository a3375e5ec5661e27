"""What chips send each other when a step computes with kernels in bfloat16."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requires import need

ROOT = Path(__file__).parent.parent.parent
# Of the model in narrow_on_tpu.py: of heads, of the output of attention, of the feed-forward, of
# the pooler and the head. No other parameters have these shapes.
KERNELS = {"[256,8,32]", "[8,32,256]", "[256,1024]", "[1024,256]", "[256,256]"}
TABLE = "f32[2048,256]"


@pytest.mark.slow
def test_kernels_are_gathered_and_their_gradients_summed_in_bfloat16():
    """fsdp 8, compiled for eight TPU v5e chips."""
    need("libtpu", "pip install -r requirements-ci.txt")
    command = [sys.executable, "-m", "tests.parallel.narrow_on_tpu", "1", "8", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    check(json.loads(done.stdout.splitlines()[-1]))


def check(report: dict[str, dict[str, list[str]]]):
    """The report of narrow_on_tpu.py."""
    narrow = report["bfloat16 bfloat16"]
    assert len(narrow["all-gather"]) > 5
    assert {x.split("[")[0] for x in narrow["all-gather"]} == {"bf16"}
    assert kernels_summed(narrow) == {f"bf16{shape}" for shape in KERNELS}
    # The gradient of a table, of norms and of sums of the loss; of a table it has to be.
    left = {x for x in summed(narrow) if x.startswith("f32") and x.count(",")}
    assert left == {TABLE, "f32[2,256]"}
    # Where the model computes in bfloat16, the compiler narrows float32 kernels before it gathers
    # them; what is moved is the same.
    wide = report["bfloat16 float32"]
    assert {kind: sorted(found) for kind, found in wide.items()} == {
        kind: sorted(found) for kind, found in narrow.items()
    }
    # The control: in float32 the same reductions are seen to be twice as large.
    assert kernels_summed(report["float32 float32"]) == {f"f32{shape}" for shape in KERNELS}


def summed(found: dict[str, list[str]]) -> set[str]:
    return {*found.get("all-reduce", ()), *found.get("reduce-scatter", ())}


def kernels_summed(found: dict[str, list[str]]) -> set[str]:
    return {x for x in summed(found) if x[x.index("[") :] in KERNELS}
