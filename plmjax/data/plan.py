"""From a global example index to the tokens of that example: epochs, passes and their order."""

import collections
import threading

import numpy as np

from plmjax.data.counter_random import fold, key_of
from plmjax.data.instances import InstanceRule, Instances, build_instances, count_instances
from plmjax.data.permutation import permuted

_TABLES_KEPT = 2  # the epoch that ends and the one that begins


class Plan:
    """The endless sequence of training examples, as a pure function of (seed, index).

    An epoch is a random order of all examples of one pass over the documents (dynamic: pairs and
    masks are drawn anew each epoch), or, with `dupe_factor` k > 0, of k differently drawn passes
    which stay the same in every epoch (static, as google-research/bert prepares its data). Each
    epoch has each of its examples exactly once. Safe to use from several threads.
    """

    def __init__(
        self,
        sentence_offsets: np.ndarray,
        document_offsets: np.ndarray,
        rule: InstanceRule,
        seed: int,
        dupe_factor: int = 0,
    ):
        """Offsets are those of a split of the store: int64 [S + 1] and [D + 1]."""
        self._offsets = (sentence_offsets, document_offsets)
        self._rule = rule
        self._pass_key = key_of(seed, "pass")
        self._order_key = key_of(seed, "order")
        self._dupe_factor = dupe_factor
        self._first_indexes = [0]  # of each epoch whose size is known, and of the next one
        self._tables: collections.OrderedDict[int, Instances] = collections.OrderedDict()
        self._lock = threading.Lock()

    def examples(self, indexes: np.ndarray) -> Instances:
        """The examples with these global indexes (int64 [B], not negative), in their order."""
        epochs = self._epochs_of(indexes)
        parts, places = [], []
        for epoch in np.unique(epochs):
            inside = np.flatnonzero(epochs == epoch)
            with self._lock:
                table = self._table(int(epoch))
            key = fold(self._order_key, np.array(epoch, np.uint64))
            local = indexes[inside] - self._first_indexes[epoch]
            parts.append(table.rows(permuted(local, len(table), key)))
            places.append(inside)
        return Instances.joined(parts).rows(np.argsort(np.concatenate(places)))

    def epoch_size(self, epoch: int) -> int:
        """How many examples the epoch has."""
        with self._lock:
            self._extend_to(epoch)
        return self._first_indexes[epoch + 1] - self._first_indexes[epoch]

    def _epochs_of(self, indexes: np.ndarray) -> np.ndarray:
        last = int(indexes.max())
        with self._lock:
            while self._first_indexes[-1] <= last:
                self._extend_to(len(self._first_indexes) - 1)
            return np.searchsorted(self._first_indexes, indexes, side="right") - 1

    def _extend_to(self, epoch: int) -> None:
        while len(self._first_indexes) <= epoch + 1:
            number = len(self._first_indexes) - 1
            self._first_indexes.append(self._first_indexes[-1] + self._count(number))

    def _count(self, epoch: int) -> int:
        if self._dupe_factor:
            return len(self._table(epoch))
        if epoch in self._tables:
            return len(self._tables[epoch])
        return count_instances(*self._offsets, self._rule, self._key_of_pass(epoch))

    def _table(self, epoch: int) -> Instances:
        number = 0 if self._dupe_factor else epoch
        if number not in self._tables:
            passes = range(self._dupe_factor) if self._dupe_factor else (epoch,)
            self._tables[number] = Instances.joined(
                [build_instances(*self._offsets, self._rule, self._key_of_pass(p)) for p in passes]
            )
            while len(self._tables) > _TABLES_KEPT:
                self._tables.popitem(last=False)
        self._tables.move_to_end(number)
        return self._tables[number]

    def _key_of_pass(self, number: int) -> np.ndarray:
        return fold(self._pass_key, np.array(number, np.uint64))
