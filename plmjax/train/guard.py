"""Updates that would spoil a run: told on the device, and what is done about them.

Four published answers stand behind the settings. Optax's `apply_if_finite` and NeMo skip what is
not finite. OLMo-core's `SkipStepOptimizer` (also Levanter's) skips an update whose loss or gradient
norm is more than 6 standard deviations above the mean of the last 128, once it has seen half as
many. PaLM (Chowdhery et al. 2022, section 5.1) went back about 100 steps and passed over 200 to 500
batches, after which the spike did not come again. Megatron-LM ends the run.
"""

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp

from plmjax.errors import UserError
from plmjax.settings import choose

MEMORY = 1024
"""How many updates a state remembers, whatever the config asks for: no setting changes shapes."""

NONE, NAN, SPIKE, TOO_MANY = range(4)
"""Why the host has to act."""

_EMPTY, _GOOD, _BAD = range(3)


@dataclasses.dataclass(frozen=True)
class GuardConfig:
    """What happens to an update whose loss or gradient norm is not finite, or far too large.

    A bad update is not made, whatever the policy: parameters and optimizer state (with its counts,
    and so the learning rate) stay as they were, and the metrics' means leave the step out.

    Attributes:
      on_nan: `stop` ends the run with one line. `skip` goes on with the next step and its batch.
        `rewind` goes back to the last checkpoint and passes over the batches from there to the
        bad one, and `rewind_margin` more.
      on_spike: the same, or `none`, which takes no update for a spike.
      spike_sigmas: a spike is a loss or a gradient norm more than so many standard deviations
        above the mean of the good ones among the last `window` updates.
      window: see there. It begins anew with each phase, and while it has fewer than half as many
        good updates nothing is a spike. At most 1024.
      max_bad: so many bad updates among the last `window` end the run.
      rewind_margin: how many batches after the bad one a rewind passes over, too.
      max_rewinds: how often the run goes back to the same checkpoint before it ends instead.
    """

    on_nan: str = "stop"
    on_spike: str = "none"
    spike_sigmas: float = 6.0
    window: int = 128
    max_bad: int = 10
    rewind_margin: int = 100
    max_rewinds: int = 3

    def __post_init__(self):
        actions = dict.fromkeys(("stop", "skip", "rewind"))
        choose(self.on_nan, actions, "on_nan")
        choose(self.on_spike, {"none": None, **actions}, "on_spike")
        if not self.spike_sigmas > 0:
            raise UserError(f"spike_sigmas={self.spike_sigmas}; give a number above 0, such as 6")
        if not 4 <= self.window <= MEMORY:
            raise UserError(f"window={self.window}; give 4 to {MEMORY} updates")
        if not 1 <= self.max_bad <= self.window:
            raise UserError(f"max_bad={self.max_bad}; give 1 to guard.window={self.window} updates")
        if self.rewind_margin < 0:
            raise UserError(f"rewind_margin={self.rewind_margin}; give 0 or more batches")
        if self.max_rewinds < 1:
            raise UserError(
                f"max_rewinds={self.max_rewinds}; give 1 or more, or set on_nan and on_spike to"
                " something else than rewind"
            )

    def action(self, reason: int) -> str:
        """What is done for a reason: `stop`, `skip`, `rewind`, or `none`."""
        return {NAN: self.on_nan, SPIKE: self.on_spike, TOO_MANY: "stop"}[reason]


STOP_AT_NAN = GuardConfig()
"""The policy of a config that does not say."""


@flax.struct.dataclass
class Guard:
    """What a state remembers of its updates; place t % MEMORY is that of the update from t to t+1.

    verdicts: int32 [MEMORY]: 0 none, 1 good and of this phase, 2 bad.
    losses, gradient_norms: float32 [MEMORY], of good updates.
    bad_steps: int32 scalar, how many bad updates there were since step 0.
    reason, bad_step: int32 scalars; bad_loss, bad_norm: float32 scalars. The first update for which
      the host has to act: why, which (t+1 for that from t to t+1), and what it measured. The
      reason is NONE as long as there is none; no checkpoint holds another.
    """

    verdicts: jax.Array
    losses: jax.Array
    gradient_norms: jax.Array
    bad_steps: jax.Array
    reason: jax.Array
    bad_step: jax.Array
    bad_loss: jax.Array
    bad_norm: jax.Array


def fresh_guard() -> Guard:
    """Nothing is remembered."""
    empty, zero = jnp.zeros(MEMORY, jnp.float32), jnp.zeros((), jnp.int32)
    nothing = jnp.zeros((), jnp.float32)
    verdicts = jnp.full(MEMORY, _EMPTY, jnp.int32)
    return Guard(verdicts, empty, empty, zero, zero, zero, nothing, nothing)


