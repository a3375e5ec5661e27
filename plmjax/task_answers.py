"""How a model answers a labelled task: with the numbers of its head."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from plmjax.data.labelled.batches import LabelledInput
from plmjax.experiment import Experiment

Answering = Callable[[Any, LabelledInput, Callable[[], None]], tuple[float, Any]]
"""From parameters on the devices, a set, and what is called before each batch, to the mean loss on
the set and what is said of each of its N features: the head's numbers, float32 [N, ...]."""


def answering(plan: Experiment) -> Answering:
    """What asks the model of a plan about labelled sets; it compiles once."""
    answer = plan.compiled_answer()

    def by_head(
        params: Any, source: LabelledInput, moved: Callable[[], None] = idle
    ) -> tuple[float, np.ndarray]:
        batches = source.evaluation_batches()
        loss, logits = asked(answer, params, batches, plan, moved)
        return loss, np.concatenate(logits)[: len(source.features)]

    return by_head


def asked(
    answer: Callable,
    params: Any,
    batches: Iterable[Mapping[str, np.ndarray]],
    plan: Experiment,
    moved: Callable[[], None],
) -> tuple[float, list[np.ndarray]]:
    """The mean loss on a labelled set, and what `Experiment.compiled_answer` has of each batch.

    Args:
      answer: compiled.
      params: on the devices.
      batches: one pass over the set in its order, this host's part of each.
      plan: puts a batch on the devices.
      moved: is called before each batch.
    """
    total, found = np.zeros(2), []
    for batch in batches:
        moved()
        loss, some = jax.device_get(answer(params, plan.place(batch)))
        term = loss.terms[plan.objective.predicts]
        total += term.sum, term.weight
        if some is not None:
            found.append(np.asarray(some, np.float32))
    return float(total[0] / max(total[1], 1e-5)), found


def idle() -> None:
    """Does nothing, where nobody has to know that there is progress."""
