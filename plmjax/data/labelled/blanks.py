"""Which idiom is left out of a text, of candidates that the blanks of several texts share: ChID."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from plmjax.data.labelled.base import Features, field, framed
from plmjax.data.labelled.options import Choice
from plmjax.data.labelled.rows import Row
from plmjax.data.plans.layout import Layout
from plmjax.data.tokenizers import Tokenizer

_OTHER = re.compile(r"#idiom\d*#")
_MASKS = 4
_BLANK = -1


@dataclasses.dataclass(frozen=True)
class Blanks(Choice):
    """A blank in a text, and candidates of which one belongs there.

    Each candidate makes a row, [CLS] idiom [SEP] left [unused1] right [SEP], all of token type 0,
    with as much of the text around the blank as there is room for; the other blanks of the text are
    four [MASK]. Source: CLUE's baseline (mrc_pytorch/preprocess/CHID_preprocess.py). A vocabulary
    without [unused1] has its mask there, one without a mask `_`.

    Attributes:
      text, pair, options, label, most_options: as of `Choice`; `text` is what is left of the blank
        and `pair` what is right of it.
      group: the field that says which blanks share their candidates, of which metrics use each
        once; empty where none do.
    """

    text: str = "left"
    pair: str = "right"
    group: str = "group"

    default_metric: ClassVar[str] = "chid"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of metrics that may measure it."""
        return ("exclusive_choice",)

    def check(self, row: Row, classes: Sequence[str]) -> None:
        """As of `LabelledTask`."""
        super().check(row, classes)
        if self.group:
            field(row, self.group, "config.task.group")

    def features(
        self, rows: Sequence[Row], classes: Sequence[str], tokenizer: Tokenizer, layout: Layout
    ) -> Features:
        """As of `LabelledTask`: one of each blank; `places` are numbers of options."""
        most = len(classes)
        mark, other = marks(tokenizer)
        idioms = list(dict.fromkeys(one for row in rows for one in self.choices(row)))
        pieces = dict(zip(idioms, tokenizer.encode_batch(idioms), strict=True))
        sides = [_pieces([row.fields[side] for row in rows], tokenizer) for side in self._sides]
        ids, types, cut = [], [], 0
        weights = np.zeros((len(rows), most), np.float32)
        for number, row in enumerate(rows):
            options = [pieces[one] for one in self.choices(row)]
            left, right = (side[number] for side in sides)
            room = layout.room(2) - max(map(len, options)) - len(mark)
            cut += len(left) + len(right) > room
            left, right = around(left, right, max(room, 0))
            text = np.concatenate([expanded(left, other, True), mark, expanded(right, other)])
            nothing = (text[:0], text[:0])
            pairs = [(option, text) for option in options]
            made = [framed(layout, pair) for pair in [*pairs, *[nothing] * (most - len(pairs))]]
            ids.append([one for one, _ in made])
            types.append([np.where(of >= layout.piece_types, of, 0) for _, of in made])
            weights[number, : len(options)] = 1
        targets = {"label": self._labels(rows), "option_weights": weights}
        counts = [len(self.choices(row)) for row in rows]
        return Features(ids, types, targets, np.arange(len(rows)), cut, counts)

    def references(self, rows: Sequence[Row], classes: Sequence[str]) -> list[np.ndarray]:
        """As of `LabelledTask`: the right candidates of each group, int [B]."""
        return self._grouped(self._labels(rows), rows)

    def predictions(
        self, features: Features, logits: np.ndarray, rows: Sequence[Row]
    ) -> list[np.ndarray]:
        """As of `LabelledTask`: the scores of each group, float [B, C]; `logits` are [N, O]."""
        groups = self._grouped(super().predictions(features, logits, rows), rows)
        return [np.stack(group) for group in groups]

    def usual(self, references: list[np.ndarray], rows: Sequence[Row]) -> list[np.ndarray]:
        """As of `LabelledTask`: the most frequent place."""
        alike = super().usual(np.concatenate(references), rows)
        return [np.stack(group) for group in self._grouped(alike, rows)]

    def said(
        self, predictions: list[np.ndarray], logits: Any, classes: Any, rows: Sequence[Row]
    ) -> list[dict[str, Any]]:
        """As of `LabelledTask`, of each blank by itself."""
        return super().said(list(itertools.chain(*predictions)), logits, classes, rows)

    @property
    def _sides(self) -> tuple[str, str]:
        return self.text, self.pair

    def _labels(self, rows: Sequence[Row]) -> np.ndarray:
        return np.array([row.fields[self.label] for row in rows], np.int32)

    def _grouped(self, values: Any, rows: Sequence[Row]) -> list[Any]:
        """Values of rows by their groups, whose rows stand one behind the other."""
        numbers = range(len(rows))
        groups = itertools.groupby(
            numbers, lambda at: rows[at].fields[self.group] if self.group else at
        )
        return [values[some[0] : some[-1] + 1] for some in (list(group) for _, group in groups)]


def marks(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """What stands for the blank, and for another one: ids."""
    mask = tokenizer.id_of("mask")
    plain = [mask] if mask is not None else tokenizer.encode_batch(["_"])[0]
    own = [tokenizer.ids["[unused1]"]] if "[unused1]" in tokenizer.ids else plain
    return np.asarray(own, np.int32), np.tile(np.asarray(plain, np.int32), _MASKS)


def around(left: np.ndarray, right: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """As many tokens of both sides as there is room for: half of each, or where one side has fewer
    the rest of the other (`add_tokens_for_around`, but for short texts with a blank in their second
    half, of which that loses the beginning: its slice begins at a number below 0)."""
    half = room // 2
    if len(left) <= half:
        return left, right[: room - len(left)]
    if len(right) <= room - half:
        return left[max(len(left) - (room - len(right)), 0) :], right
    return left[len(left) - half :], right[: room - half]


def expanded(ids: np.ndarray, other: np.ndarray, from_end: bool = False) -> np.ndarray:
    """As many ids with masks for other blanks, which take the room of what is furthest away."""
    parts = [other if one == _BLANK else np.array([one], np.int32) for one in ids.tolist()]
    whole = np.concatenate([*parts, np.zeros(0, np.int32)]).astype(np.int32)
    return whole[max(len(whole) - len(ids), 0) :] if from_end else whole[: len(ids)]


def _pieces(texts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    """The ids of each text, other blanks being one id that is none."""
    parts = [_OTHER.split(text) for text in texts]
    ids = iter(tokenizer.encode_batch([part for some in parts for part in some]))
    blank = np.array([_BLANK], np.int32)
    found = []
    for some in parts:
        own = [next(ids) for _ in some]
        apart = [piece for one in own for piece in (one, blank)][:-1]
        found.append(np.concatenate(apart).astype(np.int32))
    return found
