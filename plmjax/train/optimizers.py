"""Optimizers under the names of the codes whose arithmetic they repeat: AdamW and LAMB."""

import dataclasses
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from plmjax import settings
from plmjax.errors import UserError
from plmjax.train import schedules

NORMS_AND_BIASES = r"(^|/)(\w*bias|scale)$"
"""Matches every bias (`.../bias`, `output_bias`) and every norm's gain (Flax calls it `scale`)."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer, its learning rate over time, and what each parameter is spared.

    `name` fixes the arithmetic; `VARIANTS` has what goes with each. All take lr*(update), clip the
    whole gradient's norm first, and decouple the decay from the moments:
      `adamw`: Loshchilov & Hutter 2019 as torch.optim.AdamW and optax.adamw have it. Bias-corrected
        moments; every parameter decays. Torch's own eps is 1e-8 and Google's 1e-6.
      `adamw_google`: google-research/bert optimization.py, also ALBERT's, ELECTRA's and XLNet's.
        No bias correction; m/(sqrt(v)+eps); norms and biases do not decay.
      `lamb`: You et al. 2020 (arXiv 1904.00962), Algorithm 2, with phi(z) = z; equals optax.lamb.
        Bias correction; every parameter decays and is adapted by |w|/|update|. NVIDIA's current
        code is this with `exclude_from_decay` set to norms and biases.
      `lamb_google`: google-research/albert lamb_optimizer.py. No bias correction; norms and biases
        neither decay nor are adapted.
      `lamb_nvidia`: NVIDIA's first version, as in huawei-noah NEZHA-TensorFlow optimization.py.
        Bias correction; the ratio |w|/|m/sqrt(v+eps)+decay*w| is cut to 10, adapts everything and
        counts everything as decaying; the step is m/(sqrt(v)+eps) and does not decay norms and
        biases.

    Attributes:
      name: one of the above.
      learning_rate: the peak of the schedule.
      schedule: the name of one of `schedules.ScheduleConfig`, which explains the next five.
      warmup_steps: in steps.
      warmup_fraction: as a fraction of the run, instead of `warmup_steps`.
      final_fraction: the last learning rate as a fraction of the peak.
      power: the exponent of a polynomial decay.
      decay_until: where the decay ends, as a fraction of the run.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to sqrt(v).
      weight_decay: times the learning rate (and LAMB's ratio).
      clip_norm: the largest global norm of the gradient; 0 does not clip.
      bias_correction: `variant` as the named code does, `on`, or `off`.
      exclude_from_decay: a regex searched for in a parameter's path, its names joined by '/':
        `backbone/layers/attention/query/kernel`. Those found do not decay. `variant`: as the named
        code does; empty: every parameter decays.
      exclude_from_trust: the same for LAMB's ratio; those found are stepped as AdamW's would be.
      max_trust: the largest trust ratio; 0: as the named code has it; `inf` does not cut.
    """

    name: str = "lamb"
    learning_rate: float = 1e-3
    schedule: str = "linear"
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    final_fraction: float = 0.0
    power: float = 1.0
    decay_until: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    bias_correction: str = "variant"
    exclude_from_decay: str = "variant"
    exclude_from_trust: str = "variant"
    max_trust: float = 0.0


@dataclasses.dataclass(frozen=True)
class Variant:
    """What a published optimizer fixes besides its numbers; the regexes as in OptimizerConfig."""

    bias_correction: bool
    exclude_from_decay: str
    adapts: bool = True
    exclude_from_trust: str = ""
    max_trust: float = math.inf
    nvidia_norm: bool = False


VARIANTS: Mapping[str, Variant] = types.MappingProxyType(
    {
        "adamw": Variant(True, "", adapts=False),
        "adamw_google": Variant(False, NORMS_AND_BIASES, adapts=False),
        "lamb": Variant(True, ""),
        "lamb_google": Variant(False, NORMS_AND_BIASES, exclude_from_trust=NORMS_AND_BIASES),
        "lamb_nvidia": Variant(True, NORMS_AND_BIASES, max_trust=10.0, nvidia_norm=True),
    }
)


