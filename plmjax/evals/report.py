"""The last page of a run: held-out numbers beside their baselines, and filled-in blanks."""

import dataclasses
import json
from typing import Any

from etils import epath

from plmjax.types import OF_TYPE

FILE = "evaluation.json"
HELD_OUT = "held-out documents"
_RATES = ("accuracy", "auc")


@dataclasses.dataclass(frozen=True)
class Report:
    """What a finished run is judged by.

    scores: name of a model or baseline -> metric -> number.
    blanks: as `fill_blanks` returns them.
    on: what it was measured on.
    """

    step: int
    scores: dict[str, dict[str, float]]
    blanks: list[dict[str, Any]]
    on: str = HELD_OUT

    @classmethod
    def read(cls, workdir: epath.Path) -> "Report | None":
        """The report of the run in `workdir`; None if it has none yet, or one that is damaged.

        A run without a report makes it anew.
        """
        path = workdir / FILE
        try:
            return cls(**json.loads(path.read_text())) if path.exists() else None
        except (ValueError, TypeError):
            return None

    def to_json(self) -> str:
        """The text of the report's file."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def text(self) -> str:
        """The report for a person: a table, then the sentences."""
        first = self.scores.get("unigram", self.scores["this model"])
        columns = {name: self._title(name) for name in first if OF_TYPE not in name}
        for numbers in self.scores.values():
            columns |= {name: self._title(name) for name in numbers if name.endswith(_RATES)}
        wide = {name: max(12, len(title)) for name, title in columns.items()}
        width = max(len(name) for name in self.scores)
        lines = [f"On {self.on}:", ""]
        titles = [f"{title:>{wide[key]}}" for key, title in columns.items()]
        lines.append("  ".join([" " * width, *titles]))
        for name, numbers in self.scores.items():
            cells = [f"{_cell(key, numbers.get(key)):>{wide[key]}}" for key in columns]
            lines.append("  ".join([f"{name:<{width}}", *cells]))
        lines += self._by_type()
        if self.blanks:
            lines += ["", "Held-out sentences, a word left out:"]
        for blank in self.blanks:
            guesses = ", ".join(f"{word} {p:.0%}" for word, p in blank["guesses"])
            lines += ["", f"  {blank['text']}", f"    {guesses}   (it was: {blank['answer']})"]
        return "\n".join(lines)

    def _by_type(self) -> list[str]:
        """A line for each type of which there are figures of its own, such as `PER/f1`."""
        found: dict[str, dict[str, float]] = {}
        for name, number in self.scores["this model"].items():
            kind, of, figure = name.partition(OF_TYPE)
            if of:
                found.setdefault(kind, {})[figure] = number
        if not found:
            return []
        columns = list(dict.fromkeys(figure for numbers in found.values() for figure in numbers))
        width = max(map(len, ("this model", *found)))
        lines = ["", "  ".join([f"{'this model':<{width}}", *(f"{name:>12}" for name in columns)])]
        for kind, numbers in found.items():
            cells = [f"{_cell(name, numbers.get(name)):>12}" for name in columns]
            lines.append("  ".join([f"{kind:<{width}}", *cells]))
        return lines

    def _title(self, name: str) -> str:
        task, _, what = name.partition("_")
        if self.on != HELD_OUT:  # figures of a labelled task, which begin with no term
            return name.replace("_", " ")
        return f"{task.upper()} {what.replace('_', ' ').replace('auc', 'AUC')}"


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):  # a count
        return f"{value:,}"
    if name.endswith("accuracy"):
        return f"{value:.1%}"
    return f"{value:.1f}" if name.endswith("perplexity") else f"{value:.3f}"
