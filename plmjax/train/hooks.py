"""What happens beside the updates: logging, evaluation, checkpoints, profiles, preemption.

The loop calls `after_step` of each hook after it has dispatched a step, in order, and `finish`
when the run has come to its end.
"""

import collections
import contextlib
import dataclasses
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from etils import epath

from plmjax.errors import UserError
from plmjax.train.checkpoints import Checkpoints
from plmjax.train.guard import Guard, GuardConfig, act, bad_update
from plmjax.train.metrics import MetricsWriter
from plmjax.train.state import TrainState
from plmjax.train.step import BAD_STEPS, means
from plmjax.types import OF_TYPE, OVERFLOW, Mean


@dataclasses.dataclass(frozen=True)
class Event:
    """A step that has been dispatched and need not be finished.

    step: how many updates `state` has seen. metrics: its sums since the last log line, and
      BAD_STEPS.
    tokens: how many positions, padding included, the step's global batch has.
    """

    step: int
    state: TrainState
    metrics: dict[str, Mean]
    tokens: int


class Hook:
    """Something that looks at the run between two steps."""

    def after_step(self, event: Event) -> None:
        """Called after each dispatch."""

    def finish(self) -> None:
        """Called once, after the last step."""


class Preempted(Exception):
    """The run was asked to stop (SIGTERM, SIGINT) and has saved what it had."""

    def __init__(self, step: int, signal_number: int):
        """`step`: where the run will resume."""
        super().__init__(step)
        self.step = step
        self.signal_number = signal_number


class Watch(Hook):
    """Ends the run, or asks for a rewind, soon after an update for which the device asks it.

    The count of bad updates is fetched of steps that have finished, so that the device never
    waits. It is that of a fixed number of steps back and not of whatever is ready, so that all
    processes leave the loop after the same dispatch.
    """

    def __init__(self, config: GuardConfig, behind: int):
        """`behind`: of how many steps back the count is fetched."""
        self._config = config
        self._behind = behind
        self._counts = collections.deque()
        self._seen = 0
        self._newest: Guard | None = None

    def after_step(self, event: Event) -> None:
        """Looks at a step that is behind; if it was bad, at all until now."""
        self._newest = event.state.guard
        self._counts.append(event.metrics[BAD_STEPS].sum)
        if len(self._counts) <= self._behind:
            return
        count = int(jax.device_get(self._counts.popleft()))
        if count > self._seen:
            self._seen = count
            self.flush()

    def flush(self) -> None:
        """Looks at all steps until now; waits for the last.

        Raises:
          RewindAsked, UserError: as `plmjax.train.guard.act`.
        """
        bad = None if self._newest is None else bad_update(self._newest)
        if bad is not None:
            act(bad, self._config)


