"""Adam's and LAMB's arithmetic as optax transformations; `optimizers` puts them together.

Trees `layer_axes`, `decayed` and `adapted` are as there.
"""

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

MOMENTS_DTYPES: Mapping[str, tuple[DTypeLike, DTypeLike]] = types.MappingProxyType(
    {
        "float32": (jnp.float32, jnp.float32),
        "bfloat16_first": (jnp.bfloat16, jnp.float32),
        "bfloat16": (jnp.bfloat16, jnp.bfloat16),
    }
)
"""In what the first and the second moment are kept, by the name of the choice."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """Adam's m and v: how they decay, whether they are corrected, in what they are kept.

    They are computed in float32 and rounded when they are kept: m to nearest, v stochastically.
    v moves by 1-b2 of itself a step, a thousandth, and bfloat16's steps are 1/256 to 1/128 of a
    value: to nearest, v would stand still, above all after a large gradient, from which it could
    never come down. Rounded up with the probability of how far it is on the way, it is right on
    average, whatever b2. m moves by a tenth of itself, which is more than bfloat16's steps.

    Attributes:
      b1: decay of m.
      b2: decay of v.
      bias_correction: whether what `update` returns is divided by 1 - decay^t.
      first: the dtype that m is kept in.
      second: the dtype that v is kept in.
    """

    b1: float
    b2: float
    bias_correction: bool
    first: DTypeLike = jnp.float32
    second: DTypeLike = jnp.float32

    def init(self, params: Any) -> optax.ScaleByAdamState:
        """Both moments at zero, of the shapes of the parameters."""
        return optax.ScaleByAdamState(
            count=jnp.zeros((), jnp.int32),
            mu=optax.tree.zeros_like(params, dtype=self.first),
            nu=optax.tree.zeros_like(params, dtype=self.second),
        )

    def update(
        self, grads: Any, state: optax.ScaleByAdamState
    ) -> tuple[Any, Any, optax.ScaleByAdamState]:
        """m and v after `grads` in float32, corrected if asked, and the state (never corrected)."""
        count = optax.safe_increment(state.count)
        m, v = optax.tree.cast((state.mu, state.nu), jnp.float32)
        m = optax.tree.update_moment(grads, m, self.b1, 1)
        v = optax.tree.update_moment(grads, v, self.b2, 2)
        kept = v if self.second == jnp.float32 else stochastically_rounded(v, count)
        state = optax.ScaleByAdamState(count, optax.tree.cast(m, self.first), kept)
        if self.bias_correction:
            m = optax.tree.scale(1 / _one_minus_power(self.b1, count), m)
            v = optax.tree.scale(1 / _one_minus_power(self.b2, count), v)
        return m, v, state


def stochastically_rounded(tree: Any, seed: jax.Array) -> Any:
    """float32 arrays as bfloat16, each value rounded up or down so that its mean stays.

    Args:
      tree: of float32 arrays.
      seed: int scalar; the same rounds the same, however the arrays lie on the mesh.
    """
    # Threefry, whatever jax's default is: each device draws its own part of the whole's numbers.
    key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), seed)

    def rounded(index: int, x: jax.Array) -> jax.Array:
        # bfloat16 is the upper half of float32: what is cut off, plus a uniform number of 16 bits,
        # carries into it as often as its size says.
        drawn = jax.random.bits(jax.random.fold_in(key, index), x.shape, jnp.uint16)
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + drawn.astype(jnp.uint32)
        upper = (bits >> 16).astype(jnp.uint16)
        up_or_down = jax.lax.bitcast_convert_type(upper, jnp.bfloat16)
        return jnp.where(jnp.isfinite(x), up_or_down, x.astype(jnp.bfloat16))

    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([rounded(index, x) for index, x in enumerate(leaves)])


def scale_by_adam(moments: Moments, eps: float) -> optax.GradientTransformation:
    """m/(sqrt(v)+eps), with or without bias correction; the state is optax.scale_by_adam's."""

    def update(grads, state, params=None):
        del params
        m, v, state = moments.update(grads, state)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), m, v), state

    return optax.GradientTransformation(moments.init, update)


