"""Each optimizer against its published arithmetic in float64, and stacks against lists of layers.

Run with -s to see the worst deviations.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax import settings
from plmjax.errors import UserError
from plmjax.train.optimizers import (
    VARIANTS,
    OptimizerConfig,
    build,
    decay_mask,
    learning_rate,
    trust_mask,
)
from tests.requires import need
from tests.train.trajectories import (
    STEPS,
    deviation,
    each_axis,
    flattened,
    nested,
    stack,
    stack_axes,
    stack_gradients,
    trajectory,
    unrolled,
    unstacked,
)

ADAMS = [name for name, variant in VARIANTS.items() if not variant.factors]
LAMBS = ["lamb", "lamb_google", "lamb_nvidia"]
SPARED = re.compile("bias|norm")  # Google's patterns, for the names below


def weights():
    """A small unscanned model: kernels, biases, norms, a table, and a kernel that starts at 0."""
    rng = np.random.default_rng(0)
    shapes = {
        "dense/kernel": (7, 5),
        "dense/bias": (5,),
        "norm/scale": (5,),
        "norm/bias": (5,),
        "table": (11, 5),
        "output_bias": (11,),
    }
    params = {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}
    params["norm/scale"] += 1
    params["zero/kernel"] = np.zeros((3, 5))
    params["unused/kernel"] = rng.normal(0, 1, (3, 5))
    return {name: value.astype(np.float32) for name, value in params.items()}


def gradients(params, step):
    """Of many sizes; none ever for `unused`, and at some steps only for the table."""
    rng = np.random.default_rng([1, step])
    scales = {name: 10.0 ** (index - 4) for index, name in enumerate(params)}
    grads = {name: rng.normal(0, scales[name], value.shape) for name, value in params.items()}
    grads["unused/kernel"] *= 0
    grads["table"] *= step % 5 != 3
    return {name: grad.astype(np.float32) for name, grad in grads.items()}


def clipped(grads, largest=1.0):
    norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
    return {name: g * min(1.0, largest / norm) for name, g in grads.items()}


def lamb_paper(w, g, m, v, t, decays, decay, eps):
    """You et al. 2020, Algorithm 2; t from 1. All decays, all adapts."""
    del decays, g
    r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + eps)
    step = r + decay * w
    norms = np.linalg.norm(w), np.linalg.norm(step)
    return step * (norms[0] / norms[1] if norms[0] > 0 and norms[1] > 0 else 1.0)


def lamb_google(w, g, m, v, t, decays, decay, eps):
    """google-research/albert lamb_optimizer.py."""
    del g, t
    update = m / (np.sqrt(v) + eps)
    if not decays:
        return update
    update = update + decay * w
    norms = np.linalg.norm(w), np.linalg.norm(update)
    return update * (norms[0] / norms[1] if norms[0] > 0 and norms[1] > 0 else 1.0)


def lamb_nvidia(w, g, m, v, t, decays, decay, eps):
    """huawei-noah NEZHA-TensorFlow optimization.py."""
    mm, vv = m / (1 - 0.9**t), v / (1 - 0.999**t)
    ratio = 1.0
    if np.linalg.norm(w) > 0 and np.linalg.norm(g) > 0:
        ratio = np.linalg.norm(w) / np.linalg.norm(mm / np.sqrt(vv + eps) + decay * w)
    ratio = np.clip(ratio, 0, 10.0)
    update = mm / (np.sqrt(vv) + eps)
    return ratio * (update + decay * w if decays else update)


def stable_adamw(w, g, m, v, t, decays, decay, eps):
    """torch-optimi's, as AnswerDotAI/ModernBERT src/optimizer.py has it; all decays."""
    del decays
    mm, vv = m / (1 - 0.9**t), v / (1 - 0.999**t)
    rms = np.sqrt(np.mean(g**2 / np.maximum(vv, eps**2)))
    return (mm / (np.sqrt(vv) + eps) + decay * w) / max(1.0, rms)


