"""What every labelled task says of itself, and the rows that its examples make."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.rows import Row
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.settings import nearest

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype]]
"""Shape per example, and dtype, of each array of a batch."""

INT32, FLOAT32 = np.dtype(np.int32), np.dtype(np.float32)


@dataclasses.dataclass(frozen=True)
class Features:
    """What a model reads of a set: N features, of which an example may have several.

    Attributes:
      ids, types: of each feature its rows, each with its special tokens: int32 arrays [n], n up to
        L. All features have as many rows, one but for options.
      targets: by batch key, [N, ...] as the task's `spec` has it without the padding of rows.
      owners: int [N], ascending: the number of the example that a feature is of.
      cut: how many examples lose tokens, since they are longer than a row.
      lost: how many lose their answer, which is not found in what the tokenizer makes of the text.
      short: how many lose the end of what is to be written, which is longer than the task's limit.
      places: what the task needs to understand what a model says of each feature.
      of_tokens: the targets that have an entry for each token: [N, L, ...].
    """

    ids: Sequence[Sequence[np.ndarray]]
    types: Sequence[Sequence[np.ndarray]]
    targets: Mapping[str, np.ndarray]
    owners: np.ndarray
    cut: int
    places: Any = None
    lost: int = 0
    short: int = 0
    of_tokens: tuple[str, ...] = ()

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """How many tokens the longest row of each feature has: int [N]."""
        return np.array([max(map(len, rows)) for rows in self.ids])

    def __len__(self) -> int:
        return len(self.ids)

    def arrays(self, numbers: np.ndarray, layout: Layout) -> dict[str, np.ndarray]:
        """Some features as a batch has them: tokens, token_types and attention_mask int32 [B, L],
        with several rows each [B, O, L], and the targets; L is the layout's, and no row longer."""
        rows = [row for number in numbers.tolist() for row in self.ids[number]]
        types = [row for number in numbers.tolist() for row in self.types[number]]
        each = len(self.ids[0])
        shape = (len(numbers), *[each] * (each > 1), layout.seq_len)
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(layout.seq_len) < lengths[:, None]
        found = {"attention_mask": mask.astype(np.int32)}
        for key, some, pad in (("tokens", rows, layout.pad_id), ("token_types", types, 0)):
            made = np.full(mask.shape, pad, np.int32)
            made[mask] = np.concatenate(some)
            found[key] = made
        found = {key: array.reshape(shape) for key, array in found.items()}
        for key, array in self.targets.items():
            of_tokens = key in self.of_tokens
            found[key] = array[numbers, : layout.seq_len] if of_tokens else array[numbers]
        return found

    def token_counts(self, vocab_size: int) -> np.ndarray:
        """How often each id stands in what is read: int64 [vocab_size]; those that a frame adds to
        the vocabulary are left out."""
        counts = np.zeros(vocab_size, np.int64)
        for first in range(0, len(self.ids), 4096):
            rows = [row for some in self.ids[first : first + 4096] for row in some]
            counts += np.bincount(np.concatenate(rows), minlength=vocab_size)[:vocab_size]
        return counts

    def truth(self, batch: Mapping[str, np.ndarray], at: int, tokenizer: Tokenizer) -> dict:
        """What row `at` of a batch should be answered, for a person."""
        return {key: batch[key][at].tolist() for key in self.targets}