def build(
    config: OptimizerConfig, total_steps: int, layer_axes: Any
) -> optax.GradientTransformation:
    """The optimizer as one optax transformation, its learning rate applied.

    `update` needs the parameters. Moments and updates are float32 whatever the dtype of the
    parameters and gradients; `optax.apply_updates` returns to the parameters' dtype. The update
    that takes step t to t+1 uses `learning_rate(config, total_steps)(t)`.

    Args:
      config: which one, and its numbers.
      total_steps: updates in the whole run, for the schedule.
      layer_axes: a pytree of the parameters' structure; per parameter the tuple of its axes that
        stack layers: (0,) under a scanned stack, () elsewhere. LAMB's ratio is taken apart for
        each index of those axes, so that a scanned stack moves as separate layers would.

    Raises:
      UserError: for an unknown name, a number out of range, a setting the variant has no use for,
        or an exclusion that no parameter's path matches.
    """
    variant = _resolve(config)
    _check_matches(layer_axes, config)
    decayed = _unmatched(layer_axes, variant.exclude_from_decay)
    adapted = _unmatched(layer_axes, variant.exclude_from_trust)
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    if variant.nvidia_norm:
        steps = [_nvidia_lamb(config, variant, layer_axes, decayed, adapted)]
    else:
        steps = [_adam(config, variant), optax.add_decayed_weights(config.weight_decay, decayed)]
        if variant.adapts:
            steps.append(_trust_ratio(layer_axes, adapted, variant.max_trust))
    rate = optax.scale_by_learning_rate(learning_rate(config, total_steps))
    return _in_float32(optax.chain(clip, *steps, rate))


def learning_rate(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """The learning rate at a step: `schedules.schedule` of the config's fields of that name."""
    names = {field.name for field in dataclasses.fields(schedules.ScheduleConfig)} - {"name"}
    numbers = {name: getattr(config, name) for name in names}
    schedule_config = schedules.ScheduleConfig(name=config.schedule, **numbers)
    return schedules.schedule(schedule_config, total_steps, "config.optimizer.schedule")


def decay_mask(params: Any, config: OptimizerConfig) -> Any:
    """A pytree of bools, True where the parameter decays.

    Args:
      params: arrays or ShapeDtypeStructs; only their paths are looked at.
      config: `exclude_from_decay`, and `name` for the variant's own exclusions.

    Raises:
      UserError: as `build` does.
    """
    _check_matches(params, config)
    return _unmatched(params, _resolve(config).exclude_from_decay)


def trust_mask(params: Any, config: OptimizerConfig) -> Any:
    """A pytree of bools, True where LAMB's trust ratio applies; see `decay_mask`."""
    variant = _resolve(config)
    _check_matches(params, config)
    if not variant.adapts:
        return jax.tree.map(lambda _: False, params, is_leaf=_is_axes)
    return _unmatched(params, variant.exclude_from_trust)


def _resolve(config: OptimizerConfig) -> Variant:
    """The named variant with what the config overrides."""
    variant = settings.choose(config.name, VARIANTS, "config.optimizer.name")
    _check_numbers(config)
    correct = {"variant": variant.bias_correction, "on": True, "off": False}
    overrides = {
        "bias_correction": settings.choose(
            config.bias_correction, correct, "config.optimizer.bias_correction"
        )
    }
    if config.exclude_from_decay != "variant":
        overrides["exclude_from_decay"] = config.exclude_from_decay
    if config.exclude_from_trust != "variant":
        overrides["exclude_from_trust"] = config.exclude_from_trust
    if config.max_trust:
        overrides["max_trust"] = config.max_trust
    for name in ("exclude_from_trust", "max_trust"):
        if name in overrides and not variant.adapts:
            raise UserError(
                f"config.optimizer.{name} is about LAMB's trust ratio, and '{config.name}' has"
                f" none; leave it at {getattr(OptimizerConfig, name)!r}"
            )
    return dataclasses.replace(variant, **overrides)


def _check_numbers(config: OptimizerConfig) -> None:
    for name in ("b1", "b2"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(
                f"config.optimizer.{name}={getattr(config, name)}: expected 0 up to 1, not 1"
            )
    for name in ("weight_decay", "clip_norm", "max_trust"):
        if not getattr(config, name) >= 0:
            raise UserError(f"config.optimizer.{name}={getattr(config, name)}: expected 0 or more")
    if not config.eps > 0:
        raise UserError(f"config.optimizer.eps={config.eps}: expected more than 0, such as 1e-6")


def _check_matches(tree: Any, config: OptimizerConfig) -> None:
    """Refuses a regex of the user's that excludes nothing: a typo would silently decay norms."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_axes)
    paths = [_path(keys) for keys, _ in leaves]
    for name in ("exclude_from_decay", "exclude_from_trust"):
        pattern = getattr(config, name)
        if pattern in ("", "variant"):
            continue
        try:
            matched = any(re.search(pattern, path) for path in paths)
        except re.error as error:
            raise UserError(
                f"config.optimizer.{name}='{pattern}' is not a regex: {error}"
            ) from None
        if not matched:
            some = ", ".join(paths[:: max(1, len(paths) // 4)][:5])
            raise UserError(
                f"config.optimizer.{name}='{pattern}' matches no parameter; some are: {some}"
            )


def _is_axes(leaf: Any) -> bool:
    return isinstance(leaf, tuple)


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _unmatched(tree: Any, pattern: str) -> Any:
    """Per leaf of `tree` (arrays, or tuples of axes): whether `pattern` spares its path."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, _: not (pattern and re.search(pattern, _path(keys))), tree, is_leaf=_is_axes
    )


def _adam(config: OptimizerConfig, variant: Variant) -> optax.GradientTransformation:
    """m/(sqrt(v)+eps), with or without bias correction; the state is optax.scale_by_adam's."""

    def update(grads, state, params=None):
        del params
        m, v, state = _moments(grads, state, config, variant.bias_correction)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + config.eps), m, v), state

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def _moments(
    grads: Any, state: optax.ScaleByAdamState, config: OptimizerConfig, bias_correction: bool
) -> tuple[Any, Any, optax.ScaleByAdamState]:
    """Adam's m and v after `grads`, corrected if asked, and the new state (never corrected)."""
    count = optax.safe_increment(state.count)
    m = optax.tree.update_moment(grads, state.mu, config.b1, 1)
    v = optax.tree.update_moment(grads, state.nu, config.b2, 2)
    state = optax.ScaleByAdamState(count, m, v)
    if bias_correction:
        m = optax.tree.scale(1 / _one_minus_power(config.b1, count), m)
        v = optax.tree.scale(1 / _one_minus_power(config.b2, count), v)
    return m, v, state