def adamw_google(w, g, m, v, t, decays, decay, eps):
    """google-research/bert optimization.py."""
    del g, t
    return m / (np.sqrt(v) + eps) + (decay * w if decays else 0.0)


def reference(rule, config, params):
    """float64 parameters after each update, by `rule`, on the same gradients."""
    w = {name: value.astype(np.float64) for name, value in params.items()}
    m = {name: np.zeros_like(value) for name, value in w.items()}
    v = {name: np.zeros_like(value) for name, value in w.items()}
    for t in range(STEPS):
        rate = config.learning_rate * (1 - t / STEPS)
        grads = {name: g.astype(np.float64) for name, g in gradients(params, t).items()}
        for name, g in clipped(grads).items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            decays = not SPARED.search(name)
            step = rule(w[name], g, m[name], v[name], t + 1, decays, config.weight_decay, 1e-6)
            w[name] = w[name] - rate * step
        yield dict(w)


def worst_deviation(ours, theirs, label):
    worst = max(deviation(a, b) for a, b in zip(ours, theirs, strict=True))
    print(f"{label}: worst deviation of a parameter over {STEPS} steps {worst:.1e}")
    return worst


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("lamb", lamb_paper),
        ("lamb_google", lamb_google),
        ("lamb_nvidia", lamb_nvidia),
        ("adamw_google", adamw_google),
        ("stable_adamw", stable_adamw),
    ],
)
def test_equals_the_published_arithmetic_at_every_step(name, rule):
    config = OptimizerConfig(name, learning_rate=1e-2, weight_decay=0.1)
    flat = weights()
    params = nested(flat)
    ours = trajectory(config, params, lambda t: nested(gradients(flat, t)), unstacked(params))
    theirs = (nested(w) for w in reference(rule, config, flat))
    assert worst_deviation(ours, theirs, name) < 3e-6


def test_the_variants_differ():
    flat = weights()
    params = nested(flat)
    ends = [
        list(
            trajectory(
                OptimizerConfig(name, learning_rate=1e-2, weight_decay=0.1),
                params,
                lambda t: nested(gradients(flat, t)),
                unstacked(params),
                steps=25,
            )
        )[-1]
        for name in VARIANTS
    ]
    for i, one in enumerate(ends):
        for other in ends[:i]:
            assert deviation(one, other) > 1e-2


