"""How a model answers a labelled task: with the numbers of its head, or by writing."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from plmjax.data.labelled.batches import LabelledInput
from plmjax.data.labelled.text_pairs import TextPairs
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.data.tokenizers.written import Writing
from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.experiment import Experiment


def idle() -> None:
    """Does nothing, where nobody has to know that there is progress."""


Answering = Callable[[Any, LabelledInput, Callable[[], None]], tuple[float, Any]]
"""From parameters on the devices, a set, and what is called as there is progress (`idle`), to the
mean loss on the set and what is said of it: of each of its N features the head's numbers, float32
[N, ...]; of a task that `writes` a text for each of its examples."""


def answering(plan: Experiment) -> Answering:
    """What asks the model of a plan about labelled sets; it compiles once."""
    answer, written = plan.compiled_answer(), _Written(plan)

    def answered(
        params: Any, source: LabelledInput, moved: Callable[[], None] = idle
    ) -> tuple[float, Any]:
        loss, logits = _asked(answer, params, source.evaluation_batches(), plan, moved)
        if source.form.asked.writes:
            return loss, written(params, source, moved)
        return loss, in_order(logits, source.order)

    return answered


def _asked(
    answer: Callable,
    params: Any,
    batches: Iterable[Mapping[str, np.ndarray]],
    plan: Experiment,
    moved: Callable[[], None],
) -> tuple[float, list[np.ndarray]]:
    """The mean loss on a labelled set, and the numbers of each batch.

    Args:
      answer: as `Experiment.compiled_answer` returns it.
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


def in_order(batches: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """What is said of features, by their numbers.

    Args:
      batches: of each batch float32 [B, ...]; those of short rows have fewer places, and 0 in what
        they lack.
      order: int [N], the numbers of the features as the batches have them; what is behind the last
        one fills up a batch.
    """
    widest = np.max([some.shape[1:] for some in batches], axis=0).astype(int)
    found = np.zeros((len(order), *widest), np.float32)
    for first, some in zip(itertools.count(step=len(batches[0])), batches):
        numbers = order[first : first + len(some)]
        found[(numbers, *map(slice, some.shape[1:]))] = some[: len(numbers)]
    return found


class _Written:
    """Writes the answers to a set: every process all of them."""

    def __init__(self, plan: Experiment):
        self._plan = plan
        self._generator: Generator | None = None

    def __call__(self, params: Any, source: LabelledInput, moved: Callable[[], None]) -> list[str]:
        features, rows = source.features, source.config.batch_size
        if self._generator is None:
            self._generator = self._made(features, rows)
        # It keeps no parameters, which would take memory from the training that goes on.
        generator = self._generator.with_parameters(params)
        config = _decoding(source.form.asked, features)
        prompts = [features.ids[first][0] for first in features.firsts.tolist()]
        writing = Writing(source.examples.tokenizer, goes_on=features.start is None)
        texts = [""] * len(prompts)
        # Sorted by their lengths, so that rows of a batch have few places of padding.
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        for first in range(0, len(order), rows):
            moved()
            some = order[first : first + rows]
            found = generator.generate([prompts[number] for number in some], config)
            for number, continuations in zip(some, found, strict=True):
                texts[number] = writing.text(continuations[0].tokens)
        return texts

    def _made(self, features: TextPairs, rows: int) -> Generator:
        return Generator(
            *(self._plan.objective, None),
            begin=features.begin,
            end=features.end,
            mesh=self._plan.mesh,
            rules=self._plan.settings.sharding.rules,
            most_rows=rows,
        )


def _decoding(task: TextToText, features: TextPairs) -> DecodingConfig:
    return DecodingConfig(
        max_new_tokens=task.target_len - len(features.head),
        beams=task.beams,
        length_penalty=task.length_penalty,
        no_repeat_ngram=task.no_repeat_ngram,
    )
