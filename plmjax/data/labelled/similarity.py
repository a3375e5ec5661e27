"""How alike two sentences are, by an embedding of each."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import FLOAT32, INT32, Features, Shapes, framed
from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.text_tasks import Regression
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Similarity(Regression):
    """A number for each pair of sentences, which are read apart; what a model says is the cosine of
    their embeddings (Reimers & Gurevych 2019, Sentence-BERT).

    Attributes:
      text, pair, label: as of `Regression`; there has to be a pair.
      scale: what stands for sentences that mean the same: 5 in the sets of STS.
    """

    text: str = "sentence1"
    pair: str = "sentence2"
    label: str = "score"
    scale: float = 5.0

    default_metric: ClassVar[str] = "spearman"

    def __post_init__(self):
        super().__post_init__()
        if not self.scale > 0:
            raise UserError(f"scale={self.scale}; give a number above 0")
        if not self.pair:
            raise UserError("pair= is empty; name the field of the second sentence")
        if self.both_orders:
            raise UserError(
                "both_orders=True is of pairs that are read as one text; sentences that are read"
                " apart have no order"
            )

    def spec(self, seq_len: int, classes: int) -> Shapes:
        """As of `LabelledTask`: two rows [2, L] and `label`, from 0 to 1."""
        rows = (2, seq_len), INT32
        given = {key: rows for key in ("tokens", "token_types", "attention_mask")}
        return {**given, "label": ((), FLOAT32)}

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`: one of each pair."""
        texts = [text for row in rows for text in self.texts(row)]
        pieces = tokenizer.encode_batch(texts)
        made = [framed(layout, [piece]) for piece in pieces]
        pairs = range(0, len(made), 2)
        long = [len(piece) > layout.room(1) for piece in pieces]
        return Features(
            ids=[[made[at][0], made[at + 1][0]] for at in pairs],
            types=[[made[at][1], made[at + 1][1]] for at in pairs],
            targets={"label": self.targets(rows, classes) / np.float32(self.scale)},
            owners=np.arange(len(rows)),
            cut=sum(long[at] or long[at + 1] for at in pairs),
        )

    def predictions(self, features: Features, logits: np.ndarray, rows: Sequence[Row]) -> Any:
        """As of `LabelledTask`: the cosines, float [N]."""
        return logits.astype(np.float64)
