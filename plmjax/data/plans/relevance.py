"""ERNIE 2.0's relevance: how a title fits a query, from labelled pairs."""

import dataclasses
from typing import ClassVar

import numpy as np

from plmjax.data.plans.base import Plan
from plmjax.data.plans.chunks import truncation
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

TASK = "relevance"


@dataclasses.dataclass(frozen=True)
class Relevance:
    """A query, a title, and one of three classes.

    ERNIE 2.0 (Sun et al. 2020, section 3.2) has them from the log of a search engine, which was not
    released: 0 for a title that was clicked, 1 for one that was shown and not clicked, 2 for a
    random one. Here they are documents of three sentences, query, title and the class as a number,
    from JSON lines with three fields, `jsonl[field=query+title+label]:FILE`.
    """

    task: ClassVar[str] = TASK

    @property
    def labels(self) -> int:
        """How many classes examples have."""
        return 3

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        found = tokenizer.encode_batch([str(number) for number in range(self.labels)])
        words = {TASK: tuple(tuple(ids.tolist()) for ids in found)}
        return make_layout(frame, tokenizer, seq_len, PAIR, labelled=True, words=words)

    def bind(self, split: Split, layout: Layout, seed: int) -> Plan:
        """The plan over a split.

        Raises:
          UserError: where a document is no query, title and class.
        """
        return _RelevancePlan(split, layout, seed)


class _RelevancePlan(Plan):
    """Its table is the class of each document, a byte."""

    def __init__(self, split: Split, layout: Layout, seed: int):
        super().__init__(split, seed)
        self._max_tokens = layout.room(2)
        counts, offsets = np.diff(split.document_offsets), split.sentence_offsets
        wrong = counts != 3
        if not wrong.any():
            # A class is one token, which the form of a tokenizer may put another before.
            last = split.read(offsets[3::3] - 1, np.ones(len(counts), np.int64))
            fits = np.array([last == ids[-1] for ids in layout.words[TASK]])
            self._labels = fits.argmax(axis=0).astype(np.uint8)
            wrong = fits.sum(axis=0) != 1
        if wrong.any():
            raise UserError(
                f"{split.path} is no source of relevance: its document {int(np.argmax(wrong))} is"
                " not a query, a title and a class of 0, 1 or 2; prepare it from JSON lines with"
                " three fields, as in jsonl[field=query+title+label]:FILE"
            )

    def _count(self, cut: int) -> int:
        return self.split.documents

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        offsets = self.split.sentence_offsets
        query, title, end = (offsets[3 * numbers + n] for n in range(3))
        cuts = truncation(title - query, end - title, self._max_tokens)
        lengths = title - query - cuts[0], end - title - cuts[1]
        seeds = self._epoch_seeds(epoch, numbers)
        return Examples.of_segments(seeds, (query, title), lengths, self._labels[numbers])
