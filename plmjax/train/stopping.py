"""A signal to one process stops all of them, after the same step."""

import contextlib
import threading

from plmjax.parallel.processes import Group
from plmjax.train.hooks import StopSignal


class AgreedStop(contextlib.AbstractContextManager):
    """A StopSignal that any process of a group may get, and all obey at one step.

    When a process has been asked to stop, every process holds its count of steps, writes it into
    the group's table and, when it sees those of all others, goes on to the step after the highest:
    no process can have made that one before it knew. This is how jax's
    `reached_preemption_sync_point` finds its step (XLA's preemption_sync_manager.cc), for SIGINT
    too, and without a signal handler that outlives the training.
    """

    def __init__(self, group: Group, first_step: int):
        """`first_step`: how many updates were made when the training begins."""
        self._group = group
        self._signal = StopSignal()
        self._turn = threading.Condition()
        self._step, self._held, self._posted = first_step, False, False
        self._agreed: int | None = None
        self._number = 0

    def __enter__(self) -> "AgreedStop":
        """Takes the signals over."""
        self._signal.__enter__()
        return self

    def __exit__(self, *_) -> None:
        """Gives the signals back."""
        self._signal.__exit__()

    def asked(self, step: int) -> int:
        """The signal's number, if all are to stop after `step`; to be called after each step."""
        with self._turn:
            while self._held:
                self._turn.wait()
            self._step = step
            return self._number if step == self._agreed else 0

    def look(self) -> None:
        """Takes the agreement a stage further, from another thread; never waits for others.

        Raises:
          RuntimeError: if the group's table does not answer.
        """
        if self._agreed is not None:
            return
        if self._signal.received and not self._posted:
            self._group.post("stop/asked", str(self._signal.received))
        number = self._group.read("stop/asked")
        if number is None:
            return
        with self._turn:
            self._held, self._number = True, int(number)
            step = self._step
        if not self._posted:
            self._group.post(f"stop/at/{self._group.rank}", str(step))
            self._posted = True
        steps = self._group.read_ranks("stop/at")
        if len(steps) == self._group.size:
            with self._turn:
                self._agreed = max(map(int, steps.values())) + 1
                self._held = False
                self._turn.notify_all()
