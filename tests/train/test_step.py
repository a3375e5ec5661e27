"""The train step: accumulation, precision, transfers, and the metrics it sums up."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.models.bert import Bert, Config
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import batch_sharding, layer_axes
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import TrainState, boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import BAD_STEPS, evaluation_step, jit_train_step, means, train_step
from tests.batches import bert_batch, spec
from tests.compare import deviation, deviations, leaves

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
SGD = optax.sgd(1.0)


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    return bert_batch(CONFIG, 8, 20, 6, seed)


@functools.cache
def lamb(config: Config) -> optax.GradientTransformation:
    boxed = boxed_parameters(BertPretraining(Bert(config)), spec(batch()))
    settings = OptimizerConfig(name="lamb", learning_rate=1e-2, schedule="constant")
    return build(settings, 100, layer_axes(boxed))


@functools.cache
def start(config: Config, optimizer: optax.GradientTransformation = SGD) -> TrainState:
    objective = BertPretraining(Bert(config))
    return jax.jit(lambda: fresh_state(objective, spec(batch()), optimizer, seed=0))()


@functools.cache
def stepper(config: Config, optimizer=SGD, *, accumulate=1, log_every=1, seed=0):
    objective = BertPretraining(Bert(config))
    return jax.jit(
        train_step(objective, optimizer, seed=seed, accumulate=accumulate, log_every=log_every)
    )


def sensible(found: dict[str, float]) -> dict[str, float]:
    """Without the keys' bias: softmax does not see it, and its gradient is rounding noise."""
    return {path: value for path, value in found.items() if not path.endswith("key/bias")}


def test_accumulation_equals_the_large_batch():
    """With the learning rate of 1 the update is the gradient itself."""
    state, uneven = start(CONFIG), batch()
    # Microbatch i has rows i, i + n, ...: here the first of each pair has most of the weight, and
    # the second rows of four none at all.
    uneven["masked_weights"][1::2] *= 0.25
    uneven["masked_weights"][1::4] = 0.0
    uneven["label_weights"][3::4] = 0.0
    results = {n: stepper(CONFIG, accumulate=n)(state, uneven) for n in (1, 2, 4)}
    assert results[1][1]["gradient_norm"].sum > 0.1
    for n in (2, 4):
        found = sensible(deviations(results[n][0].params, results[1][0].params))
        print("accumulate", n, "parameters", max(found.items(), key=lambda item: item[1]))
        assert max(found.values()) <= 1e-6, found
        sums = deviations(results[n][1], results[1][1])
        print("accumulate", n, "metrics", max(sums.items(), key=lambda item: item[1]))
        assert max(sums.values()) <= 1e-6, sums
        for name in ("mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"):
            assert results[n][1][name].weight == results[1][1][name].weight