def test_lamb_is_optax_lamb_where_nothing_is_stacked():
    flat = weights()
    params = nested(flat)
    config = OptimizerConfig("lamb", 1e-2, schedule="constant", weight_decay=0.1, clip_norm=0.0)
    peer = optax.lamb(1e-2, eps=1e-6, weight_decay=0.1)
    state, theirs = peer.init(params), params
    ours = trajectory(config, params, lambda t: nested(gradients(flat, t)), unstacked(params))
    for t, mine in enumerate(ours):
        updates, state = peer.update(nested(gradients(flat, t)), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        # Optax's own bias correction is 7e-6 off.
        assert deviation(mine, jax.tree.map(np.asarray, theirs)) < 1e-5


def test_adamw_is_torch_adamw():
    torch = need("torch", "-r requirements-ci.txt")
    flat = weights()
    theirs = {name: torch.nn.Parameter(torch.tensor(w)) for name, w in flat.items()}
    adamw = torch.optim.AdamW(
        theirs.values(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1
    )
    config = OptimizerConfig(
        "adamw", 1e-2, schedule="constant", eps=1e-8, weight_decay=0.1, clip_norm=0.0
    )
    params = nested(flat)
    worst = 0.0
    ours = trajectory(config, params, lambda t: nested(gradients(flat, t)), unstacked(params))
    for t, mine in enumerate(ours):
        for name, grad in gradients(flat, t).items():
            theirs[name].grad = torch.tensor(grad)
        adamw.step()
        now = {name: w.detach().numpy().copy() for name, w in theirs.items()}
        worst = max(worst, deviation(mine, nested(now)))
    print(f"adamw: worst deviation from torch over {STEPS} steps {worst:.1e}")
    assert worst < 3e-6


@pytest.mark.parametrize("norm", [0.5, 1e4])
def test_clipping_is_torch_clip_grad_norm(norm):
    torch = need("torch", "-r requirements-ci.txt")
    flat = weights()
    grads = gradients(flat, 0)
    theirs = {name: torch.nn.Parameter(torch.tensor(w)) for name, w in flat.items()}
    for name, grad in grads.items():
        theirs[name].grad = torch.tensor(grad)
    torch.nn.utils.clip_grad_norm_(theirs.values(), norm)
    clip, _ = optax.clip_by_global_norm(norm).update(grads, optax.EmptyState())
    # Torch divides by the norm + 1e-6.
    assert deviation(clip, {name: w.grad.numpy() for name, w in theirs.items()}) < 3e-6


@pytest.mark.parametrize(
    ("name", "clip", "limit"),
    [
        # Bit-identical where measured; the room is for CPUs that sum in another order.
        *((name, 0.0, 3e-7) for name in LAMBS),
        # The global norm sums over other arrays, so its last bit may differ.
        *((name, 1.0, 1e-6) for name in VARIANTS),
    ],
)
def test_a_scanned_stack_steps_as_separate_layers_do(name, clip, limit):
    config = OptimizerConfig(name, learning_rate=1e-2, weight_decay=0.1, clip_norm=clip)
    params = stack()
    separate = unrolled(params)
    scanned = trajectory(config, params, lambda t: stack_gradients(params, t), stack_axes(params))
    listed = trajectory(
        config, separate, lambda t: unrolled(stack_gradients(params, t)), unstacked(separate)
    )
    worst = max(deviation(unrolled(a), b) for a, b in zip(scanned, listed, strict=True))
    print(f"{name}, clip {clip}: scanned and unscanned layers are at most {worst:.1e} apart")
    assert worst <= limit


@pytest.mark.parametrize("name", LAMBS)
def test_without_layer_axes_a_scanned_stack_would_step_differently(name):
    config = OptimizerConfig(name, learning_rate=1e-2, weight_decay=0.1)
    params = stack()
    with_axes, without = (
        list(trajectory(config, params, lambda t: stack_gradients(params, t), axes, steps=5))
        for axes in (stack_axes(params), unstacked(params))
    )
    assert deviation(with_axes[-1], without[-1]) > 1e-2


PATHS = {
    "backbone/layers/attention/query/kernel": True,
    "backbone/layers/attention/query/bias": False,
    "backbone/layers/attention_norm/scale": False,
    "backbone/layers/attention_norm/bias": False,
    "backbone/word_embedding/embedding": True,
    "mlm_head/norm/scale": False,
    "mlm_head/output_bias": False,
    "mlm_head/rescale": True,
    "bias_free/kernel": True,
}


@pytest.mark.parametrize(
    ("name", "decay", "trust"),
    [
        ("adamw", "all", "none"),
        ("stable_adamw", "all", "none"),
        ("adamw_google", "kernels", "none"),
        ("lamb", "all", "all"),
        ("lamb_google", "kernels", "kernels"),
        ("lamb_nvidia", "kernels", "all"),
    ],
)
def test_what_each_variant_spares(name, decay, trust):
    params = nested({path: jax.ShapeDtypeStruct((2,), jnp.float32) for path in PATHS})
    expected = {
        "all": dict.fromkeys(PATHS, True),
        "none": dict.fromkeys(PATHS, False),
        "kernels": PATHS,
    }
    config = OptimizerConfig(name)
    assert flattened(decay_mask(params, config)) == expected[decay]
    assert flattened(trust_mask(params, config)) == expected[trust]


def test_the_config_overrides_what_a_variant_spares():
    params = nested({path: jnp.zeros(2) for path in PATHS})
    config = OptimizerConfig("lamb_google", exclude_from_decay="embedding$", exclude_from_trust="")
    decays = flattened(decay_mask(params, config))
    assert [path for path in decays if not decays[path]] == ["backbone/word_embedding/embedding"]
    assert all(flattened(trust_mask(params, config)).values())


def one_step(config, params, grads):
    return next(trajectory(config, params, lambda t: grads, unstacked(params), steps=1))


def test_excluded_parameters_neither_decay_nor_adapt():
    params = {"a": {"kernel": np.full((2, 2), 4.0), "bias": np.full(2, 4.0)}}
    grads = jax.tree.map(np.zeros_like, params)
    config = OptimizerConfig("lamb_google", 0.1, weight_decay=0.5)
    after = one_step(config, params, grads)["a"]
    np.testing.assert_array_equal(after["bias"], 4.0)
    # The update is the decay alone, scaled to the weights' own norm: w - 0.1 * w.
    np.testing.assert_allclose(after["kernel"], 3.6, rtol=1e-6)
    config = dataclasses.replace(config, exclude_from_trust="kernel")
    np.testing.assert_allclose(one_step(config, params, grads)["a"]["kernel"], 3.8, rtol=1e-6)


def test_the_largest_trust_ratio_can_be_set():
    params = {"kernel": np.full((2, 2), 100.0)}
    grads = {"kernel": np.full((2, 2), 0.1)}
    for name, largest, moved in [
        ("lamb", 0.0, 100.0),
        ("lamb", 5.0, 5.0),
        ("lamb_nvidia", 0.0, 10.0),
        ("lamb_nvidia", float("inf"), 100.0),
    ]:
        config = OptimizerConfig(name, 1.0, weight_decay=0.0, max_trust=largest)
        after = one_step(config, params, grads)
        np.testing.assert_allclose(100 - after["kernel"], moved, rtol=1e-3)


def test_bias_correction_can_be_set():
    params, grads = {"kernel": np.ones((2, 2))}, {"kernel": np.full((2, 2), 0.1)}

    def moved(name, choice):
        config = OptimizerConfig(name, 1.0, weight_decay=0.0, bias_correction=choice)
        return 1 - one_step(config, params, grads)["kernel"]

    np.testing.assert_allclose(moved("adamw", "variant"), 1.0, rtol=1e-3)
    np.testing.assert_allclose(moved("adamw", "off"), 0.1 / np.sqrt(0.001), rtol=1e-3)
    np.testing.assert_array_equal(moved("adamw", "off"), moved("adamw_google", "variant"))
    np.testing.assert_array_equal(moved("adamw_google", "on"), moved("adamw", "variant"))


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_state_is_float32_whatever_the_parameters_are(name):
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), stack())
    axes = stack_axes(params)
    optimizer = build(OptimizerConfig(name), STEPS, axes, each_axis(params, axes))
    state = jax.eval_shape(optimizer.init, params)
    updates, after = jax.eval_shape(optimizer.update, params, state, params)
    assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, after)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim}
    assert kinds == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ADAMS)