def _one_minus_power(decay: float, count: jax.Array) -> jax.Array:
    """1 - decay**count. Subtracting in float32, as optax does, makes every step 7e-6 too long."""
    return -jnp.expm1(count * (math.log(decay) if decay else -math.inf))


def _trust_ratio(layer_axes: Any, adapted: Any, largest: float) -> optax.GradientTransformation:
    """Scales each layer's update to the norm of its weights: optax's, but per layer.

    The ratio |w|/|update| is 1 where either norm is 0, so that zero-initialised weights move.
    """

    def scale(axes, adapt, update, param):
        if not adapt:
            return update
        return update * _ratio(_norm(param, axes), _norm(update, axes), largest)

    def update(updates, state, params):
        return _map(scale, layer_axes, adapted, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _nvidia_lamb(
    config: OptimizerConfig, variant: Variant, layer_axes: Any, decayed: Any, adapted: Any
) -> optax.GradientTransformation:
    """Adam, decay and ratio at once, since the ratio's norm is of something else than the step.

    As in NEZHA's code, the ratio is also 1 for a layer whose gradient is zero at this very step.
    """

    def step(axes, decay, adapt, grad, m, v, param):
        update = m / (jnp.sqrt(v) + config.eps)
        if decay:
            update += config.weight_decay * param
        if not adapt:
            return update
        normed = m / jnp.sqrt(v + config.eps) + config.weight_decay * param
        norm = jnp.where(_norm(grad, axes) > 0, _norm(normed, axes), 0.0)
        return update * _ratio(_norm(param, axes), norm, variant.max_trust)

    def update(grads, state, params):
        m, v, state = _moments(grads, state, config, variant.bias_correction)
        return _map(step, layer_axes, decayed, adapted, grads, m, v, params), state

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def _norm(array: jax.Array, layer_axes: tuple[int, ...]) -> jax.Array:
    """The 2-norm of each layer, with size 1 on the axes summed over."""
    axes = tuple(axis for axis in range(array.ndim) if axis not in layer_axes)
    return jnp.sqrt(jnp.sum(jnp.square(array), axis=axes, keepdims=True))


def _ratio(weights: jax.Array, update: jax.Array, largest: float) -> jax.Array:
    nonzero = (weights > 0) & (update > 0)
    ratio = weights / jnp.where(nonzero, update, 1.0)
    return jnp.where(nonzero, jnp.minimum(ratio, largest), jnp.minimum(1.0, largest))


def _map(fn: Callable[..., Any], layer_axes: Any, *trees: Any) -> Any:
    return jax.tree.map(fn, layer_axes, *trees, is_leaf=_is_axes)


def _in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Keeps the moments in float32 when parameters or gradients are not."""

    def init(params):
        return inner.init(jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params))

    def update(grads, state, params):
        wide = optax.tree.cast((grads, params), jnp.float32)
        return inner.update(wide[0], state, wide[1])

    return optax.GradientTransformation(init, update)
