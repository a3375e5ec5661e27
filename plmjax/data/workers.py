"""The units of a job over the processes of this machine."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from plmjax.data.formats import Unit
from plmjax.data.tokenising import Job, make_part
from plmjax.errors import UserError

_POLL_SECONDS = 0.2
_progress: Any = None  # of this worker: bytes gone by, shared with the process that started it


def make_parts(
    job: Job, units: Sequence[Unit], workers: int, advance: Callable[[int], None]
) -> None:
    """Makes the parts of all units that have none; which process makes which changes nothing.

    After a mistake in one unit those under way are finished, so that the same command, the mistake
    mended, does nothing twice.

    Args:
      job: what to do.
      units: what to do it to.
      workers: processes; 1 for this one alone.
      advance: is told of the raw bytes gone by.

    Raises:
      UserError: for the first unit, in their order, that cannot be read, or a killed worker.
      OSError: where the disk is full or cannot be written.
    """
    if workers == 1:
        for unit in units:
            make_part(job, unit, advance)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["plmjax.data.tokenising"])
    progress = context.Value("q", 0)
    told = 0

    def tell() -> None:
        nonlocal told
        now = progress.value
        advance(now - told)
        told = now

    with concurrent.futures.ProcessPoolExecutor(
        min(workers, len(units)), context, _begin_worker, (progress,)
    ) as pool:
        try:
            failures = _run(pool, job, units, 4 * workers, tell)
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, maybe for want of memory; start the same command "
                "again, with fewer --workers: it goes on from the finished parts"
            ) from None
        except BaseException:
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if failures:
        raise failures[min(failures)]


def _run(
    pool: concurrent.futures.Executor,
    job: Job,
    units: Sequence[Unit],
    ahead: int,
    tell: Callable[[], None],
) -> dict[int, Exception]:
    """Keeps the pool busy; returns what was raised, by the number of the unit."""
    waiting = iter(enumerate(units))
    running: dict[concurrent.futures.Future, int] = {}
    failures: dict[int, Exception] = {}
    while True:
        while not failures and len(running) < ahead and (following := next(waiting, None)):
            number, unit = following
            running[pool.submit(_make_part, job, unit)] = number
        if not running:
            tell()
            return failures
        done, _ = concurrent.futures.wait(
            running, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            number = running.pop(future)
            if not future.cancelled() and (error := future.exception()):
                if isinstance(error, BrokenProcessPool):
                    raise error
                failures[number] = error
                _cancel(running)
        tell()


def _cancel(futures: Iterable[concurrent.futures.Future]) -> None:
    for future in futures:
        future.cancel()


def _begin_worker(progress: Any) -> None:
    global _progress
    _progress = progress
    # As many workers as cores, so one core each.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    # Ctrl-C reaches every process of the terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _make_part(job: Job, unit: Unit) -> None:
    make_part(job, unit, _advance)


def _advance(count: int) -> None:
    with _progress.get_lock():
        _progress.value += count