@dataclasses.dataclass(frozen=True)
class LabelledTask:
    """What is asked of labelled examples.

    Attributes:
      benchmark: a published set, a name of `plmjax.data.labelled.benchmarks.BENCHMARKS`, of which
        `folder` has the files, or is its name in tensorflow-datasets, as `tfds:glue/sst2`; empty
        for files of one's own.
      train, dev: files; of a benchmark the names of its splits.
      format: how files are written, a name of `plmjax.data.labelled.FORMATS`; empty goes by their
        endings.
      columns: names of the columns with commas between, for files without a line that names them.
      metric: what is measured, a name of `plmjax.evals.metrics.named.METRICS`; empty for the task's
        own.
      tokenizer: the folder of a run's tokenizer; empty for that of `config.corpus`.
      label: the field that says what is right.
      epochs: how often the training set is gone through, in place of `config.train.steps`; 0 goes
        by those.
      shortest: batches are as long as their longest row: `config.data.seq_len` tokens, or a half of
        them, a quarter, ..., but no fewer than these. Each length compiles once. 0 has all batches
        of seq_len; so have rows that the mesh splits, and attention that is given by name.
    """

    benchmark: str = ""
    folder: str = ""
    train: str = ""
    dev: str = ""
    format: str = ""
    columns: str = ""
    metric: str = ""
    tokenizer: str = ""
    label: str = "label"
    epochs: float = 3.0
    shortest: int = 32

    kind: ClassVar[str]
    """What it is to metrics, see `plmjax.evals.metrics.named.KINDS`."""

    default_metric: ClassVar[str]

    writes: ClassVar[bool] = False
    """Whether a model answers by writing, and not with the numbers of a head."""

    weight_key: ClassVar[str] = "label_weights"
    """The batch key with the weight of each example, or of each of its tokens."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of metrics that may measure it."""
        return (self.kind,)

    def __post_init__(self):
        if not 0 <= self.epochs < math.inf:
            raise UserError(f"epochs={self.epochs}; give a number above 0, or 0 for train.steps")
        if self.shortest < 0:
            raise UserError(
                f"shortest={self.shortest}; give a number of tokens, or 0 for seq_len always"
            )

    @property
    def measured(self) -> str:
        """The name of the metric."""
        return self.metric or self.default_metric

    def classes(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """The names of the classes, in the order of their numbers; empty where there are none.

        Args:
          rows: of the training set.

        Raises:
          UserError: where they are nothing that could be told apart.
        """
        raise NotImplementedError

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """Raises a UserError for an example that cannot be learned from or measured on."""
        raise NotImplementedError

    def has_label(self, row: Row) -> bool:
        """Whether a row says what is right of it."""
        return row.fields.get(self.label) not in (None, "")

    def stand_in(self, row: Row, classes: Sequence[str]) -> dict[str, Any]:
        """The fields of a label that stands for none, for the shape of batches: it is not measured.

        Args:
          row: one without a label.
          classes: as of `classes`.
        """
        raise NotImplementedError

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """Shapes and dtypes of what a batch has for each example, `label_weights` aside.

        Args:
          seq_len: tokens of a row.
          classes: how many there are.
        """
        raise NotImplementedError

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """What a model reads of these examples, and what it should say."""
        raise NotImplementedError

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> Any:
        """The truth about the examples, as metrics of the kind take it."""
        raise NotImplementedError

    def predictions(self, features: Features, logits: np.ndarray, rows: Sequence[Row]) -> Any:
        """What a model says of the examples, as metrics of the kind take it.

        Args:
          features: of the examples.
          logits: float32 [N, ...], the head's numbers of each feature; of a task that `writes` a
            text for each example.
          rows: the examples.
        """
        raise NotImplementedError

    def besides(self, features: Features, logits: Any) -> dict[str, float]:
        """Figures beside the metric's, of what a model says; arguments as of `predictions`."""
        return {}

    def usual(self, references: Any, rows: Sequence[Row]) -> Any:
        """What answering always alike says of `rows`, by the references of the training set."""
        raise NotImplementedError

    def said(
        self, predictions: Any, logits: np.ndarray, classes: Sequence[str], rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """What is said of each example, for a person: `predicted`, and where there is one its
        `score`, a probability."""
        raise NotImplementedError


def field(row: Row, name: str, setting: str) -> Any:
    """A field of a row.

    Args:
      row: which.
      name: of the field.
      setting: where the user has given its name.

    Raises:
      UserError: where the row has no such field.
    """
    if name not in row.fields:
        raise UserError(
            f"{row.where} has no field '{name}', which {setting} names{nearest(name, row.fields)}"
        )
    return row.fields[name]


def text_of(row: Row, name: str, setting: str) -> str:
    """A field that is a text; see `field`.

    Raises:
      UserError: where it is none, or empty.
    """
    value = field(row, name, setting)
    if not isinstance(value, str) or not value.strip():
        raise UserError(
            f"{row.where}: the field '{name}' is {value!r}; expected a text that is not empty"
        )
    return value


def framed(
    layout: Layout, pieces: Sequence[np.ndarray], halves: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The ids of a row with its special tokens, and their types: int32 [n], n <= seq_len.

    Where texts do not fit they lose their ends; see `kept_lengths`.
    """
    kept = kept_lengths([len(ids) for ids in pieces], layout, halves)
    parts, types = [], []
    for number, (ids, length) in enumerate(zip(pieces, kept, strict=True)):
        head = layout.head_other if number else layout.head_first
        parts += [head, ids[:length], layout.tail]
        types += [number] * (len(head) + length + len(layout.tail))
    parts.append(layout.end)
    types += [layout.piece_types] * len(layout.end)
    return np.concatenate([np.asarray(part, np.int32) for part in parts]), np.array(types, np.int32)


def kept_lengths(lengths: Sequence[int], layout: Layout, halves: bool) -> tuple[int, ...]:
    """How many tokens of each of one text or two stay in a row.

    The longer of two loses its last token until both fit (google-research/bert
    `_truncate_seq_pair`); with `halves`, each is cut to half a row less two, whatever
    the other has (openai/finetune-transformer-lm train.py, `transform_roc`).
    """
    if halves and len(lengths) == 2:
        half = layout.seq_len // 2 - 2
        return min(lengths[0], half), min(lengths[1], half)
    return cut_lengths(lengths, layout.room(len(lengths)))


def is_cut(pieces: Sequence[np.ndarray], layout: Layout) -> bool:
    """Whether texts lose tokens in a row, by halves where its frame has them."""
    lengths = tuple(map(len, pieces))
    return kept_lengths(lengths, layout, layout.halves) != lengths


def cut_lengths(lengths: Sequence[int], room: int) -> tuple[int, ...]:
    """How many tokens of each of one text or two stay in a row with room for so many."""
    if len(lengths) == 1:
        return (min(lengths[0], room),)
    first, second = lengths
    surplus = first + second - room
    if surplus <= 0:
        return first, second
    # The longer one first loses what it has more, then both in turn, the second before the first.
    longer = min(surplus, abs(first - second))
    first, second = (first - longer, second) if first > second else (first, second - longer)
    rest = surplus - longer
    return first - rest // 2, second - (rest - rest // 2)
