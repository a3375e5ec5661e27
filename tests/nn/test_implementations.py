"""Other implementations of attention compute what XLA's does."""

import dataclasses
import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from plmjax.models import gpt
from plmjax.nn.implementations import choice, cudnn, splash
from plmjax.train.state import boxed_parameters
from tests.compare import deviations
from tests.nn.attention_cases import CASES, outcome
from tests.requires import need
from tests.training import objective_of, spec_of

ROOT = Path(__file__).parent.parent.parent
QUICK = ("padding", "causal window of segments")


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[] if x in QUICK else pytest.mark.slow) for x in CASES]
)
def test_splash_equals_xla(name):
    """In Pallas' interpreter; on a TPU the same kernel is compiled."""
    case = CASES[name]
    compute = functools.partial(
        splash.mixed, seen=case.seen, settings=case.settings, reach=case.reach, interpret=True
    )
    *arrays, worth = case.arrays()
    found, expected = outcome(compute, worth, *arrays), outcome(case.expected, worth, *arrays)
    assert max(deviations(found, expected).values()) <= 2e-6, deviations(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_what_is_asked_of_cudnn_means_what_it_should(name):
    """By the plain implementation of the function that has cuDNN's as well: there is no GPU."""
    case = dataclasses.replace(CASES[name], length=48, keys=CASES[name].keys and 32)
    compute = functools.partial(
        cudnn.mixed,
        seen=case.seen,
        settings=case.settings,
        reach=case.reach,
        implementation="xla",
    )
    *arrays, worth = case.arrays()
    found, expected = outcome(compute, worth, *arrays), outcome(case.expected, worth, *arrays)
    assert max(deviations(found, expected).values()) <= 2e-6, deviations(found, expected)


def test_a_train_step_lowers_to_cudnn_forward_and_backward(monkeypatch):
    """What XLA for CUDA would be given; that it runs, only a GPU can say."""
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
    gpu = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(choice, "current_device", lambda: gpu)
    config = gpt.Config(
        num_layers=2,
        hidden_size=64,
        num_heads=2,
        mlp_size=64,
        vocab_size=100,
        dtype="bfloat16",
        attention_dropout=0.0,
        attention_implementation="cudnn",
    )
    objective, spec = objective_of("gpt", config), spec_of("gpt", config, 2, 64, 1)
    params = nn.meta.unbox(boxed_parameters(objective, spec))
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}

    def loss(params, batch):
        rngs = {"dropout": jax.random.key(0)}
        rows = jnp.arange(2)
        found = objective.apply({"params": params}, batch, train=rows, rngs=rngs)
        return found.terms["lm"].sum

    traced = jax.jit(jax.grad(loss)).trace(params, batch)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = re.findall(r"@__cudnn\$fmha(\w+)", text)
    assert "ScaleBiasSoftmax" in calls
    assert "ScaleBiasSoftmaxBackward" in calls
    assert text.count("CAUSAL") >= 2


TPU_CASES = [
    "bert / 512 / 1 / {}",
    'gpt / 1024 / 2 / {"sequence": 2}',
    'modernbert / 512 / 2 / {"attention_implementation": "splash"}',
    'bart / 1024 / 1 / {"attention_implementation": "splash"}',
]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(TPU_CASES[:1], id="bert", marks=pytest.mark.slow),
        pytest.param(TPU_CASES[1:], id="split, windows, cross", marks=pytest.mark.slow),
    ],
)
def test_splash_compiles_in_train_steps_for_a_tpu(cases):
    """By the real compiler, with heads and rows split too."""
    need("libtpu", "pip install -r requirements-ci.txt")
    command = [sys.executable, "-m", "tests.parallel.tpu_attention", *cases]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report) == set(cases)
    for case, found in report.items():
        print(case, found)
        assert found["forward"] >= 1, case
        assert found["backward"] == 2 * found["forward"], case  # of queries; of keys and values
        assert found["said"] == [], case