class Log(Hook):
    """Writes the means of each window of `every` steps, and prints the progress line.

    A window's numbers are fetched when the step after it has been dispatched, so that logging
    does not stall the device.
    """

    def __init__(
        self,
        writer: MetricsWriter,
        *,
        every: int,
        first_step: int,
        last_step: int,
        learning_rate: Callable[[int], Any],
        say: Callable[[str], None],
        rewound_to: Sequence[int] = (),
    ):
        """Logs from `first_step` on.

        Args:
          writer: where to.
          every: steps that a record covers.
          first_step: how many updates are made already.
          last_step: where the run ends.
          learning_rate: of a count of updates that were made; the one after t of them uses
            learning_rate(t).
          say: prints the progress line.
          rewound_to: the steps to which the run has gone back, one for each rewind.
        """
        self._writer = writer
        self._every = every
        self._last_step = last_step
        self._learning_rate = learning_rate
        self._say = say
        self._rewound_to = rewound_to
        self._pending: Event | None = None
        self._seen = (first_step, time.monotonic(), 0)
        self._tokens = 0

    def after_step(self, event: Event) -> None:
        """Writes the window before, if it is ready; remembers this one, if it ends here."""
        self.flush()
        self._tokens += event.tokens
        if event.step % self._every == 0 or event.step == self._last_step:
            self._pending = event

    def finish(self) -> None:
        """Writes what is left."""
        self.flush()

    def flush(self) -> None:
        """Writes the window that has ended, if there is one; waits for its last step."""
        if self._pending is None:
            return
        event, self._pending = self._pending, None
        values = self._values(event)
        now, (step, then, tokens) = time.monotonic(), self._seen
        seconds = max(now - then, 1e-9)
        rates = {
            "steps_per_second": (event.step - step) / seconds,
            "tokens_per_second": (self._tokens - tokens) / seconds,
        }
        self._seen = (event.step, now, self._tokens)
        self._writer.write(
            event.step,
            {f"train/{name}": value for name, value in values.items()}
            | {f"speed/{name}": value for name, value in rates.items()},
        )
        left = (self._last_step - event.step) / max(rates["steps_per_second"], 1e-9)
        self._say(progress_line(event.step, self._last_step, values, rates, left))

    def _values(self, event: Event) -> dict[str, float]:
        """What is logged of a window; its means leave bad steps out, and if all are there are none.

        A bad update leaves the optimizer's count where it was, and so the learning rate.
        """
        values = means(event.metrics)
        bad = round(values.get(BAD_STEPS, 0.0))
        if not float(event.metrics["loss"].weight):
            values = {BAD_STEPS: values[BAD_STEPS]}
        values["learning_rate"] = float(self._learning_rate(max(event.step - 1 - bad, 0)))
        if rewinds := sum(step < event.step for step in self._rewound_to):
            values["rewinds"] = float(rewinds)
        return values


class Evaluate(Hook):
    """Runs an evaluation every `every` steps and at the end, and keeps its latest result."""

    def __init__(
        self,
        evaluate: Callable[[Any], dict[str, float]],
        writer: MetricsWriter,
        *,
        every: int,
        last_step: int,
        say: Callable[[str], None],
    ):
        """`evaluate`: from parameters to named numbers. `every`: 0 for the end only."""
        self._evaluate = evaluate
        self._writer = writer
        self._every = every
        self._last_step = last_step
        self._say = say
        self.latest: tuple[int, dict[str, float]] | None = None

    def after_step(self, event: Event) -> None:
        """Evaluates, if it is time."""
        due = self._every and event.step % self._every == 0
        if not due and event.step != self._last_step:
            return
        values = self._evaluate(event.state.params)
        self.latest = (event.step, values)
        self._writer.write(event.step, {f"held_out/{name}": v for name, v in values.items()})
        whole = {name: value for name, value in values.items() if OF_TYPE not in name}
        said = {name: value for name, value in whole.items() if name != OVERFLOW or value}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in said.items())
        self._say(f"held-out at step {event.step}: {shown}")