def scale_by_trust_ratio(
    layer_axes: Any, adapted: Any, largest: float
) -> optax.GradientTransformation:
    """Scales each layer's update to the norm of its weights: optax's, but per layer.

    The ratio |w|/|update| is 1 where either norm is 0, so that zero-initialised weights move.
    """

    def scale(axes, adapt, update, param):
        if not adapt:
            return update
        return update * _ratio(_norm(param, axes), _norm(update, axes), largest)

    def update(updates, state, params):
        return map_layers(scale, layer_axes, adapted, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def nvidia_lamb(
    moments: Moments,
    layer_axes: Any,
    decayed: Any,
    adapted: Any,
    *,
    eps: float,
    weight_decay: float,
    max_trust: float,
) -> optax.GradientTransformation:
    """Adam, decay and ratio at once, since the ratio's norm is of something else than the step.

    As in NEZHA's code, the ratio is also 1 for a layer whose gradient is zero at this very step.
    """

    def step(axes, decay, adapt, grad, m, v, param):
        update = m / (jnp.sqrt(v) + eps)
        if decay:
            update += weight_decay * param
        if not adapt:
            return update
        normed = m / jnp.sqrt(v + eps) + weight_decay * param
        norm = jnp.where(_norm(grad, axes) > 0, _norm(normed, axes), 0.0)
        return update * _ratio(_norm(param, axes), norm, max_trust)

    def update(grads, state, params):
        m, v, state = moments.update(grads, state)
        return map_layers(step, layer_axes, decayed, adapted, grads, m, v, params), state

    return optax.GradientTransformation(moments.init, update)


def stable_adamw(
    moments: Moments, layer_axes: Any, decayed: Any, *, eps: float, weight_decay: float
) -> optax.GradientTransformation:
    """AdamW whose step, decay and all, is shorter where a gradient is beyond what v expects.

    Each layer's step is divided by the root mean square of g/sqrt(v) where that is above 1, v being
    at least eps**2 there. Source: Wortsman et al. 2023, Algorithm 2, as in torch-optimi.
    """

    def step(axes, decay, grad, m, v, param):
        update = m / (jnp.sqrt(v) + eps)
        if decay:
            update += weight_decay * param
        squares = jnp.square(grad) / jnp.maximum(v, eps**2)
        rms = jnp.sqrt(jnp.mean(squares, axis=within_layers(grad, axes), keepdims=True))
        return update / jnp.maximum(1.0, rms)

    def update(grads, state, params):
        m, v, state = moments.update(grads, state)
        return map_layers(step, layer_axes, decayed, grads, m, v, params), state

    return optax.GradientTransformation(moments.init, update)


def map_layers(fn: Callable[..., Any], layer_axes: Any, *trees: Any) -> Any:
    """jax.tree.map over a tree of tuples of axes and trees of arrays of its structure."""
    return jax.tree.map(fn, layer_axes, *trees, is_leaf=lambda leaf: isinstance(leaf, tuple))


def within_layers(array: jax.Array, layer_axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array that do not stack layers."""
    return tuple(axis for axis in range(array.ndim) if axis not in layer_axes)


def _one_minus_power(decay: float, count: jax.Array) -> jax.Array:
    """1 - decay**count. Subtracting in float32, as optax does, makes every step 7e-6 too long."""
    return -jnp.expm1(count * (math.log(decay) if decay else -math.inf))


def _norm(array: jax.Array, layer_axes: tuple[int, ...]) -> jax.Array:
    """The 2-norm of each layer, with size 1 on the axes summed over."""
    axes = within_layers(array, layer_axes)
    return jnp.sqrt(jnp.sum(jnp.square(array), axis=axes, keepdims=True))


def _ratio(weights: jax.Array, update: jax.Array, largest: float) -> jax.Array:
    nonzero = (weights > 0) & (update > 0)
    ratio = weights / jnp.where(nonzero, update, 1.0)
    return jnp.where(nonzero, jnp.minimum(ratio, largest), jnp.minimum(1.0, largest))
