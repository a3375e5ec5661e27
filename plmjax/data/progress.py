"""Progress of long work on the host: bars on a terminal, a line per stage elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Reporter:
    """Tells the person at the keyboard, on stderr, what is going on; nothing where `quiet`."""

    def __init__(self, quiet: bool = False):
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Prints one line."""
        self._console.print(line, markup=False)

    @contextlib.contextmanager
    def stage(self, title: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """Gives a function to call with the number of bytes just worked through."""
        begin = time.perf_counter()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        bars = self._console.is_terminal and not self._console.quiet
        with Progress(*columns, console=self._console, transient=True, disable=not bars) as bar:
            task = bar.add_task(title, total=total_bytes)
            waiting = gone = 0

            def advance(count: int) -> None:
                nonlocal waiting, gone
                waiting += count
                gone += count
                if waiting > total_bytes // 500:  # a bar's update costs more than a line's work
                    bar.advance(task, waiting)
                    waiting = 0

            yield advance
        seconds = time.perf_counter() - begin
        rate = f" ({gone / seconds / 1e6:.1f} MB/s)" if gone > 10_000_000 else ""
        self.say(f"{title}: {seconds:.1f} s{rate}")