class Save(Hook):
    """Saves a checkpoint every `every` steps, at the end, and when a signal asks to stop; if asked
    for, where an evaluation is the best so far, too.

    Comes after Log and Evaluate: what a checkpoint's step has logged must be written before the
    checkpoint counts, or a run resumed from it would lack those records.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        writer: MetricsWriter,
        log: Log,
        evaluate: Evaluate | None,
        stop: "StopSignal",
        *,
        watch: Watch | None = None,
        every: int,
        last_step: int,
        monitor: Callable[[Mapping[str, float]], float],
        best: float | None = None,
    ):
        """Saves to `checkpoints`.

        Args:
          checkpoints: of the run.
          writer, log, evaluate: what has to be written first.
          stop: asks for a save, and the end.
          watch: has to see a step before it is saved.
          every: steps from one save to the next.
          last_step: where the run ends.
          monitor: of the scores of an evaluation, what the best checkpoint has least of.
          best: the least that a checkpoint has of it so far, infinity before the first; what has
            less is saved. None saves at its time alone.
        """
        self._best = best
        self._checkpoints = checkpoints
        self._writer = writer
        self._log = log
        self._evaluate = evaluate
        self._stop = stop
        self._watch = watch
        self._every = every
        self._last_step = last_step
        self._monitor = monitor

    def after_step(self, event: Event) -> None:
        """Begins a save, if it is time.

        Raises:
          Preempted: after a save that a signal asked for.
          RewindAsked, UserError: as `Watch.flush`, instead of a save.
        """
        asked, monitored = self._stop.asked(event.step), self._monitored(event.step)
        is_best = self._is_best(monitored)
        is_due = event.step % self._every == 0 or event.step == self._last_step
        if not (asked or is_best or is_due):
            return
        if self._watch:
            self._watch.flush()
        self._log.flush()
        self._writer.flush()
        self._checkpoints.save(event.step, event.state, monitored)
        if asked and event.step != self._last_step:
            self._checkpoints.wait()
            raise Preempted(event.step, asked)

    def finish(self) -> None:
        """Waits for the last save."""
        self._checkpoints.wait()

    def _is_best(self, monitored: float | None) -> bool:
        if self._best is None or monitored is None or not monitored < self._best:
            return False
        self._best = monitored
        return True

    def _monitored(self, step: int) -> float | None:
        if self._evaluate is None or self._evaluate.latest is None:
            return None
        evaluated_at, values = self._evaluate.latest
        return self._monitor(values) if evaluated_at == step else None


def profiled_range(text: str, last_step: int) -> tuple[int, int] | None:
    """`A:B` as numbers, None for the empty text; anything else is a UserError."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+):(\d+)", text)
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    # Not from 0 on: the first step compiles, and there is nothing to wait for before it.
    if not 1 <= first < last <= last_step:
        raise UserError(
            f"--profile_steps={text}; expected A:B with 1 <= A < B <= {last_step}, the run's last"
            " step, for example 10:15"
        )
    return first, last


class Profile(Hook):
    """Records steps first+1 to last for xprof, under `folder`."""

    def __init__(self, folder: epath.Path, first: int, last: int, say: Callable[[str], None]):
        """The profile starts when `first` steps are done and ends after step `last`."""
        self._folder = folder
        self._first = first
        self._last = last
        self._say = say
        self._on = False

    def after_step(self, event: Event) -> None:
        """Starts or stops the profiler, on a device that has nothing left to do."""
        if event.step == self._first:
            jax.block_until_ready(event.metrics)
            jax.profiler.start_trace(str(self._folder))
            self._on = True
        elif event.step == self._last and self._on:
            jax.block_until_ready(event.metrics)
            self.finish()

    def finish(self) -> None:
        """Writes the profile, if one is being recorded."""
        if self._on:
            jax.profiler.stop_trace()
            self._on = False
            self._say(f"profile written; look at it with: xprof --logdir={self._folder}")


class StopSignal(contextlib.AbstractContextManager):
    """Remembers SIGTERM and SIGINT while it is entered; a second one acts as usual."""

    received: int = 0

    def __enter__(self) -> "StopSignal":
        """Takes the signals over."""
        self._before = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self, step: int) -> int:
        """The number of the signal that asks to stop after `step`; 0 if none does."""
        return self.received

    def _receive(self, number: int, _) -> None:
        self.received = number
        signal.signal(number, self._before[number])


def progress_line(
    step: int, last: int, values: dict[str, float], rates: dict[str, float], seconds_left: float
) -> str:
    """One line for a person: step, losses, accuracies, learning rate, speed, time left."""
    parts = [f"step {step:>{len(str(last))}}/{last}"]
    for name, value in values.items():
        if name.endswith("accuracy"):
            parts.append(f"{name.replace('_', ' ')} {value:6.2%}")
        elif name == "learning_rate":
            parts.append(f"lr {value:.2e}")
        elif name.endswith("loss"):
            parts.append(f"{name.replace('_', ' ')} {value:.4f}")
        elif name == OVERFLOW and value:
            parts.append(f"{value:.2g} targets an example find no slot")
        elif name in (BAD_STEPS, "rewinds") and value:
            parts.append(f"{name.replace('_', ' ')} {value:.0f}")
    parts.append(f"{rates['steps_per_second']:.2f} steps/s")
    parts.append(f"{rates['tokens_per_second']:,.0f} tokens/s")
    parts.append(f"{clock(seconds_left)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """`75` as `1:15`, `3675` as `1:01:15`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