def test_the_state_knows_which_of_its_leaves_are_parameters(name):
    # Shardings are laid over the state this way.
    params = stack()
    optimizer = build(OptimizerConfig(name), STEPS, stack_axes(params))
    state = jax.eval_shape(optimizer.init, params)
    marked = optax.tree_map_params(
        optimizer, lambda _: "like", state, transform_non_params=lambda _: "scalar"
    )
    marks = jax.tree.leaves(marked)
    assert marks.count("like") == 2 * len(jax.tree.leaves(params))
    assert all(
        (mark == "like") or leaf.shape == ()
        for mark, leaf in zip(marks, jax.tree.leaves(state), strict=True)
    )


def test_learning_rate_is_the_one_applied():
    config = OptimizerConfig("adamw", 0.5, schedule="bert", warmup_steps=4, weight_decay=0.0)
    rate = learning_rate(config, 10)
    params, grads = {"kernel": np.zeros(3)}, {"kernel": np.full(3, 0.1)}
    path = [0.0]
    for after in trajectory(config, params, lambda t: grads, {"kernel": ()}, steps=10):
        path.append(after["kernel"][0])
    # Under a constant gradient Adam's step is 1.
    np.testing.assert_allclose(-np.diff(path), [rate(t) for t in range(10)], rtol=1e-4, atol=1e-6)


