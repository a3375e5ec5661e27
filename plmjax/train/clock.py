"""Tokens as a run's clock: how many it has seen after so many updates."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class TokenClock:
    """Tokens seen, piece by piece a straight line.

    steps: counts of updates, ascending from 0; the last is the end of the run. tokens: seen by
    then, every place of every row that counts.
    """

    steps: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def total(self) -> int:
        """Tokens of the whole run."""
        return self.tokens[-1]

    def __call__(self, step: int | jax.Array) -> jax.Array:
        """Tokens seen after `step` updates: float32, exact to seven digits."""
        steps = jnp.asarray(self.steps, jnp.float32)
        return jnp.interp(step, steps, jnp.asarray(self.tokens, jnp.float32))

    def timed(
        self, rate: Callable[[jax.Array], jax.Array]
    ) -> Callable[[int | jax.Array], jax.Array]:
        """A schedule over tokens as one over updates."""
        return lambda step: rate(self(step))
