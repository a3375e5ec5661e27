"""What all plans share: epochs, their order, and tables that are built when an epoch begins."""

import abc
import threading

import numpy as np

from plmjax.data.counter_random import fold, key_of
from plmjax.data.permutation import permuted
from plmjax.data.plans.examples import Examples, Split
from plmjax.errors import UserError

MOST_CUTS = 16
# Sentences of all cuts together, so that seeking to any epoch stays a matter of a second.
_CUT_SENTENCES = 1 << 22


class Plan(abc.ABC):
    """The endless sequence of training examples of a split, as a pure function of (seed, index).

    Examples come in epochs; each epoch has each of its examples exactly once, in a random order
    of its own (but for `streams`, whose rows go on). Where the number of examples depends on random
    draws (where a document is cut), epochs take turns with a fixed number of differently drawn
    *cuts*: epoch e has cut e modulo that number. Sizes of epochs are then periodic, and the epoch
    of any index is found without counting those before it. Everything that does not change how many
    examples there are (order, random other documents, masks) is drawn anew in every epoch. Safe to
    use from several threads.
    """

    def __init__(self, split: Split, seed: int, cuts: int = 1):
        """A plan over `split` with so many cuts.

        Raises:
          UserError: where the split is empty.
        """
        if not split.documents:
            raise UserError(f"{split.path} has no documents; give more text")
        self.split = split
        self._order_key = key_of(seed, split.name, "order")
        self._example_key = key_of(seed, split.name, "examples")
        self._cuts = cuts
        self._firsts = [
            0
        ]  # index of the first example of each cut whose size is known, and the end
        self._lock = threading.Lock()

    @abc.abstractmethod
    def _count(self, cut: int) -> int:
        """How many examples the cut has."""

    @abc.abstractmethod
    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        """The examples of the epoch with these numbers (int64 [n]) before they are shuffled."""

    @property
    def parts(self) -> tuple["Plan", ...]:
        """What an epoch's examples are those of: of several plans, them; of one, itself."""
        return (self,)

    def examples(self, indexes: np.ndarray) -> Examples:
        """The examples with these global indexes (int64 [B], not negative), in their order."""
        epochs, local = self._located(np.asarray(indexes, np.int64))
        parts, places = [], []
        for epoch in np.unique(epochs).tolist():
            inside = np.flatnonzero(epochs == epoch)
            parts.append(self._made(epoch, self._numbers(epoch, local[inside])))
            places.append(inside)
        return Examples.scattered(parts, places)

    def _numbers(self, epoch: int, local: np.ndarray) -> np.ndarray:
        """The numbers of the examples at places `local` of the epoch's order."""
        key = fold(self._order_key, np.array(epoch, np.uint64))
        return permuted(local, self.epoch_size(epoch), key)

    def epoch_size(self, epoch: int) -> int:
        """How many examples the epoch has."""
        cut = epoch % self._cuts
        with self._lock:
            self._count_to(cut)
        return self._firsts[cut + 1] - self._firsts[cut]

    def _located(self, indexes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The epoch of each index, and its place within the epoch."""
        last = int(indexes.max())
        with self._lock:
            while self._firsts[-1] <= last and len(self._firsts) <= self._cuts:
                self._count_to(len(self._firsts) - 1)
            firsts = np.array(self._firsts)
        # Where not all cuts are counted, no index is beyond those that are.
        rounds, rest = np.divmod(indexes, firsts[-1])
        cuts = np.searchsorted(firsts, rest, side="right") - 1
        return rounds * self._cuts + cuts, rest - firsts[cuts]

    def _count_to(self, cut: int) -> None:
        while len(self._firsts) <= cut + 1:
            size = self._count(len(self._firsts) - 1)
            if not size:
                raise UserError(f"{self.split.path} makes no example; give more text")
            self._firsts.append(self._firsts[-1] + size)

    def _epoch_seeds(self, epoch: int, names: np.ndarray) -> np.ndarray:
        """Seeds of examples that are drawn anew each epoch; `names` (uint64) differ within it."""
        return fold(fold(self._example_key, np.array(epoch, np.uint64)), names.astype(np.uint64))


def cuts_of(sentences: int) -> int:
    """How many differently drawn cuts a split of so many sentences is given: 16 to 1.

    A large split has fewer: counting them all is what a jump to a late epoch costs, and epochs of
    a large split are few.
    """
    return max(1, min(MOST_CUTS, _CUT_SENTENCES // max(1, sentences)))


def number_dtype(count: int) -> np.dtype:
    """The smallest dtype for numbers below `count`: 4 or 8 bytes."""
    return np.dtype(np.uint32 if count <= 1 << 32 else np.int64)


def shuffled(count: int, key: np.ndarray) -> np.ndarray:
    """The numbers 0 to count - 1 in a random order chosen by `key`, all at once: int64 [count].

    They are sorted by random bits, with the number itself in the lower bits: no two are equal, so
    the order is the same whatever the sorting algorithm of the machine.
    """
    bits = np.uint64(max(1, (count - 1).bit_length()))
    numbers = np.arange(count, dtype=np.uint64)
    keys = (fold(key, numbers) << bits) | numbers
    keys.sort()
    keys &= (np.uint64(1) << bits) - np.uint64(1)
    return keys.view(np.int64)
