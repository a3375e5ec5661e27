"""Tables that are built when they are first asked for, and forgotten when others are."""

import collections
import threading
from collections.abc import Callable
from typing import Any


class Kept:
    """The latest few tables of a family, such as one per epoch, built by whoever asks first.

    Two by default: that of the epoch that ends and that of the one that begins. Safe to use from
    several threads; who asks for a table while another is built waits.
    """

    def __init__(self, build: Callable[[int], Any], kept: int = 2):
        self._build = build
        self._kept = kept
        self._tables: collections.OrderedDict[int, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tables)

    def __getitem__(self, number: int) -> Any:
        with self._lock:
            if number not in self._tables:
                self._tables[number] = self._build(number)
                while len(self._tables) > self._kept:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(number)
            return self._tables[number]
