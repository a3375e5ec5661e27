"""The loss and the metrics over a whole set of batches."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from plmjax.types import Batch, Loss


def evaluate(
    step: Callable[[Any, Batch], Loss],
    params: Any,
    batches: Iterable[Mapping[str, np.ndarray]],
    place: Callable[[Mapping[str, np.ndarray]], Batch],
) -> dict[str, float]:
    """Means over all batches: each term as `NAME_loss`, each metric by its name.

    Args:
      step: from parameters and a batch to sums and weights.
      params: on the devices.
      batches: on the host; what has no weight does not count, so the last may be padded.
      place: puts a batch on the devices.
    """
    sums: dict[str, np.ndarray] = {}

    def add(loss: Loss) -> None:
        loss = jax.device_get(loss)
        named = {f"{name}_loss": term for name, term in loss.terms.items()} | loss.metrics
        for name, mean in named.items():
            pair = np.array([mean.sum, mean.weight], np.float64)
            sums[name] = sums.get(name, 0.0) + pair

    before = None
    for batch in batches:
        dispatched = step(params, place(batch))
        if before is not None:
            add(before)
        before = dispatched
    if before is not None:
        add(before)
    return {name: float(total / max(weight, 1e-5)) for name, (total, weight) in sums.items()}
