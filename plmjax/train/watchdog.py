"""What would hang a run ends it with a reason, in every process.

A thread in each process gives signs of life to the others and looks for theirs, and for the reason
that a process leaves behind when it ends. One that stands still while its main thread waits for
ever, in a collective whose other side is gone, is ended by this thread.

Stated times, from the event to the end of every process:
  a process that fails:     a second or two; LINGER_SECONDS more for rank 0, which keeps the table.
  a process that is killed: `silence` seconds. Of rank 0, jax hears at once and aborts the others.
  a run that stands still:  `train.stall_seconds`.
"""

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from plmjax.errors import UserError
from plmjax.parallel.processes import Group, answers, on_abort
from plmjax.train.hooks import Event, Hook

EXIT_CODE = 70
"""EX_SOFTWARE, of a process that was well and ended because another was not, or nothing moved."""

SILENCE_SECONDS = 60.0
"""After so long without a sign of life a process counts as dead, by default."""

PATIENCE = 5
"""How many times `train.stall_seconds` what compiles, evaluates or saves may take."""

LINGER_SECONDS = 10.0
"""How long rank 0 waits for the others to have read why the run ends."""

_TICK = 0.5  # seconds between two looks
_END, _BEAT, _GONE = "end", "beat", "gone"


class Watchdog:
    """Watches over this process and the others of its group, from `start` to `stop`.

    Time is counted in looks, not read from a clock, so that a process that was suspended does not
    take its own sleep for a stall.
    """

    def __init__(self, group: Group, silence: float = SILENCE_SECONDS):
        """`silence`: seconds after which a process that gives no sign of life counts as dead."""
        self.group = group
        self._silence = silence
        self._over = threading.Event()
        self._ends = threading.Lock()  # only one thread may end the process
        self._ended = self._reported = False
        self._doing, self._patience, self._idle = "starts", PATIENCE, 0.0
        self._limit, self._folder = 0.0, None
        self._looks, self._heard = 0, 0
        self._beats: dict[int, tuple[str, int]] = {}
        self._agreements: list[Any] = []
        jobs = [self._watch, self._talk] if group.size > 1 else [self._watch]
        self._undo = lambda: None
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]

    def start(self) -> None:
        """Begins to watch."""
        for thread in self._threads:
            thread.start()
        if self.group.rank:
            self._undo = on_abort(self._aborted, EXIT_CODE)

    def stop(self) -> None:
        """Watches no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._undo()
        faulthandler.cancel_dump_traceback_later()

    def progress(self, doing: str, patience: int = 1) -> None:
        """Says that the process has moved, what it does next, and how many times longer it may."""
        is_other = patience != self._patience
        self._doing, self._patience, self._idle = doing, patience, 0.0
        if is_other:
            self._arm()

    @contextlib.contextmanager
    def expecting_steps(self, seconds: float, folder: epath.Path) -> Iterator[None]:
        """While it is entered, a time of `seconds` without progress ends the run; 0 for no limit.

        Every rank's stacks go to its stderr and to `folder`/stacks.RANK.txt.
        """
        self.progress("begins", PATIENCE)
        self._folder, self._limit = folder, seconds
        try:
            yield
        finally:
            self._limit = 0.0
            faulthandler.cancel_dump_traceback_later()

    def batches(self, batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The same batches; a source that takes too long for one is a stall."""
        each, patience = iter(batches), PATIENCE
        while True:
            self.progress("waits for its next batch", patience)
            try:
                batch = next(each)
            except StopIteration:
                return
            self.progress("makes a step", patience)  # the first of a shape compiles
            patience = 1
            yield batch

    def agree_by(self, agreement: Any) -> None:
        """From now on calls `agreement.look()` at each look; it must not wait."""
        self._agreements.append(agreement)

    def report(self, error: BaseException) -> None:
        """Leaves the reason of this process's end for the others, and watches on.

        Where another's end may be why a collective has failed here, that one's reason is waited
        for first, and ends this process when it comes.
        """
        done, self._reported = self._reported, True
        if done or self.group.size == 1 or (isinstance(error, SystemExit) and not error.code):
            return
        if isinstance(error, RuntimeError):
            time.sleep(self._silence + 10 * _TICK)
        with self._ends:
            self._ended = True
        _exit_after(3 * LINGER_SECONDS)  # `leave` comes before, unless this thread hangs
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        with contextlib.suppress(RuntimeError):
            self._post(kind + " ".join(str(error).split())[:400])

    def leave(self, code: int) -> None:
        """Ends this process of many, at once and without the goodbyes that would wait for others.

        Rank 0 goes last: with it goes the table in which the others read why.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        _exit_after(2 * LINGER_SECONDS, code)
        with contextlib.suppress(RuntimeError):
            self.group.post(f"{_GONE}/{self.group.rank}", "", again=True)
            end = time.monotonic() + LINGER_SECONDS
            while self.group.first and time.monotonic() < end:
                if len(self.group.read_ranks(_GONE)) == self.group.size:
                    break
                time.sleep(0.1)
        os._exit(code)

    def _watch(self) -> None:
        """Looks for a stall of this process, and for a coordinator that does not answer."""
        while not self._over.wait(_TICK):
            self._looks += 1
            self._idle += _TICK
            self._arm()
            limit = self._limit * self._patience
            if limit and self._idle > limit:
                self._end_stalled(limit)
            if self.group.rank and (self._looks - self._heard) * _TICK > self._silence:
                self._end(self._without_coordinator())

    def _arm(self) -> None:
        """For a thread that never lets Python's lock go, when the one that watches cannot run."""
        if limit := self._limit * self._patience:
            faulthandler.dump_traceback_later(limit + self._silence, exit=True)

    def _without_coordinator(self) -> str:
        return (
            f"{self.group.name(0)}, the coordinator at {self.group.coordinator}, does not answer:"
            " it was killed, or its machine or the network to it is down"
        )

    def _aborted(self) -> str | None:
        """What is said of an abort of this process: jax's, when the coordinator is gone."""
        if self._over.is_set() or answers(self.group.coordinator, 2.0):
            return None
        return self._without_coordinator()

    def _talk(self) -> None:
        """Tells the others that this process lives, and hears of them."""
        while not self._over.wait(_TICK):
            with contextlib.suppress(RuntimeError):  # no answer: `_watch` counts for how long
                beat = json.dumps([self._looks, self._doing])
                self.group.post(f"{_BEAT}/{self.group.rank}", beat, again=True)
                self._obey(self.group.read(_END))
                self._look_for_the_dead()
                for agreement in self._agreements:
                    agreement.look()
                self._heard = self._looks

    def _look_for_the_dead(self) -> None:
        """Rank 0 looks at all, the others at rank 0."""
        if self.group.first:
            beats = self.group.read_ranks(_BEAT)
        else:
            beats = {0: self.group.read(f"{_BEAT}/0") or ""}
        for rank, beat in beats.items():
            before, since = self._beats.get(rank, (None, 0))
            if beat != before:
                self._beats[rank] = (beat, self._looks)
            elif rank != self.group.rank and (self._looks - since) * _TICK > self._silence:
                if rank in self.group.read_ranks(_GONE):
                    continue
                said = (
                    f"no sign of life for {self._silence:g} s: it was killed, or its machine or"
                    " the network to it is down"
                )
                self._post(said, rank)
                self._obey(self.group.read(_END))

    def _post(self, reason: str, rank: int | None = None, stacks: bool = False) -> None:
        """Writes why the run ends; the first reason stays."""
        who = self.group.name(self.group.rank if rank is None else rank)
        line = reason if stacks else f"{who} ended: {reason}"
        self.group.post(_END, json.dumps([line, stacks]))

    def _obey(self, text: str | None) -> None:
        """Ends this process if another has left a reason, and none of its own comes up now."""
        if text is not None:
            time.sleep(2 * _TICK)
            self._end(*json.loads(text))

    def _end_stalled(self, limit: float) -> None:
        reason = f"no progress for {limit:g} s (config.train.stall_seconds)"
        where = f"{self.group.name(self.group.rank)} {self._doing}"
        with contextlib.suppress(RuntimeError):
            if self.group.size > 1:
                # The one that stands still has no more company than the others have: they wait.
                beats = {r: json.loads(b)[1] for r, b in self.group.read_ranks(_BEAT).items()}
                where = "; ".join(_by_doing(beats, self.group.size)) or where
                self._post(f"{reason}: {where}", stacks=True)
                self._obey(self.group.read(_END))
        self._end(f"{reason}: {where}", stacks=True)

    def _end(self, line: str, stacks: bool = False) -> None:
        """Prints the line and ends the process, unless it is ending already."""
        with self._ends:
            if self._ended:
                return
            self._ended = True
        sys.stdout.flush()
        if stacks:
            self._dump_stacks()
        os.write(2, f"error: {line}\n".encode())
        self.leave(EXIT_CODE)

    def _dump_stacks(self) -> None:
        title = f"Stacks of {self.group.name(self.group.rank)}, which {self._doing}:\n"
        os.write(2, title.encode())
        faulthandler.dump_traceback(2, all_threads=True)
        if self._folder is None or "://" in str(self._folder):
            return
        with contextlib.suppress(OSError):
            path = os.path.join(self._folder, f"stacks.{self.group.rank}.txt")
            with open(path, "w") as file:
                file.write(title)
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)


