"""Rows that say which task they are for, and what is asked of each of their tokens."""

import dataclasses
from collections.abc import Callable, Collection, Sequence

import numpy as np

from plmjax.data.flags import CAPITAL, SPECIAL, WORD
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import Layout

_REACH = 4096  # tokens on either side of an example in which its document is searched


@dataclasses.dataclass(frozen=True)
class TaskLayout(Layout):
    """A layout for examples of several tasks.

    Attributes:
      capitals, document: numbers of the tasks that ask for something at each token; -1 for none.
    """

    capitals: int = -1
    document: int = -1

    @classmethod
    def of(
        cls, layout: Layout, number: Callable[[str], int], asked: Collection[str]
    ) -> "TaskLayout":
        """The same rows; `number` of a task by its name, and which of those above are `asked`."""
        fields = {field.name: getattr(layout, field.name) for field in dataclasses.fields(layout)}
        return cls(**fields, **{name: number(name) for name in asked})

    @property
    def _asks_tokens(self) -> bool:
        return self.capitals >= 0 or self.document >= 0

    @property
    def spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape per example and dtype of what `assemble` returns."""
        spec = super().spec | {"task": ((), np.dtype(np.int32))}
        if self._asks_tokens:
            spec["token_labels"] = ((self.seq_len,), np.dtype(np.int32))
            spec["token_label_weights"] = ((self.seq_len,), np.dtype(np.float32))
        return spec

    def assemble(self, examples: Examples, splits: Sequence[Split]) -> dict[str, np.ndarray]:
        """As `Layout.assemble`, with

        task: int32 [B].
        token_labels: int32 [B, L], 0 or 1, and token_label_weights: float32 [B, L], 1 where one is
          asked for, in examples of `capitals` at each word's first token: whether the word begins
          with a capital letter; of `document` at each token of the text: whether the same token
          stands elsewhere in the document, up to 4,096 tokens away.
        """
        features = super().assemble(examples, splits) | {"task": examples.tasks}
        if self._asks_tokens:
            flags_BL = features["flags"]
            is_text_BL = (features["attention_mask"] > 0) & (flags_BL != SPECIAL)
            of_capitals, of_document = (
                (examples.tasks == number)[:, None] for number in (self.capitals, self.document)
            )
            asked_BL = is_text_BL & (of_document | of_capitals & (flags_BL & WORD > 0))
            labels_BL = (flags_BL & CAPITAL > 0) & of_capitals
            rows = np.flatnonzero(of_document[:, 0])
            labels_BL[rows] = recurring(features["tokens"][rows], examples, rows, splits)
            features["token_labels"] = (labels_BL & asked_BL).astype(np.int32)
            features["token_label_weights"] = asked_BL.astype(np.float32)
        return features


def recurring(
    tokens_RL: np.ndarray, examples: Examples, rows: np.ndarray, splits: Sequence[Split]
) -> np.ndarray:
    """Bool [R, L]: whether a token stands in the same document outside of its example.

    Args:
      tokens_RL: the rows of these examples.
      examples: of a batch, each of `rows` a run of text within a document.
      rows: int [R], ascending.
      splits: where to read: the split of each source number.
    """
    found_RL = np.zeros(tokens_RL.shape, bool)
    first = np.searchsorted(examples.rows, rows)
    last = np.searchsorted(examples.rows, rows, side="right") - 1
    begins, ends = examples.starts[first], examples.starts[last] + examples.lengths[last]
    for source in np.unique(examples.sources[rows]).tolist():
        here = np.flatnonzero(examples.sources[rows] == source)
        split, begin, end = splits[source], begins[here], ends[here]
        borders = split.sentence_offsets[split.document_offsets]
        document = np.searchsorted(borders, begin, side="right") - 1
        # The run ends within the document, which may be followed by others.
        low = np.maximum(borders[document], begin - _REACH)
        high = np.maximum(np.minimum(borders[document + 1], end + _REACH), end)
        starts = np.stack([low, end], axis=1).reshape(-1)
        sizes = np.stack([begin - low, high - end], axis=1).reshape(-1)
        others = split.read(starts, sizes).astype(np.int64)
        of = np.repeat(np.repeat(np.arange(len(here)), 2), sizes)
        wanted_RL = tokens_RL[here].astype(np.int64) + (np.arange(len(here)) << 32)[:, None]
        found_RL[here] = np.isin(wanted_RL, others + (of << 32))
    return found_RL
