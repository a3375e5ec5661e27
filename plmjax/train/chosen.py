"""Which checkpoint of a run is read: the last, the best, or that of a step."""

import dataclasses
import json
from collections.abc import Callable

from etils import epath

from plmjax.errors import UserError
from plmjax.train.checkpoints import complete_steps, find_damage, newest_state

LAST, BEST = "last", "best"


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A checkpoint.

    Attributes:
      step: how many updates it has seen.
      state: its folder.
      told: which it is of its run's, in words.
    """

    step: int
    state: epath.Path
    told: str


def check_choice(which: str) -> None:
    """Raises a UserError for what is neither `last`, `best` nor a number."""
    if which not in (LAST, BEST) and not which.isdecimal():
        raise UserError(
            f"--checkpoint={which} is no checkpoint; give last, best or the number of a step"
        )


def chosen_state(
    directory: epath.PathLike, which: str, remedy: str, say: Callable[[str], None] = print
) -> Chosen:
    """The checkpoint that is asked for.

    Args:
      directory: a run's `checkpoints` folder.
      which: `last` for the newest intact one, `best` for that of which the run's own measure was
        best while it was trained, or a step.
      remedy: what to do where there is none, for messages.
      say: hears of damaged checkpoints.

    Raises:
      UserError: where there is no such checkpoint, or it is damaged.
    """
    check_choice(which)
    folder = epath.Path(directory)
    best = best_step(folder)
    if which == LAST:
        state = newest_state(folder, remedy, say)
        step = int(state.parent.name)
        hint = best is not None and best != step
        more = f"; the best is that of step {best:,}: --checkpoint=best" if hint else ""
        return Chosen(step, state, f"the last{more}")
    steps = complete_steps(folder)
    if which == BEST and best is None:
        raise UserError(
            f"--checkpoint=best: no checkpoint in {folder} was measured as it was saved (there are:"
            f" {_list(steps)}); leave the flag out for the last, and train with"
            " --config.evaluation.every=N to know the best"
        )
    step = best if which == BEST else int(which)
    if step not in steps:
        raise UserError(
            f"--checkpoint={which}: there is no such checkpoint in {folder}; there are:"
            f" {_list(steps)}"
        )
    if damage := find_damage(folder / str(step)):
        raise UserError(f"checkpoint {folder / str(step)} is damaged ({damage}); read another one")
    told = "the best" if which == BEST else "as asked for"
    return Chosen(step, folder / str(step) / "state", told)


def best_step(directory: epath.Path) -> int | None:
    """The step of the best checkpoint, of equals the last; None where none was measured."""
    known = monitors(directory)
    return min(known, key=lambda step: (known[step], -step), default=None)


def monitors(directory: epath.Path) -> dict[int, float]:
    """What decides which checkpoint is best, smaller is better, of each step that was measured."""
    found = {}
    for step in complete_steps(directory):
        # Orbax writes what `Checkpoints.save` was given.
        path = directory / str(step) / "metrics" / "metrics"
        if path.exists():
            found[step] = float(json.loads(path.read_text())["monitor"])
    return {step: value for step, value in found.items() if value == value}


def _list(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) or "none"