def test_accumulated_means_of_means_would_be_another_update():
    """The control: equal weights for unequal microbatches move far from the large batch."""
    state, uneven = start(CONFIG), batch()
    uneven["masked_weights"][1::2] *= 0.25
    step = stepper(CONFIG)
    whole = step(state, uneven)[0].params
    halves = [step(state, {k: x[i::2] for k, x in uneven.items()})[0].params for i in range(2)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    table = "backbone/token_table/embedding"
    assert deviation(leaves(mean)[table], leaves(whole)[table]) > 1e-3


def test_accumulation_with_lamb_over_steps():
    optimizer = lamb(CONFIG)
    state = {n: start(CONFIG, optimizer) for n in (1, 4)}
    step = {n: stepper(CONFIG, optimizer, accumulate=n) for n in state}
    for index in range(5):
        for n in state:
            state[n], _ = step[n](state[n], batch(index))
    found = sensible(deviations(state[4].params, state[1].params))
    print("lamb, 5 steps", max(found.items(), key=lambda item: item[1]))
    # LAMB divides each element's gradient by its own size, and its rounding with it: where biases
    # have next to none, 1e-7 grows.
    assert max(found.values()) <= 1e-4, found


def test_microbatches_draw_their_own_dropout():
    dropping = dataclasses.replace(CONFIG, hidden_dropout=0.1, attention_dropout=0.1)
    state = start(dropping)
    twice = {name: np.repeat(x[:4], 2, axis=0) for name, x in batch().items()}
    half = {name: x[:4] for name, x in batch().items()}
    accumulated = stepper(dropping, accumulate=2)(state, twice)[1]["loss"].sum
    # Without an index in the key, both microbatches would repeat one and the same mask.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0)
    objective = BertPretraining(Bert(dropping))
    rngs = {"dropout": key}
    apply = jax.jit(functools.partial(objective.apply, train=True))
    loss = apply({"params": state.params}, half, rngs=rngs)
    one = sum(term.value() for term in loss.terms.values())
    assert abs(accumulated - one) > 1e-4


def test_dropout_depends_on_seed_and_step_and_nothing_else():
    dropping = dataclasses.replace(CONFIG, hidden_dropout=0.1, attention_dropout=0.1)
    state = start(dropping)

    def loss(seed: int, step: int) -> float:
        at = state.replace(step=jnp.asarray(step, jnp.int32))
        return float(stepper(dropping, seed=seed)(at, batch())[1]["loss"].sum)

    assert loss(0, 3) == loss(0, 3)
    assert len({loss(0, 3), loss(0, 4), loss(1, 3)}) == 3


def test_bfloat16_computes_and_float32_remembers():
    narrow = dataclasses.replace(CONFIG, dtype="bfloat16")
    optimizer = lamb(narrow)
    objective = BertPretraining(Bert(narrow))
    state = start(narrow, optimizer)

    def loss(params):
        terms = objective.apply({"params": params}, batch(), train=False).terms
        return sum(term.value() for term in terms.values())

    grads = jax.jit(jax.grad(loss))(state.params)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
    encode = functools.partial(objective.apply, method=lambda m, b: m._encode(b, False)[0])
    output = jax.eval_shape(encode, {"params": state.params}, batch())
    assert output.hidden_BLD.dtype == jnp.bfloat16
    curves = {}
    for config in (narrow, CONFIG):
        after = state
        step = stepper(config, optimizer)
        losses = []
        for index in range(5):
            after, metrics = step(after, batch(index))
            losses.append(means(metrics)["loss"])
        for path, leaf in leaves(after).items():
            assert leaf.dtype in (jnp.float32, jnp.int32), path
        assert {leaf.dtype for leaf in jax.tree.leaves(metrics)} == {jnp.dtype("float32")}
        curves[config.dtype] = np.array(losses)
    found = np.abs(curves["bfloat16"] / curves["float32"] - 1)
    print("bfloat16", found)
    assert 0 < found.max() < 0.01


def test_a_step_moves_nothing_between_host_and_device():
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    objective, optimizer = BertPretraining(Bert(CONFIG)), lamb(CONFIG)
    boxed = boxed_parameters(objective, spec(batch()))
    # A copy, because the step gives its state up and other tests share this one.
    state = jax.tree.map(jnp.copy, start(CONFIG, optimizer))
    shardings = state_shardings(state, boxed, optimizer, mesh)
    state = jax.device_put(state, shardings)
    on_device = jax.device_put(batch(), batch_sharding(mesh))
    step = train_step(objective, optimizer, seed=0, accumulate=2, log_every=10)
    step = jit_train_step(step, shardings, batch_sharding(mesh))
    with jax.set_mesh(mesh), jax.transfer_guard("disallow"):
        for _ in range(3):
            state, metrics = step(state, on_device)
        with pytest.raises(Exception, match="isallowed host-to-device"):
            step(state, batch())  # the control: the guard does see a batch left on the host
    assert np.isfinite(means(metrics)["loss"])


def test_nothing_masked_is_a_finite_loss():
    empty = batch()
    empty["masked_weights"][:] = 0.0
    empty["label_weights"][:] = 0.0
    for accumulate in (1, 2):
        state, metrics = stepper(CONFIG, accumulate=accumulate)(start(CONFIG), empty)
        assert means(metrics) == {
            **dict.fromkeys(("loss", "mlm_loss", "mlm_accuracy"), 0.0),
            **dict.fromkeys(("nsp_loss", "nsp_accuracy", "gradient_norm", BAD_STEPS), 0.0),
        }
        kept = jax.device_get((state.params, state.opt_state, state.metrics))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))


def test_log_every_sums_a_window_and_starts_anew():
    window, step_by_step = 3, []
    state, each = start(CONFIG), stepper(CONFIG)
    for index in range(7):
        state, _ = each(state, batch(index))
        step_by_step.append(jax.device_get(state.metrics))
    state, summed = start(CONFIG), stepper(CONFIG, log_every=window)
    for index in range(7):
        state, metrics = summed(state, batch(index))
        first = index // window * window
        parts = step_by_step[first : index + 1]
        expected = jax.tree.map(lambda *xs: sum(xs), *parts)
        for path, value in deviations(state.metrics, expected).items():
            assert value <= 1e-6, (index, path)
        assert metrics["loss"].weight == len(parts)
        del metrics[BAD_STEPS]  # no sum of a window
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state.metrics, metrics))
    assert state.step == 7
    counts = [part["mlm_loss"].weight for part in step_by_step]
    assert len(set(map(float, counts))) > 1, "masked positions must differ to show the weighting"


def test_evaluation_adds_over_parts_of_a_batch():
    step = jax.jit(evaluation_step(BertPretraining(Bert(CONFIG))))

    def evaluate(params, batch):
        loss, left = step(params, batch, {})
        assert left == {}
        return loss

    params, whole = start(CONFIG).params, batch()
    parts = [evaluate(params, {name: x[i : i + 2] for name, x in whole.items()}) for i in (0, 2)]
    parts.append(evaluate(params, {name: x[4:] for name, x in whole.items()}))
    total = parts[0] + parts[1] + parts[2]
    assert max(deviations(total, evaluate(params, whole)).values()) <= 1e-6
