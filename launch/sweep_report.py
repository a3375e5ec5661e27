"""What the runs of a sweep came to: a line each, settings over their seeds, and a picture."""

import io
import json
from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from launch.chains import spread

SEED = "seed"
LESS_IS_BETTER = ("loss", "perplexity", "bits_per_byte")


class Swept(NamedTuple):
    """A finished run: its name, its settings without the seed, and what it scores."""

    name: str
    settings: str
    scores: dict[str, float]


def finished(runs: Sequence[tuple[str, str, Sequence[tuple[str, str]]]]) -> list[Swept]:
    """Those that are finished of runs: name, workdir, and the key and value of each setting."""
    found = []
    for name, workdir, point in runs:
        path = epath.Path(workdir) / "evaluation.json"
        if path.exists():
            others = ((key.rpartition(".")[2], value) for key, value in point)
            settings = ",".join(f"{key}={value}" for key, value in others if key != SEED)
            scores = json.loads(path.read_text())["scores"]["this model"]
            found.append(Swept(name, settings, scores))
    return found


def objective_of(runs: Sequence[Swept], workdir: str) -> str:
    """The number that counts where none is asked for: of a labelled task what its best checkpoint
    is chosen by, of text the loss of the tokens.

    Args:
      runs: at least one. workdir: of one of them.
    """
    record = epath.Path(workdir) / "run.json"
    task = json.loads(record.read_text())["config"].get("task") if record.exists() else None
    if task:
        from plmjax.data.labelled.sets import task_of
        from plmjax.task_figures import metric_of

        return metric_of(task_of(task)).main
    there = list(runs[0].scores)
    return ([name for name in there if name.endswith("lm_loss")] or there)[0]


def larger_is_better(objective: str) -> bool:
    """Of a number of that name."""
    return not objective.endswith(LESS_IS_BETTER)


def table(runs: Sequence[Swept], objective: str) -> str:
    """A line for each run, best first; where settings have several seeds, their mean and standard
    deviation below, best first."""
    best_first = sorted(
        runs, key=lambda run: run.scores[objective], reverse=larger_is_better(objective)
    )
    lines = [
        "  ".join([*(f"{key} {value:.4f}" for key, value in run.scores.items()), run.name])
        for run in best_first
    ]
    groups = {name: spread(values) for name, values in _over_seeds(runs, objective).items()}
    if all(count == 1 for _, _, count in groups.values()):
        return "\n".join(lines)
    lines += ["", f"{objective}: mean ± standard deviation (runs)"]
    order = sorted(groups, key=lambda name: groups[name][0], reverse=larger_is_better(objective))
    for name in order:
        mean, deviation, count = groups[name]
        lines.append(f"  {mean:.4f} ± {deviation:.4f} ({count})  {name}")
    best = next(run for run in best_first if run.settings == order[0])
    lines += ["", f"Best by the development set: {order[0] or 'these settings'}; its best run is"]
    return "\n".join([*lines, f"  {best.name}"])


def draw(runs: Sequence[Swept], objective: str, path: epath.PathLike) -> None:
    """Draws the number of each run, and the mean over seeds, for all settings into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = _over_seeds(runs, objective)
    figure = Figure(figsize=(max(4.0, 1.5 + 0.9 * len(groups)), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, values in enumerate(groups.values()):
        axes.plot([place] * len(values), values, "o", color="tab:gray", alpha=0.6)
        mean, deviation, _ = spread(values)
        axes.errorbar(place, mean, deviation, fmt="_", ms=22, capsize=4, color="tab:blue")
    axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right")
    axes.set(ylabel=objective)
    axes.grid(axis="y", alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    epath.Path(path).write_bytes(picture.getvalue())


def _over_seeds(runs: Sequence[Swept], objective: str) -> dict[str, list[float]]:
    """The numbers of each combination of settings, in the order of the sweep."""
    groups: dict[str, list[float]] = {}
    for run in runs:
        groups.setdefault(run.settings, []).append(run.scores[objective])
    return groups
