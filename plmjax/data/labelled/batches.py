"""Batches of labelled examples as a pure function of (settings, seed, step)."""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from plmjax.data.batch_form import DataConfig, Spec
from plmjax.data.counter_random import fold, key_of
from plmjax.data.labelled.base import FLOAT32, Features, LabelledTask
from plmjax.data.labelled.sets import LabelledSet
from plmjax.data.permutation import permuted
from plmjax.data.pipeline import passed_at
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.ramp import Rows
from plmjax.data.tokenizers import Tokenizer, told_unknown
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class LabelledForm:
    """The arrays of a batch.

    Attributes:
      config: the settings of the phase.
      task: what is asked.
      classes: how many there are.
      layout: from texts to rows.
      spec: shape of the global batch and dtype of every key: what the task has for each feature,
        and the task's `weight_key` float32 [B, ...], 0 for what fills up a batch.
    """

    config: DataConfig
    asked: LabelledTask
    classes: int
    layout: Layout
    spec: Spec

    # Nothing is asked of the text beside the task: see `plmjax.data.batch_form.BatchForm`.
    labels = 0
    task = ""

    @classmethod
    def of(
        cls, config: DataConfig, task: LabelledTask, classes: int, tokenizer: Tokenizer
    ) -> "LabelledForm":
        """The form of these settings.

        Raises:
          UserError: where the vocabulary lacks a token that the frame needs.
        """
        layout = make_layout(config.frame, tokenizer, config.seq_len, PAIR, any_pad=True)
        B = config.batch_size
        shapes = {task.weight_key: ((), FLOAT32), **task.spec(config.seq_len, classes)}
        spec = {key: ((B, *shape), dtype) for key, (shape, dtype) in shapes.items()}
        return cls(config, task, classes, layout, spec)

    @property
    def named(self) -> dict[str, Any]:
        """What the objective is told."""
        return {"classes": self.classes, "kind": self.asked.kind}