def test_the_config_goes_through_the_command_lines_types():
    config = OptimizerConfig("lamb_nvidia", exclude_from_decay="bias$", warmup_steps=10)
    assert settings.from_config(OptimizerConfig, settings.to_config(config)) == config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "lambda"}, "did you mean 'lamb'"),
        ({"name": "adam_google"}, "did you mean 'adamw_google'"),
        ({"schedule": "brt"}, "config.optimizer.schedule='brt' is unknown; did you mean 'bert'"),
        ({"bias_correction": "yes"}, "bias_correction='yes' is unknown"),
        ({"b2": 1.0}, "optimizer.b2=1.0"),
        ({"eps": 0.0}, "config.optimizer.eps=0.0"),
        ({"weight_decay": -0.1}, "optimizer.weight_decay=-0.1"),
        ({"clip_norm": float("nan")}, "optimizer.clip_norm=nan"),
        (
            {"exclude_from_decay": "LayerNorm"},
            "matches no parameter; some are: .*layers/norm/scale",
        ),
        ({"exclude_from_trust": "LayerNorm"}, "optimizer.exclude_from_trust='LayerNorm'"),
        ({"exclude_from_decay": "(bias"}, "is not a regex"),
        ({"name": "adamw", "max_trust": 10.0}, "'adamw' has none; leave it at 0.0"),
        ({"name": "adamw", "exclude_from_trust": "bias"}, "leave it at 'variant'"),
        (
            {"moments_dtype": "bf16"},
            "moments_dtype='bf16' is unknown; did you mean 'bfloat16'",
        ),
        (
            {"moments_dtype": "bfloat16", "b1": 0.999},
            "'bfloat16' with b1=0.999: .* stands still in bfloat16; give b1 below 0.996",
        ),
        ({"momentum": 0.9}, "momentum is about Adafactor's moments, and 'lamb' has none"),
        ({"min_dim_size_to_factor": 32}, "Adafactor's moments, and 'lamb' .* leave it at 128"),
        ({"name": "adafactor", "b2": 0.9}, "b2 is about Adam's moments, and 'adafactor' has none"),
        ({"name": "adafactor", "bias_correction": "on"}, "about Adam's moments, .* at 'variant'"),
        ({"name": "adafactor", "max_trust": 1.0}, "about LAMB's trust ratio, and 'adafactor'"),
        ({"name": "adafactor", "momentum": 1.0}, "optimizer.momentum=1.0: expected 0 up to 1"),
        ({"name": "adafactor", "min_dim_size_to_factor": 0}, "to_factor=0: expected 1 or more"),
        ({"name": "adafactor", "moments_dtype": "bfloat16"}, "stays in float32; with a momentum"),
        ({"name": "adafactor", "moments_dtype": "bfloat16_first"}, "has no first moment"),
        (
            {"name": "adafactor", "moments_dtype": "bfloat16_first", "momentum": 0.999},
            "with momentum=0.999",
        ),
    ],
)
def test_mistakes_are_one_clear_line(changes, says):
    config = dataclasses.replace(OptimizerConfig(), **changes)
    with pytest.raises(UserError, match=says) as error:
        build(config, STEPS, stack_axes(stack()))
    assert "\n" not in str(error.value)
