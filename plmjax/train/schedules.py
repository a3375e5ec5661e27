"""Learning-rate schedules, each under the name of the recipe that published it."""

import dataclasses

import jax.numpy as jnp
import optax

from plmjax import settings
from plmjax.errors import UserError
from plmjax.train.clock import TokenClock

_ENDLESS = ("constant", "rsqrt", "inverse_sqrt")  # those without an end to decay to


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """A learning rate over the steps of a run.

    Attributes:
      name: with peak p, step t, warm-up w, total T and n = `power`, each rises as p*t/w for t < w:
        `bert`: Google's. The decay p*(1-t/T)^n counts from step 0 and the warm-up overrides it, so
          the rate **jumps down** by the factor (1-w/T)^n at t = w. google-research/bert
          optimization.py (n = 1); ALBERT's `poly_power`; NVIDIA's LAMB recipe has n = 0.5.
        `linear`: p*(T-t)/(T-w) after the warm-up, no jump. Hugging Face's
          get_linear_schedule_with_warmup. NEZHA's and NVIDIA's Adam recipes, which start `bert`'s
          decay from p/(1-w/T), come to the same function.
        `polynomial`: p*((T-t)/(T-w))^n after the warm-up, no jump. fairseq's polynomial_decay.
        `electra`: the product p*(1-t/T)^n * min(1, t/w): the peak is never quite reached.
          google-research/electra model/optimization.py.
        `cosine`: half a cosine from p at w down to the end (Loshchilov & Hutter, 2017).
        `one_minus_sqrt`: p*(1-sqrt((t-w)/(T-w))) after the warm-up, steep at first: what ends a
          run at a constant rate (Haegele et al., 2024), ModernBERT's last phase.
        `slanted`: ULMFiT's slanted triangles (Howard & Ruder 2018, equation 3): from
          final_fraction*p up to p in the warm-up, and down to it again at T. Published with a
          warm-up of 0.1 and, as `ratio`, a final_fraction of 1/32.
        `constant`: p after the warm-up.
        `rsqrt`: p*sqrt(w/max(t,w)): p **during** the w steps, no rise, then the inverse square
          root. mesh_tensorflow's learning_rate_schedule_noam without its ramp down, as T5 was
          trained: with p = 0.01 and w = 10,000 it is 1/sqrt(max(t, 10,000)).
        `inverse_sqrt`: p*sqrt(w/t) after the warm-up, no jump. fairseq's inverse_sqrt and
          facebookresearch/XLM's adam_inverse_sqrt, whose warm-up begins at 1e-7 in place of 0.
      learning_rate: the peak p.
      warmup_steps: w, in steps.
      warmup_fraction: w as a fraction of the total, rounded to a step; instead of `warmup_steps`.
      final_fraction: the rate at step T and later, as a fraction of the peak; every decay above
        then runs from p to final_fraction*p in place of 0.
      power: n, for `bert`, `electra` and `polynomial`.
      decay_until: where T is, as a fraction of the run: GPT-3's cosine ends at 260 of 300 billion
        tokens.
      warmup_tokens: w in tokens, instead of steps. This or the next makes tokens the clock: t, w
        and T count them, which matters where the size of the batch changes.
      decay_tokens: T in tokens, instead of `decay_until`.
    """

    name: str = "linear"
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    final_fraction: float = 0.0
    power: float = 1.0
    decay_until: float = 1.0
    warmup_tokens: int = 0
    decay_tokens: int = 0

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are the clock, and not steps."""
        return bool(self.warmup_tokens or self.decay_tokens)


def schedule(
    config: ScheduleConfig,
    total_steps: int,
    where: str = "schedule.name",
    clock: TokenClock | None = None,
) -> optax.Schedule:
    """The learning rate as a function of the step.

    The update that takes the parameters from step t to t+1 uses schedule(t). As in Google's code,
    where `global_step` counts finished updates, the warm-up gives p*t/w: the very first update
    (t = 0) of a run with a warm-up that rises has rate 0 and only fills the optimizer's moments.

    Args:
      config: which one, and its numbers.
      total_steps: T, the updates of the whole run, warm-up included.
      where: how the user names the schedule's name, for messages.
      clock: how many tokens the run has seen when, for a schedule over tokens.

    Returns:
      A function from an integer step (a Python int or an int array, any shape) to the learning
      rate, float32 of that shape. It keeps its last value after step T.

    Raises:
      UserError: for an unknown name, a number out of range, or one the schedule has no use for.
    """
    curves = {
        "bert": _bert,
        "linear": _polynomial,
        "polynomial": _polynomial,
        "electra": _electra,
        "cosine": _cosine,
        "one_minus_sqrt": _one_minus_sqrt,
        "slanted": _slanted,
        "constant": _constant,
        "rsqrt": _rsqrt,
        "inverse_sqrt": _inverse_sqrt,
    }
    curve = settings.choose(config.name, curves, where)
    _check(config, total_steps)
    if config.counts_tokens:
        if clock is None:
            raise ValueError("a schedule over tokens needs a clock")
        rate = clock.timed(curve(config, *_tokens(config, clock.total)))
        return lambda step: jnp.asarray(rate(step), jnp.float32)
    warmup, end = _warmup_steps(config, total_steps), round(config.decay_until * total_steps)
    if warmup > end:
        raise UserError(
            f"decay_until={config.decay_until} ends the decay at step {end}, within the {warmup}"
            " steps of warm-up; give a later end"
        )
    rate = curve(config, warmup, end)
    return lambda step: jnp.asarray(rate(step), jnp.float32)


def _check(config: ScheduleConfig, total_steps: int) -> None:
    if total_steps < 1:
        raise UserError(f"a schedule of {total_steps} steps: expected 1 or more")
    if not 0 < config.decay_until <= 1:
        raise UserError(
            f"decay_until={config.decay_until} is a fraction of the run: expected more than 0, to 1"
        )
    if config.decay_until != 1 and config.name in _ENDLESS:
        raise UserError(
            f"schedule '{config.name}' has no decay that ends, and decay_until="
            f"{config.decay_until} was given"
        )
    if config.learning_rate < 0:
        raise UserError(f"learning_rate={config.learning_rate} is negative")
    if not 0 <= config.final_fraction <= 1:
        raise UserError(
            f"final_fraction={config.final_fraction} is a fraction of the peak: expected 0 to 1"
        )
    if config.power <= 0:
        raise UserError(f"power={config.power}: expected more than 0")
    if config.power != 1 and config.name not in ("bert", "electra", "polynomial"):
        raise UserError(
            f"schedule '{config.name}' has no power, and power={config.power} was given; "
            "'polynomial' has one"
        )
    if config.final_fraction and config.name in _ENDLESS:
        raise UserError(
            f"schedule '{config.name}' does not end at final_fraction={config.final_fraction}; "
            "'linear' and 'cosine' do"
        )


def _warmup_steps(config: ScheduleConfig, total_steps: int) -> int:
    if config.warmup_steps and config.warmup_fraction:
        raise UserError(
            f"warmup_steps={config.warmup_steps} and warmup_fraction={config.warmup_fraction} are "
            "both given: set one of them to 0"
        )
    if not 0 <= config.warmup_fraction <= 1:
        raise UserError(
            f"warmup_fraction={config.warmup_fraction}: expected 0 to 1; for a number of steps "
            "there is warmup_steps"
        )
    if not 0 <= config.warmup_steps <= total_steps:
        raise UserError(
            f"warmup_steps={config.warmup_steps}: expected 0 to the {total_steps} steps of the run"
        )
    return config.warmup_steps or round(config.warmup_fraction * total_steps)


def _tokens(config: ScheduleConfig, total: int) -> tuple[float, float]:
    """The warm-up and the end of the decay in tokens; floats, since int32 ends at 2 billion."""
    warmup, end = config.warmup_tokens, config.decay_tokens
    if warmup < 0 or end < 0:
        raise UserError(f"warmup_tokens={warmup}, decay_tokens={end}: expected 0 or more")
    if config.warmup_steps or config.warmup_fraction:
        raise UserError(
            f"warmup_steps={config.warmup_steps} and warmup_fraction={config.warmup_fraction} do"
            f" not go with warmup_tokens={warmup} and decay_tokens={end}: set them to 0"
        )
    if end and config.decay_until != 1:
        raise UserError(
            f"decay_until={config.decay_until} and decay_tokens={end} are both given: set"
            " decay_until to 1"
        )
    if end and config.name in _ENDLESS:
        raise UserError(
            f"schedule '{config.name}' has no decay that ends, and decay_tokens={end} was given"
        )
    end = end or round(config.decay_until * total)
    if warmup > end:
        raise UserError(
            f"warmup_tokens={warmup} is more than the {end} tokens after which the decay ends; the"
            f" run has {total}"
        )
    return float(warmup), float(end)


def _decay(config: ScheduleConfig, steps: float) -> optax.Schedule:
    peak, end, steps = (
        config.learning_rate,
        config.learning_rate * config.final_fraction,
        steps or 1,
    )

    def decay(step):
        # optax.polynomial_schedule computes 1 - step/steps, which jit rounds to just below 0 at
        # the end, so that a square root of it is NaN. Whole steps subtract exactly.
        left = (steps - jnp.clip(step, 0, steps)) / steps
        return (peak - end) * left**config.power + end

    return decay


def _bert(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    decay = _decay(config, total)
    if not warmup:
        return decay
    rise = optax.linear_schedule(0.0, config.learning_rate, warmup)
    # Not optax.join_schedules: it restarts the second schedule's count at the boundary, and the
    # jump comes from not doing so.
    return lambda step: jnp.where(step < warmup, rise(step), decay(step))


def _electra(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    decay = _decay(config, total)
    if not warmup:
        return decay
    rise = optax.linear_schedule(0.0, 1.0, warmup)
    return lambda step: decay(step) * rise(step)


def _after_warmup(config: ScheduleConfig, warmup: float, then: optax.Schedule) -> optax.Schedule:
    if not warmup:
        return then
    rise = optax.linear_schedule(0.0, config.learning_rate, warmup)
    return optax.join_schedules([rise, then], [warmup])


def _polynomial(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    return _after_warmup(config, warmup, _decay(config, total - warmup))


def _cosine(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    steps = max(total - warmup, 1)
    decay = optax.cosine_decay_schedule(config.learning_rate, steps, config.final_fraction)
    return _after_warmup(config, warmup, decay)


def _one_minus_sqrt(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    peak, end, steps = (
        config.learning_rate,
        config.learning_rate * config.final_fraction,
        max(total - warmup, 1),
    )

    def decay(step):
        return (peak - end) * (1 - jnp.sqrt(jnp.clip(step, 0, steps) / steps)) + end

    return _after_warmup(config, warmup, decay)


def _slanted(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    _check_warmup(config, warmup, "ULMFiT has warmup_fraction=0.1")
    peak, decay = config.learning_rate, _decay(config, total - warmup)
    rise = optax.linear_schedule(peak * config.final_fraction, peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])


def _constant(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    del total
    return _after_warmup(
        config, warmup, lambda step: jnp.full(jnp.shape(step), config.learning_rate)
    )


def _rsqrt(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    _check_warmup(config, warmup, "T5 has 10000")
    return lambda step: config.learning_rate * jnp.sqrt(warmup / jnp.clip(step, warmup, total))


def _inverse_sqrt(config: ScheduleConfig, warmup: float, total: float) -> optax.Schedule:
    _check_warmup(config, warmup, "XLM has 4000")
    rise = optax.linear_schedule(0.0, config.learning_rate, warmup)
    decay = _rsqrt(config, warmup, total)
    return lambda step: jnp.where(step < warmup, rise(step), decay(step))


def _check_warmup(config: ScheduleConfig, warmup: float, example: str) -> None:
    if not warmup:
        raise UserError(
            f"schedule '{config.name}' decays from the end of its warm-up, and warmup_steps is 0;"
            f" {example}"
        )
