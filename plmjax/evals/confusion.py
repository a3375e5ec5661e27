"""Which class is taken for which, counted and drawn."""

import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from plmjax.evals.metrics.tagging import Span

_NUMBERED = 25
"""Up to so many columns there is room for numbers."""


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A table of counts.

    Attributes:
      counts: int [R, C].
      rows, columns: what the R rows are in truth, and the C columns as a model has it.
    """

    counts: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def of_classes(targets: np.ndarray, found: np.ndarray, classes: Sequence[str]) -> Confusion:
    """How often each class is taken for which.

    Args:
      targets, found: int [N]; `found` is below 0 where a model said no class, which then has a
        column of its own.
      classes: their names.
    """
    columns = (*classes, "(none)") if (found < 0).any() else tuple(classes)
    counts = np.zeros((len(classes), len(columns)), int)
    np.add.at(counts, (targets, np.where(found < 0, len(classes), found)), 1)
    return Confusion(counts, tuple(classes), columns)


def of_entities(
    references: Sequence[Sequence[str]],
    predictions: Sequence[Sequence[str]],
    spans: Callable[[Sequence[str]], list[Span]],
) -> Confusion:
    """How often entities of each type are taken for which, missed, or invented.

    Two entities are the same where they begin and end alike; with another boundary an entity is
    missed, and another invented. So a row's sum is how many of a type there are, a column's how
    many are found, and the diagonal's what is right to `plmjax.evals.metrics.tagging.span_scores`.

    Args:
      references, predictions: lists of tags.
      spans: of the entities that tags mark.
    """
    pairs: list[tuple[str | None, str | None]] = []
    for reference, prediction in zip(references, predictions, strict=True):
        true = {span[:2]: span.type for span in spans(reference)}
        found = {span[:2]: span.type for span in spans(prediction)}
        pairs += [(true.get(at), found.get(at)) for at in true.keys() | found.keys()]
    types = sorted({name for pair in pairs for name in pair if name is not None})
    number: dict[str | None, int] = {name: at for at, name in enumerate(types)}
    number[None] = len(types)
    counts = np.zeros((len(number), len(number)), int)
    for truth, said in pairs:
        counts[number[truth], number[said]] += 1
    return Confusion(counts, (*types, "(invented)"), (*types, "(missed)"))


def of_tags(
    references: Sequence[Sequence[str]],
    predictions: Sequence[Sequence[str]],
    tags: Sequence[str],
) -> Confusion:
    """How often each tag is taken for which.

    Args:
      references, predictions: lists of tags.
      tags: all there are.
    """
    number = {tag: at for at, tag in enumerate(tags)}
    numbers = (
        np.array([number[tag] for some in lists for tag in some], int)
        for lists in (references, predictions)
    )
    return of_classes(*numbers, tags)


def draw_confusion(confusion: Confusion, path: epath.PathLike) -> None:
    """Draws the counts, coloured by their share of the row, into the PNG file `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = confusion.counts
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.45 * len(confusion.columns)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(confusion.columns) <= _NUMBERED:
        for row, column in np.ndindex(counts.shape):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color)
    axes.set_xticks(range(len(confusion.columns)), confusion.columns, rotation=90)
    axes.set_yticks(range(len(confusion.rows)), confusion.rows)
    axes.set(xlabel="predicted", ylabel="true")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    epath.Path(path).write_bytes(picture.getvalue())
