"""What a task has come to: means with their errors, as a table or as JSON."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of a task.

    Attributes:
      metric: what it is.
      value: the mean over items.
      error: the standard error of that mean; None where there are no items to vary.
      count: of items.
      chance: what guessing gives; None where that is nothing to compare with.
      group: of which of the task's groups; empty for all.
    """

    task: str
    shots: int | None
    metric: str
    value: float
    error: float | None
    count: int
    chance: float | None = None
    group: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its fields, those that say nothing left out."""
        fields = dataclasses.asdict(self)
        return {key: value for key, value in fields.items() if value not in (None, "")}


def mean_row(
    task: str,
    shots: int,
    metric: str,
    values: Sequence[float],
    chances: Sequence[float] | None = None,
    group: str = "",
) -> Row:
    """The mean of items with the standard error, the deviation over the root of their number."""
    count = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(count) if count > 1 else None
    chance = float(np.mean(chances)) if chances else None
    return Row(task, shots, metric, float(np.mean(values)), error, count, chance, group)


def table(rows: Sequence[Row]) -> str:
    """The rows for a person."""
    heads = ("task", "shots", "metric", "value", "± error", "items", "chance")
    lines = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    left = (True, False, True, *(False,) * 4)
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if is_left else f"{cell:>{width}}"
            for cell, width, is_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    is_share = not row.metric.startswith(("perplexity", "bits"))

    def figure(value: float | None) -> str:
        if value is None:
            return "-"
        if is_share:
            return f"{value:.1%}"
        return f"{value:.3f}" if value < 1e6 else f"{value:.3g}"

    name = f"{row.task}: {row.group}" if row.group else row.task
    shots = "-" if row.shots is None else str(row.shots)
    error = figure(row.error)
    return name, shots, row.metric, figure(row.value), error, f"{row.count:,}", figure(row.chance)
