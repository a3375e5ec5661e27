"""What an objective hands on from step to step goes with its rows, and no gradient goes through."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.evals.held_out import evaluate
from plmjax.parallel.rules import BATCH
from plmjax.train.carried import boxed_carried, fresh_carried, handing_on, rows_of
from plmjax.train.guard import GuardConfig
from plmjax.train.state import fresh_state
from plmjax.train.step import evaluation_step, train_step
from plmjax.types import Loss, Mean
from tests.batches import spec

ROWS, WIDTH, RATE = 6, 3, 0.1


class Running(nn.Module):
    """The square of a weight times the row and what is left of its row of the batch before."""

    def carried(self, rows: int):
        names = (None, BATCH, None)  # rows are not on the first axis
        zeros = jnp.zeros((2, rows, WIDTH))
        return {"memory": {"sum": nn.LogicallyPartitioned(zeros, names)}}

    def weights(self, batch):
        return {"square": batch["x"].shape[0] * jnp.ones(())}

    @nn.compact
    def __call__(self, batch, *, train):
        del train
        weight = self.param("weight", nn.initializers.ones, (WIDTH,))
        seen = weight * batch["x"]
        before = self.get_variable("memory", "sum")
        if before is not None:
            seen = seen + weight * before[0] + before[1]
            kept = jax.lax.stop_gradient(jnp.stack([seen, 2 * batch["x"]]))
            self.put_variable("memory", "sum", kept)
        count = jnp.asarray(len(seen), jnp.float32)
        return Loss({"square": Mean((seen**2).sum(), count)}, {})


def batches(count, seed=0):
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(ROWS, WIDTH)).astype(np.float32)} for _ in range(count)]


def by_hand(some, steps_apply=True):
    """Weight, memory and losses in float64 NumPy."""
    weight, memory, losses = np.ones(WIDTH), np.zeros((2, ROWS, WIDTH)), []
    for batch in some:
        x = batch["x"].astype(np.float64)
        seen = weight * (x + memory[0]) + memory[1]
        losses.append((seen**2).sum() / ROWS)
        gradient = (2 * seen * (x + memory[0])).sum(0) / ROWS
        memory = np.stack([seen, 2 * x])
        weight = weight - RATE * gradient * steps_apply
    return weight, memory, losses


def trained(some, accumulate, **options):
    objective, optimizer = Running(), optax.sgd(RATE)
    step = train_step(
        *(objective, optimizer), seed=0, accumulate=accumulate, log_every=1, **options
    )
    state = fresh_state(objective, spec(some[0]), optimizer, seed=0)
    losses, step = [], jax.jit(step)
    for batch in some:
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"].sum))
    return state, losses


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_each_row_sees_what_its_row_has_left(accumulate):
    some = batches(4)
    weight, memory, expected = by_hand(some)
    state, losses = trained(some, accumulate)
    np.testing.assert_allclose(state.params["weight"], weight, rtol=1e-5)
    np.testing.assert_allclose(state.carried["memory"]["sum"], memory, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_a_bad_update_leaves_nothing_behind():
    some = batches(3)
    broken = {"x": np.full((ROWS, WIDTH), np.nan, np.float32)}
    state, _ = trained([some[0], broken, *some[1:]], 2, guard=GuardConfig(on_nan="skip"))
    expected, _ = trained(some, 2)
    assert state.step == 4 and expected.step == 3
    for one, other in ((state.params, expected.params), (state.carried, expected.carried)):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), one, other))


def test_an_evaluation_hands_on_from_batch_to_batch():
    some, objective = batches(4), Running()
    params = {"weight": jnp.ones(WIDTH)}
    step = jax.jit(evaluation_step(objective))
    _, _, losses = by_hand(some, steps_apply=False)
    fresh = fresh_carried(objective, spec(some[0]))
    for _ in range(2):  # a second evaluation begins anew
        found = evaluate(handing_on(step, fresh), params, some, lambda batch: batch)
        np.testing.assert_allclose(found["square_loss"], np.mean(losses), rtol=1e-5)


def test_most_objectives_hand_nothing_on():
    assert fresh_carried(nn.Dense(3), spec(batches(1)[0])) == {}
    assert boxed_carried(nn.Dense(3), 2) == {}
    assert rows_of(spec(batches(1)[0])) == ROWS
