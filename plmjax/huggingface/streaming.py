"""Their tensors made of ours one at a time, so that memory never holds a whole model."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from plmjax.huggingface.keys import Entry, Shape


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a tensor of theirs has of ours: a parameter, or a layer's part of a stacked one.

    index: of the layer on the stacked axis; None where there is none.
    """

    entry: Entry
    index: int | None


def pieces(table: Iterable[Entry]) -> dict[str, list[Piece]]:
    """What each of their tensors is made of, its parts in their order."""
    found: dict[str, list[Piece]] = {}
    for entry in table:
        for index, name in enumerate(entry.names):
            piece = Piece(entry, index if entry.is_stacked else None)
            found.setdefault(name, []).append(piece)
    return {name: sorted(some, key=lambda p: p.entry.part) for name, some in found.items()}


def tensor(
    made_of: list[Piece], read: Callable[[str, int | None], np.ndarray], shape: Shape
) -> np.ndarray:
    """One of their tensors.

    Args:
      made_of: one of `pieces`.
      read: gives the parameter at a path, or one layer of a stacked one.
      shape: of the model.
    """
    parts = [piece.entry.give(read(piece.entry.ours, piece.index), shape) for piece in made_of]
    return np.concatenate(parts, axis=made_of[0].entry.axis) if len(parts) > 1 else parts[0]


def shapes(
    made_of: Mapping[str, list[Piece]], ours: Mapping[str, tuple[int, ...]], shape: Shape
) -> dict[str, tuple[int, ...]]:
    """The shape of each of their tensors, by those of our parameters."""

    def nothing(path: str, index: int | None) -> np.ndarray:
        # A byte that stands for all of them: the transforms say the shape, values do not matter.
        whole = ours[path]
        return np.broadcast_to(np.zeros((), np.int8), whole if index is None else whole[1:])

    return {name: tensor(some, nothing, shape).shape for name, some in made_of.items()}
