"""A picture of a run's curves."""

import io
from typing import Any

from etils import epath


def draw_curves(
    records: list[dict[str, Any]],
    path: epath.PathLike,
    title: str,
    figure: str = "",
    best: int | None = None,
) -> None:
    """Draws losses, accuracies and the learning rate over the steps into a PNG file.

    Args:
      records: as `metrics.jsonl` has them; names `train/...` become lines, `held_out/...` dots.
      path: the file to write.
      title: what stands above the picture.
      figure: of a labelled task, by what its best checkpoint is chosen; its figures stand in place
        of the accuracies.
      best: the step of the best checkpoint, which is marked.
    """
    # The object-oriented interface: no window system is looked for, no global state is left.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(picture)
    picture.suptitle(title)
    for axes, (label, names) in zip(
        picture.subplots(1, 3), panels(records, figure).items(), strict=True
    ):
        for name in names:
            points = [(record["step"], record[name]) for record in records if name in record]
            held_out = name.startswith("held")
            style = ("o-" if figure else "o") if held_out else "-"
            axes.plot(*zip(*points, strict=True), style, ms=4, lw=1.2, label=name)
        if best is not None and label != "learning rate":
            axes.axvline(best, color="black", lw=1, ls="--", label=f"best checkpoint: {best:,}")
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(fontsize=7)
    file = io.BytesIO()
    picture.savefig(file, dpi=110, format="png")
    epath.Path(path).write_bytes(file.getvalue())


def panels(records: list[dict[str, Any]], figure: str = "") -> dict[str, list[str]]:
    """The names of the curves under what each panel shows; `figure` as of `draw_curves`.

    Of a labelled task the figures of each type of entity are left out, and thresholds.
    """
    names = sorted({name for record in records for name in record})
    found = {
        "loss (nats)": [name for name in names if name.endswith("loss")],
        "accuracy": [name for name in names if name.endswith("accuracy")],
        "learning rate": [name for name in names if name.endswith("learning_rate")],
    }
    if not figure:
        return found
    kept = [
        name
        for name in names
        if name.startswith("held_out/")
        and name.count("/") == 1
        and not name.endswith(("loss", "threshold"))
    ]
    kept.sort(key=lambda name: name != f"held_out/{figure}")
    learned = [name for name in found["accuracy"] if name not in kept]
    return {
        "loss (nats)": found["loss (nats)"],
        f"figures (the best by {figure})": kept + learned,
        "learning rate": found["learning rate"],
    }
