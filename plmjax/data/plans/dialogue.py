"""ERNIE 1.0's dialogues: three turns with their roles, one of which may be a stranger's."""

import dataclasses
from typing import ClassVar

import numpy as np

from plmjax.data.counter_random import below, fold, key_of, uniform
from plmjax.data.dialogues import QUERY, RESPONSE
from plmjax.data.plans.base import Plan
from plmjax.data.plans.examples import Examples, Split
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError

TASK = "dialogue"
_TURNS = 3
_PATTERNS = ((0, 1, 0), (0, 1, 1), (0, 0, 1))  # QRQ, QRR, QQR
_FIRST_TYPE = 2  # of roles: those before are segments'
_TRIES = 10  # for a dialogue that differs from the example's own


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """Three turns in a row, real (label 0) or with one of them replaced at random (label 1).

    ERNIE 1.0's dialogue language model (Sun et al. 2019, section 4.2): turns of the forms QRQ, QRR
    and QQR, queries and responses, each with the embedding of its role in the place of a segment's
    type; tokens are masked on both sides; and it is told whether a query or response was replaced
    by a random sentence. No code was released. Decided here: token types 2 and 3 are the roles of
    queries and responses, so that 0 and 1 are left to segments; half of the examples are fake; any
    of the three turns is replaced, by any turn of another dialogue; turns are closed like segments,
    and of turns that do not fit the longest lose their ends.

    Documents are dialogues, whose sentences are turns that begin with their role: see
    `plmjax.data.dialogues`.

    Attributes:
      fake_prob: how often a turn is replaced.
    """

    fake_prob: float = 0.5

    task: ClassVar[str] = TASK

    def __post_init__(self):
        if not 0 <= self.fake_prob <= 1:
            raise UserError(f"fake_prob={self.fake_prob} is not a share; give 0 to 1")

    @property
    def labels(self) -> int:
        """How many classes examples have."""
        return 2

    def layout(self, frame: str, tokenizer: Tokenizer, seq_len: int) -> Layout:
        """Rows of these examples."""
        roles = tokenizer.encode_batch([QUERY, RESPONSE])
        words = {TASK: tuple(tuple(ids.tolist()) for ids in roles)}
        return make_layout(
            *(frame, tokenizer, seq_len, PAIR),
            labelled=True,
            piece_types=_FIRST_TYPE + 2,
            words=words,
        )

    def bind(self, split: Split, layout: Layout, seed: int) -> Plan:
        """The plan over a split.

        Raises:
          UserError: where sentences do not begin with a role, or no three turns fit.
        """
        return _DialoguePlan(split, layout, seed, self.fake_prob)


class _DialoguePlan(Plan):
    """Its tables are the role of each turn, a byte, and the turns where examples begin, 8 bytes."""

    def __init__(self, split: Split, layout: Layout, seed: int, fake_prob: float):
        super().__init__(split, seed)
        self._fake_prob = fake_prob
        self._room = layout.room(_TURNS)
        self._marks = np.array([len(ids) for ids in layout.words[TASK]])
        self._roles = roles_of(split, layout.words[TASK])
        self._first = first_turns(self._roles, split.document_offsets)
        if not len(self._first):
            raise UserError(
                f"{split.path} has no three turns in a row of the forms QRQ, QRR and QQR; give"
                " longer dialogues"
            )

    def _count(self, cut: int) -> int:
        return len(self._first)

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        first = self._first[numbers]
        seeds = self._epoch_seeds(epoch, first)
        turns_NT = first[:, None] + np.arange(_TURNS)
        roles_NT = self._roles[turns_NT]
        is_fake = uniform(fold(seeds, key_of("fake"))) < self._fake_prob
        place = below(fold(seeds, key_of("replaced")), _TURNS)
        rows = np.flatnonzero(is_fake)
        turns_NT[rows, place[rows]] = self._from_elsewhere(first[rows], seeds[rows])
        offsets = self.split.sentence_offsets
        starts_NT = offsets[turns_NT] + self._marks[self._roles[turns_NT]]
        lengths_NT = fitted(offsets[turns_NT + 1] - starts_NT, self._room)
        return Examples.of(
            seeds,
            np.repeat(np.arange(len(numbers)), _TURNS),
            starts_NT.reshape(-1),
            lengths_NT.reshape(-1),
            np.tile(np.arange(_TURNS), len(numbers)),
            labels=is_fake,
            types=_FIRST_TYPE + roles_NT.reshape(-1),
        )

    def _from_elsewhere(self, turns: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Random turns of other dialogues."""
        offsets, keys = self.split.document_offsets, fold(seeds, key_of("other turn"))
        own = np.searchsorted(offsets, turns, side="right")
        found, again = turns.copy(), np.arange(len(turns))
        for attempt in range(_TRIES):
            found[again] = below(fold(keys[again], np.array(attempt, np.uint64)), offsets[-1])
            again = again[np.searchsorted(offsets, found[again], side="right") == own[again]]
        return found


def roles_of(split: Split, marks: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Which of the marks each sentence begins with: uint8 [S].

    Raises:
      UserError: where one begins with none.
    """
    offsets, longest = split.sentence_offsets, max(map(len, marks))
    sizes = np.minimum(np.diff(offsets), longest)
    heads = np.full((len(sizes), longest), -1, np.int64)
    heads[np.arange(longest) < sizes[:, None]] = split.read(offsets[:-1], sizes)
    fits = [(heads[:, : len(ids)] == ids).all(axis=1) for ids in marks]
    if not np.logical_or.reduce(fits).all():
        number = int(np.argmin(np.logical_or.reduce(fits)))
        raise UserError(
            f"{split.path} is no source of dialogues: its sentence {number} does not begin with"
            f" {QUERY} or {RESPONSE}; prepare it from JSON lines with a field of turns, as in"
            " jsonl[field=turns]:FILE"
        )
    return np.argmax(fits, axis=0).astype(np.uint8)


def first_turns(roles: np.ndarray, document_offsets: np.ndarray) -> np.ndarray:
    """The turns at which three of one of the forms begin, within their dialogue: int64 [N]."""
    ends = np.repeat(document_offsets[1:], np.diff(document_offsets))
    begin = np.flatnonzero(np.arange(len(roles)) + _TURNS <= ends)
    found = roles[begin[:, None] + np.arange(_TURNS)]
    fits = [(found == np.array(pattern)).all(axis=1) for pattern in _PATTERNS]
    return begin[np.logical_or.reduce(fits)]


def fitted(lengths_NS: np.ndarray, room: int) -> np.ndarray:
    """Lengths of which the longest are cut to the same, until all of a row fit `room`: [N, S]."""
    ascending = np.sort(lengths_NS, axis=1)
    before = np.cumsum(ascending, axis=1) - ascending
    count = lengths_NS.shape[1]
    # As long as the n-th and all that are longer may be.
    most = (room - before) // (count - np.arange(count))
    too_long = ascending > most
    cut = np.where(too_long.any(axis=1), most[np.arange(len(most)), too_long.argmax(axis=1)], room)
    return np.minimum(lengths_NS, cut[:, None])
