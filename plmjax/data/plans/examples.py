"""What a plan says of a batch: the token ranges that each example is made of."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Split(Protocol):
    """What plans and layouts need of a split of the store (`plmjax.data.store.SplitReader`)."""

    name: str
    path: str
    sentence_offsets: np.ndarray
    document_offsets: np.ndarray

    @property
    def documents(self) -> int: ...

    @property
    def tokens(self) -> int: ...

    def read(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray: ...

    def read_flags(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Examples:
    """N examples made of P pieces, each a range of tokens of the store; no token is copied.

    Attributes:
      seeds: uint64 [N], the key of everything else that is drawn for the example.
      labels: int32 [N], 0 where the plan has none.
      sources: int32 [N], the number of the split that the example is read from.
      tasks: int32 [N], which of several tasks the example is for; 0 where there is one.
      rows: int32 [P], ascending: the example that a piece belongs to; every example has a piece.
      starts: int64 [P], the first token of the piece.
      lengths: int32 [P], its tokens; may be 0.
      segments: int32 [P], from 0 within the example; neighbouring pieces of one segment are one
        run of text.
      types: int32 [P], its token type; the same as its segment where the plan says nothing else.
      closes: bool [P], whether the layout puts its closing token behind the piece.
      ends: bool [P], whether a document ends with the piece, for layouts that mark it.
      backward: bool [N], whether the text of the example's pieces is read from its end.
    """

    seeds: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    tasks: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    segments: np.ndarray
    types: np.ndarray
    closes: np.ndarray
    ends: np.ndarray
    backward: np.ndarray

    def __len__(self) -> int:
        return len(self.seeds)

    @classmethod
    def of(
        cls,
        seeds: np.ndarray,
        rows: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        segments: np.ndarray,
        *,
        labels: np.ndarray | None = None,
        types: np.ndarray | None = None,
        closes: np.ndarray | None = None,
        ends: np.ndarray | None = None,
        backward: np.ndarray | None = None,
    ) -> "Examples":
        """Casts the columns; source, task and label 0, types that are segments, and closed pieces
        that run forward and end no document where nothing is said."""
        segments = segments.astype(np.int32)
        return cls(
            seeds=seeds,
            labels=np.zeros(len(seeds), np.int32) if labels is None else labels.astype(np.int32),
            sources=np.zeros(len(seeds), np.int32),
            tasks=np.zeros(len(seeds), np.int32),
            rows=rows.astype(np.int32),
            starts=starts.astype(np.int64),
            lengths=lengths.astype(np.int32),
            segments=segments,
            types=segments if types is None else types.astype(np.int32),
            closes=np.ones(len(rows), bool) if closes is None else closes,
            ends=np.zeros(len(rows), bool) if ends is None else ends,
            backward=np.zeros(len(seeds), bool) if backward is None else backward,
        )

    @classmethod
    def of_segments(
        cls,
        seeds: np.ndarray,
        starts: Sequence[np.ndarray],
        lengths: Sequence[np.ndarray],
        labels: np.ndarray | None = None,
    ) -> "Examples":
        """Examples that all have the same number of segments, each of one piece.

        Args:
          seeds: uint64 [N].
          starts: for each segment, int64 [N].
          lengths: for each segment, int [N].
          labels: int [N], or None.
        """
        count = len(starts)
        return cls.of(
            seeds,
            np.repeat(np.arange(len(seeds)), count),
            np.stack(starts, axis=1).reshape(-1),
            np.stack(lengths, axis=1).reshape(-1),
            np.tile(np.arange(count), len(seeds)),
            labels=labels,
        )

    def of_source(self, source: int) -> "Examples":
        """The same examples, said to be read from split `source`."""
        return dataclasses.replace(self, sources=np.full(len(self), source, np.int32))

    def of_task(self, task: int) -> "Examples":
        """The same examples, said to be for task number `task`."""
        return dataclasses.replace(self, tasks=np.full(len(self), task, np.int32))

    @classmethod
    def scattered(cls, parts: "Sequence[Examples]", places: Sequence[np.ndarray]) -> "Examples":
        """One batch of all examples of `parts`; those of part i become the rows `places[i]`."""
        if len(parts) == 1 and np.array_equal(places[0], np.arange(len(parts[0]))):
            return parts[0]
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(cls)
        }
        rows = np.concatenate(
            [place[part.rows] for part, place in zip(parts, places, strict=True)]
        ).astype(np.int32)
        pieces = np.argsort(rows, kind="stable")
        examples = np.argsort(np.concatenate(places), kind="stable")
        joined["rows"] = rows
        of_example = ("seeds", "labels", "sources", "tasks", "backward")
        return cls(
            **{
                name: column[examples if name in of_example else pieces]
                for name, column in joined.items()
            }
        )


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers start, start + 1, ... of many ranges, one after the other: int64 [sum]."""
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(starts - before, counts)