class LabelledInput:
    """Batches of a labelled set for one host; what `plmjax.data.pipeline.Input` is of a store.

    An epoch goes through all features of the examples once, in an order of its own, and the next
    follows in the same batch.
    """

    def __init__(
        self,
        examples: LabelledSet,
        form: LabelledForm,
        seed: int,
        *,
        rows: Rows | None = None,
        parts: int | Sequence[int] = 0,
        part_count: int = 1,
    ):
        """Checks that batches can be made; no text is made to tokens yet.

        Attributes of the object are config, form, examples, local_size and tasks, of which there
        are none.

        Args:
          examples: what is read.
          form: what batches are.
          seed: of the order.
          rows: those that count of each step; all, from step 0 on, where None.
          parts, part_count: which parts of each batch this host has, of how many.

        Raises:
          UserError: where the batch does not divide.
        """
        size = form.config.batch_size
        if size % part_count:
            raise UserError(
                f"batch_size={size} does not divide by {part_count} processes; give a multiple"
            )
        self.config, self.form = form.config, form
        self.tasks: dict[str, LabelledInput] = {}
        self.examples, self._key = examples, key_of(seed, "labelled")
        self._lengths = (form.config.seq_len,)
        self._rows = Rows((0,), (size,), (0,)) if rows is None else rows
        self._passed: tuple[tuple[int, int], ...] = ()
        of = [parts] if isinstance(parts, int) else parts
        each = size // part_count
        self._local_rows = np.concatenate([part * each + np.arange(each) for part in of])
        self.local_size = len(self._local_rows)

    @property
    def spec(self) -> Spec:
        """Shape of the global batch and dtype of every key."""
        return self.form.spec

    @property
    def splits(self) -> dict[str, LabelledSet]:
        """The set that is read, by its name."""
        return {self.examples.name: self.examples}

    @property
    def features(self) -> Features:
        """What the model reads of the set."""
        return self.examples.features(self.form.layout)

    def notes(self) -> list[str]:
        """What there is to say of the examples as a model reads them: how many are cut, and how
        much of them the vocabulary has no words for."""
        features, length, tokenizer = self.features, self.config.seq_len, self.examples.tokenizer
        told = []
        if len(features) != len(self.examples):
            told.append(f"in {len(features):,} rows of up to {length} tokens")
        if features.cut:
            told.append(f"{features.cut:,} of them cut to {length} tokens")
        if features.short:
            limit = self.examples.task.target_len
            told.append(f"{features.short:,} of them with a target cut to {limit} tokens")
        if features.lost:
            told.append(f"{features.lost:,} of them with an answer that is not found in the text")
        unknown = told_unknown(features.token_counts(tokenizer.vocab_size), tokenizer)
        return [*told, unknown] if unknown else told

    def epoch_sizes(self) -> dict[str, int]:
        """How many features there are."""
        return {self.examples.name: len(self.features)}

    def passing_over(self, passed: Sequence[tuple[int, int]]) -> "LabelledInput":
        """The same input without some of the run's examples; see `Input.passing_over`."""
        other = copy.copy(self)
        other._passed = tuple(passed)
        return other

    def with_rows_from(self, shortest: int) -> "LabelledInput":
        """The same input in batches as long as their longest row, at least `shortest` tokens;
        lengths are those of `row_lengths`, so that few programs are compiled."""
        other = copy.copy(self)
        other._lengths = row_lengths(self.config.seq_len, shortest)
        return other

    @property
    def order(self) -> np.ndarray:
        """The numbers of the features as an evaluation has them, int [N]: short ones first, where
        batches are as long as their longest row."""
        lengths = self.features.lengths
        if len(self._lengths) == 1:
            return np.arange(len(lengths))
        return np.argsort(lengths, kind="stable")

    def batches(
        self, start_step: int = 0, stop_step: int | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """This host's part of the batches of steps [start_step, stop_step), without end if None."""
        step = start_step
        while stop_step is None or step < stop_step:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """This host's part of the batch of one step."""
        return self._made(self._numbers(step), np.arange(self._size) < self._rows.of(step))

    def numbers(self, step: int) -> np.ndarray:
        """The numbers of the features of this host's part of a step: int [b]."""
        return self._numbers(step)[self._local_rows]

    def evaluation_batches(self) -> Iterator[dict[str, np.ndarray]]:
        """This host's part of one pass over the set in its `order`.

        The last batch is filled up with examples of weight zero.
        """
        order = self.order
        for first in range(0, len(order), self._size):
            indexes = first + np.arange(self._size)
            yield self._made(order[indexes % len(order)], indexes < len(order))

    @property
    def _size(self) -> int:
        return self.config.batch_size

    def _numbers(self, step: int) -> np.ndarray:
        """The numbers of the features of a step on all hosts: int [B]."""
        indexes = self._rows.before(step) + passed_at(self._passed, step) + np.arange(self._size)
        epochs, places = np.divmod(indexes, len(self.features))
        keys = fold(self._key, epochs.astype(np.uint64))
        return permuted(places, np.full(len(places), len(self.features)), keys)

    def _made(self, numbers: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """This host's part of a batch; `numbers` and `counts`, int and bool [B], are of it whole,
        since all hosts' parts are of one length."""
        longest = self.features.lengths[numbers].max()
        length = next(some for some in self._lengths if some >= longest)
        layout = dataclasses.replace(self.form.layout, seq_len=length)
        arrays = self.features.arrays(numbers[self._local_rows], layout)
        key, weights = self.form.asked.weight_key, counts[self._local_rows].astype(np.float32)
        if key in arrays:  # which has weights of its own, of each token
            weights = arrays[key] * weights[:, None]
        return {**arrays, key: weights}


def row_lengths(seq_len: int, shortest: int) -> tuple[int, ...]:
    """The lengths that batches have: `seq_len` halved as often as that leaves `shortest` tokens,
    ascending; with 0 that alone."""
    found = [seq_len]
    while shortest and found[-1] % 2 == 0 and found[-1] // 2 >= shortest:
        found.append(found[-1] // 2)
    return tuple(reversed(found))