def _by_doing(doings: Mapping[int, str], size: int) -> list[str]:
    """`rank 1 of 4 waits for its next batch`, ranks that do the same together, fewest first."""
    ranks: dict[str, list[int]] = {}
    for rank, doing in sorted(doings.items()):
        ranks.setdefault(doing, []).append(rank)
    lines = []
    for doing, who in sorted(ranks.items(), key=lambda item: len(item[1])):
        shown = ", ".join(map(str, who[:8])) + ", ..." * (len(who) > 8)
        lines.append(f"rank{'s' * (len(who) > 1)} {shown} of {size}: {doing}")
    return lines


def _exit_after(seconds: float, code: int = EXIT_CODE) -> None:
    """Ends the process after so long, whatever it waits for by then."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()


class Moved(Hook):
    """Tells the watchdog that a step was made, and what comes next."""

    def __init__(self, watchdog: Watchdog, doing: str, patience: int = 1):
        """Arguments as of `Watchdog.progress`."""
        self._say = lambda: watchdog.progress(doing, patience)

    def after_step(self, event: Event) -> None:
        """Says so."""
        self._say()


@contextlib.contextmanager
def watched(silence: float = SILENCE_SECONDS) -> Iterator[Watchdog]:
    """Watches over this process and those it has joined while it is entered.

    When all have come to its end, they part; an exception is reported to the others.
    """
    watchdog = Watchdog(Group(), silence)
    watchdog.start()
    try:
        yield watchdog
        if watchdog.group.size > 1:
            watchdog.group.gather("parting", "", 24 * 3600, "the end")
    except BaseException as error:
        watchdog.report(error)
        raise
    watchdog.stop()
    if watchdog.group.size > 1:
        watchdog.group.close()
