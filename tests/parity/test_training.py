"""Fifty updates of ours beside fifty of torch's: the loss curves stay together.

The model starts as it is initialised, with biases of 0, where LAMB's trust ratio has its corner.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from plmjax.models.bert import Bert, Config
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.parallel.rules import layer_axes
from plmjax.train import optimizers
from plmjax.train.state import TrainState, boxed_parameters, fresh_state
from plmjax.train.step import means, train_step
from tests.batches import bert_batch, spec
from tests.parity import huggingface_bert as oracle

torch = oracle.torch

STEPS = 50
TOLERANCE = 1e-3
CONFIG = Config(
    vocab_size=201,
    max_positions=24,
    num_layers=2,
    hidden_size=32,
    num_heads=4,
    mlp_size=64,
    hidden_dropout=0.0,
    attention_dropout=0.0,
)
BATCHES = [bert_batch(CONFIG, 8, 20, 5, seed=seed) for seed in range(5)]
ADAMW = optimizers.OptimizerConfig(
    name="adamw", learning_rate=2e-3, schedule="constant", weight_decay=0.01, eps=1e-8
)
LAMB = dataclasses.replace(ADAMW, name="lamb", learning_rate=2e-2, eps=1e-6)


def our_curve(model: Any, config: Config, settings: optimizers.OptimizerConfig) -> list[float]:
    """The loss at each step, from `model`'s weights."""
    objective = BertPretraining(Bert(config))
    batch_spec = spec(BATCHES[0])
    axes = layer_axes(boxed_parameters(objective, batch_spec))
    optimizer = optimizers.build(settings, STEPS, axes)
    params = jax.tree.map(jax.numpy.asarray, oracle.weights(model, config))
    fresh: TrainState = fresh_state(objective, batch_spec, optimizer, seed=0)
    state = fresh.replace(params=params, opt_state=optimizer.init(params))
    step = jax.jit(train_step(objective, optimizer, seed=0, accumulate=1, log_every=1))
    losses = []
    for index in range(STEPS):
        state, metrics = step(state, BATCHES[index % len(BATCHES)])
        losses.append(means(metrics)["loss"])
    return losses


def their_curve(model: Any, update: Callable[[], None]) -> list[float]:
    """The loss at each step; `update` turns clipped gradients into the next weights."""
    losses = []
    for index in range(STEPS):
        model.zero_grad()
        loss = model(**oracle.inputs(BATCHES[index % len(BATCHES)])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW.clip_norm)
        update()
        losses.append(loss.item())
    return losses


class Float64Lamb:
    """You et al. 2020, Algorithm 2 with phi(z) = z, one tensor at a time, in NumPy."""

    def __init__(self, model: Any):
        self.parameters = list(model.parameters())
        self.m = [np.zeros(p.shape) for p in self.parameters]
        self.v = [np.zeros(p.shape) for p in self.parameters]
        self.count = 0

    def __call__(self):
        self.count += 1
        for index, parameter in enumerate(self.parameters):
            weight, grad = parameter.detach().numpy(), parameter.grad.numpy()
            assert weight.dtype == grad.dtype == np.float64
            self.m[index] = LAMB.b1 * self.m[index] + (1 - LAMB.b1) * grad
            self.v[index] = LAMB.b2 * self.v[index] + (1 - LAMB.b2) * grad**2
            m = self.m[index] / (1 - LAMB.b1**self.count)
            v = self.v[index] / (1 - LAMB.b2**self.count)
            update = m / (np.sqrt(v) + LAMB.eps) + LAMB.weight_decay * weight
            norms = np.linalg.norm(weight), np.linalg.norm(update)
            ratio = norms[0] / norms[1] if min(norms) > 0 else 1.0
            step = LAMB.learning_rate * ratio * update
            with torch.no_grad():
                parameter -= torch.from_numpy(step)


def check(name: str, ours: list[float], theirs: list[float]):
    deviations = np.abs(np.array(ours) / np.array(theirs) - 1)
    worst = int(deviations.argmax())
    print(name, f"{theirs[0]:.4f} to {theirs[-1]:.4f}, worst {deviations[worst]:.2e} at {worst}")
    assert deviations[worst] <= TOLERANCE, deviations
    assert theirs[-1] < 0.9 * theirs[0], "the curve has to go somewhere to show anything"


def test_fifty_steps_of_adamw_equal_torch():
    model = oracle.build(CONFIG, seed=0)
    ours = our_curve(model, CONFIG, ADAMW)
    adamw = torch.optim.AdamW(
        model.parameters(),
        lr=ADAMW.learning_rate,
        betas=(ADAMW.b1, ADAMW.b2),
        eps=ADAMW.eps,
        weight_decay=ADAMW.weight_decay,
    )
    check("adamw", ours, their_curve(model, adamw.step))


@pytest.mark.parametrize("scan", [True, False], ids=["scanned", "unscanned"])
def test_fifty_steps_of_lamb_equal_float64_numpy(scan):
    model = oracle.build(CONFIG, seed=0)
    ours = our_curve(model, dataclasses.replace(CONFIG, scan=scan), LAMB)
    model = model.double()
    check(f"lamb, scan {scan}", ours, their_curve(model, Float64Lamb(model)))
