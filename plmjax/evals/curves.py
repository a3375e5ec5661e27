"""A picture of a run's curves."""

import io
from typing import Any

from etils import epath


def draw_curves(records: list[dict[str, Any]], path: epath.PathLike, title: str) -> None:
    """Draws losses, accuracies and the learning rate over the steps into a PNG file.

    Args:
      records: as `metrics.jsonl` has them; names `train/...` become lines, `held_out/...` dots.
      path: the file to write.
      title: what stands above the picture.
    """
    # The object-oriented interface: no window system is looked for, no global state is left.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = {"loss": "loss (nats)", "accuracy": "accuracy", "learning_rate": "learning rate"}
    for axes, (ending, label) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        names = sorted({name for record in records for name in record if name.endswith(ending)})
        for name in names:
            points = [(record["step"], record[name]) for record in records if name in record]
            axes.plot(
                *zip(*points, strict=True),
                "o" if name.startswith("held") else "-",
                ms=4,
                lw=1.2,
                label=name,
            )
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png")
    epath.Path(path).write_bytes(picture.getvalue())