def judge(
    guard: Guard,
    config: GuardConfig,
    phase_starts: Sequence[int],
    step: jax.Array,
    loss: jax.Array,
    gradient_norm: jax.Array,
) -> tuple[jax.Array, Guard]:
    """Whether the update from `step` to `step` + 1 is bad, and what is remembered after it.

    To be called under jit with the loss and the gradient norm of the whole batch. These are sums
    over all devices: jit computes with global arrays, so the partitioner adds the parts that the
    devices have before anything is compared here, and a NaN in one of them is in the sum. What is
    returned is replicated, computed from the same bits on every device; no two processes can
    disagree.

    Args:
      guard: what is remembered before the update.
      config: the policy.
      phase_starts: at these steps batches change, and what was measured before says nothing.
      step: int32 scalar.
      loss: float32 scalar, of the whole batch.
      gradient_norm: float32 scalar, of the whole gradient, not clipped.

    Returns:
      A bool scalar, and the guard.
    """
    restarts = jnp.any(step == jnp.asarray([*phase_starts, -1], jnp.int32))
    verdicts = jnp.where(restarts & (guard.verdicts == _GOOD), _EMPTY, guard.verdicts)
    place = jnp.arange(MEMORY)
    age = (step - 1 - place) % MEMORY  # 0 for the update before this one
    good = (age < config.window) & (verdicts == _GOOD)
    is_nan = ~(jnp.isfinite(loss) & jnp.isfinite(gradient_norm))
    is_spike = jnp.zeros((), bool)
    if config.on_spike != "none":
        high = [
            _stands_out(x, values, good, config)
            for x, values in ((loss, guard.losses), (gradient_norm, guard.gradient_norms))
        ]
        is_spike = ~is_nan & (high[0] | high[1])
    bad = is_nan | is_spike
    here = place == step % MEMORY
    verdicts = jnp.where(here, jnp.where(bad, _BAD, _GOOD), verdicts)
    counted = (verdicts == _BAD) & (here | (age < config.window - 1))
    reached = counted.sum() >= config.max_bad
    reason = jnp.where(bad & reached, TOO_MANY, NONE)
    for kind, found in ((NAN, is_nan), (SPIKE, is_spike)):
        if config.action(kind) in ("stop", "rewind"):
            reason = jnp.where(found, kind, reason)
    first = (guard.reason == NONE) & (reason != NONE)
    return bad, Guard(
        verdicts=verdicts,
        losses=jnp.where(here & ~bad, loss, guard.losses),
        gradient_norms=jnp.where(here & ~bad, gradient_norm, guard.gradient_norms),
        bad_steps=guard.bad_steps + bad,
        reason=jnp.where(first, reason, guard.reason),
        bad_step=jnp.where(first, step + 1, guard.bad_step),
        bad_loss=jnp.where(first, loss, guard.bad_loss),
        bad_norm=jnp.where(first, gradient_norm, guard.bad_norm),
    )


def _stands_out(x: jax.Array, values: jax.Array, good: jax.Array, config: GuardConfig) -> jax.Array:
    """Whether `x` is a spike after those of `values` [MEMORY] that are `good` (bool [MEMORY])."""
    count = good.sum()
    mean = jnp.where(good, values, 0.0).sum() / jnp.maximum(count, 1)
    squares = jnp.where(good, (values - mean) ** 2, 0.0).sum()
    deviation = jnp.sqrt(squares / jnp.maximum(count - 1, 1))
    return (count >= config.window // 2) & (x - mean > config.spike_sigmas * deviation)


@dataclasses.dataclass(frozen=True)
class BadUpdate:
    """The update that the host has to act upon; `step` counts it, `reason` as in Guard."""

    step: int
    reason: int
    loss: float
    gradient_norm: float

    def __str__(self):
        return (
            f"the update of step {self.step} is bad: the loss is {self.loss:.6g}, the gradient's"
            f" norm {self.gradient_norm:.6g}"
        )


class RewindAsked(Exception):
    """The run is to go back to its last checkpoint; see GuardConfig."""

    def __init__(self, bad: BadUpdate):
        """`bad`: why."""
        super().__init__(str(bad))
        self.bad = bad


def bad_update(guard: Guard) -> BadUpdate | None:
    """The update that the host has to act upon, None if there is none; waits for the device."""
    reason, step, loss, norm = jax.device_get(
        (guard.reason, guard.bad_step, guard.bad_loss, guard.bad_norm)
    )
    if reason == NONE:
        return None
    return BadUpdate(int(step), int(reason), float(loss), float(norm))


def act(bad: BadUpdate, config: GuardConfig) -> None:
    """Ends the run, or asks for a rewind.

    Raises:
      RewindAsked: if that is the policy.
      UserError: otherwise, with what was measured and what to change.
    """
    if config.action(bad.reason) == "rewind":
        raise RewindAsked(bad)
    calmer = "lower config.optimizer.learning_rate, lengthen its warm-up, or use float32"
    said = {
        NAN: f"{calmer}; to go on without such updates, set config.guard.on_nan to skip or rewind",
        SPIKE: "it stands out from the"
        f" {config.window} before it by more than config.guard.spike_sigmas={config.spike_sigmas:g}"
        " standard deviations; to go on, set config.guard.on_spike to none, skip or rewind",
        TOO_MANY: f"it is the last of config.guard.max_bad={config.max_bad} bad ones within"
        f" {config.window}; {calmer}",
    }
    raise UserError(f"{bad}; nothing after it was saved; {said[bad.reason]}")
