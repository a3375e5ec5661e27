"""Translation pairs: a sentence and its translation in one row, for XLM's TLM."""

import dataclasses

import numpy as np

from plmjax.data.plans.base import Plan
from plmjax.data.plans.chunks import truncation
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Translation:
    """Documents of two sentences, source and target; token types 0 and 1 name the languages.

    Positions restart at the target, as in facebookresearch/XLM. What does not fit is cut at the
    end of the longer side, token by token.

    Attributes:
      longest: pairs with a longer side are left out, as XLM does (its max_len, 100); 0 for none.
    """

    longest: int = 0

    def __post_init__(self):
        if self.longest < 0:
            raise UserError(f"longest={self.longest} is negative; give 0 to keep every pair")

    @property
    def labels(self) -> int:
        """How many classes examples have: none."""
        return 0

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        return make_layout(frame, tokenizer, seq_len, PAIR, restart=True)

    def bind(self, split: Split, layout: Layout, seed: int) -> Plan:
        """The plan over a split.

        Raises:
          UserError: where a document has not two sentences, or no pair is short enough.
        """
        return _TranslationPlan(split, layout, seed, self.longest)


class _TranslationPlan(Plan):
    """Its table is the documents that are kept, where some are not: 8 bytes each."""

    def __init__(self, split: Split, layout: Layout, seed: int, longest: int):
        super().__init__(split, seed)
        counts = np.diff(split.document_offsets)
        if (counts != 2).any():
            number = int(np.argmax(counts != 2))
            raise UserError(
                f"{split.path} is no source of translation pairs: its document {number} has "
                f"{counts[number]} sentences; prepare it with two lines to a document, source and "
                "target"
            )
        self._max_tokens = layout.room(2)
        self._kept = None
        if longest:
            sides = np.diff(split.sentence_offsets).reshape(-1, 2)
            self._kept = np.flatnonzero(sides.max(axis=1) <= longest)
            if not len(self._kept):
                raise UserError(f"longest={longest} leaves no pair of {split.path}; give more")

    def _count(self, cut: int) -> int:
        return self.split.documents if self._kept is None else len(self._kept)

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        documents = numbers if self._kept is None else self._kept[numbers]
        offsets = self.split.sentence_offsets
        source, target, end = (offsets[2 * documents + n] for n in range(3))
        cuts = truncation(target - source, end - target, self._max_tokens)
        lengths = target - source - cuts[0], end - target - cuts[1]
        seeds = self._epoch_seeds(epoch, documents)
        return Examples.of_segments(seeds, (source, target), lengths)
