"""Which source each example comes from: a deterministic schedule that keeps to its shares."""

import dataclasses
import heapq
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from plmjax.data.kept import Kept
from plmjax.errors import UserError

_LEAST_SHARE = 1e-6
_DENOMINATOR = 1 << 40  # of shares that are no simpler fractions
_BLOCK = 1 << 14  # indexes that are scheduled together
_BLOCKS_KEPT = 4
_AGES_AT_ONCE = 1 << 14


@dataclasses.dataclass(frozen=True)
class Mixture:
    """How much of each source.

    Attributes:
      weights: by source name, in any unit; empty to weigh sources by their sizes.
      alpha: without weights a source's share is proportional to its size to the power of alpha: 1
        as they are, 0 all equal; XLM has 0.5 and 0.7, XLM-R 0.3.
    """

    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    alpha: float = 1.0

    def __post_init__(self):
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha={self.alpha} is out of range; give 0 (equal) to 1 (by size)")
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight > 0):
                raise UserError(
                    f"weights.{name}={weight} is not a weight; give a number above 0, or leave "
                    "the source out of the data"
                )
        if self.weights and self.alpha != 1:
            raise UserError(f"alpha={self.alpha} and weights exclude each other; give one of them")

    def schedule(self, sizes: Mapping[str, int]) -> "Schedule":
        """The schedule of the sources whose sizes these are, in their order.

        Raises:
          UserError: where weights name other sources, or a share is below one in a million.
        """
        if not self.weights:
            logs = {name: self.alpha * math.log(size) for name, size in sizes.items()}
            largest = max(logs.values())
            return Schedule([math.exp(log - largest) for log in logs.values()], list(sizes))
        self.check_names(list(sizes))
        return Schedule([self.weights[name] for name in sizes], list(sizes))

    def check_names(self, sources: Sequence[str]) -> None:
        """Raises a UserError where there are weights, and not for just these sources."""
        for name in (*self.weights, *sources):
            if self.weights and (name in self.weights) != (name in sources):
                what = "has no weight" if name in sources else "is no source of the data"
                raise UserError(
                    f"weights={', '.join(self.weights)}: {name} {what}; name every one of "
                    f"{', '.join(sources)}"
                )


class Schedule:
    """Sends each global index to a source, and to a place in that source's own sequence.

    After any number n of examples the count of each source differs by less than 1 from n times
    its share: the n-th example of a source is due in a window of that promise, and of the sources
    whose window is open the one that closes first is next (Tijdeman 1980 has shown that such
    sequences exist; earliest deadline first finds one). The state at any n follows from arithmetic
    on the shares, so that seeking does not depend on n. Safe to use from several threads.

    Shares are kept as exact fractions: of the weights themselves where their common denominator
    is up to 2**40, or else rounded to multiples of 2**-40; the promise is about these `shares`,
    and over n examples the rounding adds less than n / 2**40 to it.
    """

    def __init__(self, weights: Sequence[float], names: Sequence[str] | None = None):
        """The schedule of as many sources as there are weights, all above 0.

        Raises:
          UserError: where a share is below one in a million.
        """
        self._numerators, self._denominator = _fractions(weights)
        for number, share in enumerate(self.shares):
            if share < _LEAST_SHARE:
                name = names[number] if names else number
                raise UserError(
                    f"weights.{name} is a share of {share:.2g}, too small to schedule; give at "
                    "least one in a million"
                )
        self._blocks = Kept(self._block, _BLOCKS_KEPT)
        self._ends: tuple[int, np.ndarray] = (-1, np.zeros(0))  # of the block made last

    @property
    def shares(self) -> np.ndarray:
        """Float64 [K], the share of each source."""
        return np.array([numerator / self._denominator for numerator in self._numerators.tolist()])

    def __call__(self, indexes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sources int32 [N] and places within them int64 [N], of global indexes int64 [N]."""
        blocks, inside = np.divmod(indexes, _BLOCK)
        sources = np.empty(indexes.shape, np.int32)
        inner = np.empty(indexes.shape, np.int64)
        for block in np.unique(blocks).tolist():
            of, at = self._blocks[block]
            here = blocks == block
            sources[here], inner[here] = of[inside[here]], at[inside[here]]
        return sources, inner

    def counts(self, n: int) -> np.ndarray:
        """How many of the first n examples each source has: int64 [K].

        Those that must be there are the examples whose window has closed. Of each source one more
        may be there, whose window is open at n. Earliest deadline first has done a set of them
        that is known without following it: taken in the order of deadlines, each one that still
        finds a place, where a place is lacking if more would have to be done within the last x
        steps than x, for any x.
        """
        W, D = self._numerators, self._denominator
        exact = [divmod(n * numerator, D) for numerator in W.tolist()]
        done = np.array([whole for whole, _ in exact], np.int64)
        rest = np.array([rest for _, rest in exact], np.int64)
        wanted = n - int(done.sum())
        open_now = np.flatnonzero(rest)
        if not wanted:
            return done
        ages = -(-rest[open_now] // W[open_now])  # steps since the window opened
        due = -((rest[open_now] - D) // W[open_now])
        steps = np.unique(ages)
        places = self._places(rest, steps)
        for number in np.lexsort((open_now, due)).tolist():
            later = np.searchsorted(steps, ages[number])
            if places[later:].min() > 0:
                places[later:] -= 1
                done[open_now[number]] += 1
                wanted -= 1
                if not wanted:
                    break
        return done

    def _places(self, rest: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Places that closed windows leave in the last x steps, the least of each stretch of x.

        Stretch i is x in [steps[i], steps[i + 1]); the last one is steps[-1] alone.
        """
        W, D = self._numerators, self._denominator
        least = np.full(len(steps), np.iinfo(np.int64).max)
        for first in range(int(steps[0]), int(steps[-1]) + 1, _AGES_AT_ONCE):
            x = np.arange(first, min(first + _AGES_AT_ONCE, int(steps[-1]) + 1))
            left = x.copy()
            for numerator, over in zip(W.tolist(), rest.tolist(), strict=True):
                left -= np.maximum((x * numerator - over) // D, 0)
            stretch = np.searchsorted(steps, x, side="right") - 1
            heads = np.flatnonzero(np.append(True, stretch[1:] != stretch[:-1]))
            lows = np.minimum.reduceat(left, heads)
            least[stretch[heads]] = np.minimum(least[stretch[heads]], lows)
        return least

    def _block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Sources and inner indexes of the block's indexes."""
        start = number * _BLOCK
        known, counts = self._ends
        if known != start:
            counts = self.counts(start)
        sources = self._followed(start, counts)
        inner = np.empty(_BLOCK, np.int64)
        order = np.argsort(sources, kind="stable")
        taken = np.bincount(sources, minlength=len(counts))
        inner[order] = np.arange(_BLOCK) + np.repeat(counts - np.cumsum(taken) + taken, taken)
        self._ends = start + _BLOCK, counts + taken
        return sources, inner

    def _followed(self, start: int, counts: np.ndarray) -> np.ndarray:
        """Earliest deadline first from `start` on: the sources of a block, int32."""
        W, D = self._numerators, self._denominator
        opens, closes, of = [], [], []
        for source, (numerator, count) in enumerate(zip(W.tolist(), counts.tolist(), strict=True)):
            whole, rest = divmod(start * numerator, D)
            more = _BLOCK * numerator // D + 2
            number = np.arange(count - whole, count - whole + more)
            opens.append((number * D - rest) // numerator)
            closes.append(-((rest - (number + 1) * D) // numerator))
            of.append(np.full(more, source))
        opens, closes, of = map(np.concatenate, (opens, closes, of))
        order = np.argsort(opens, kind="stable")
        opens = [*opens[order].tolist(), _BLOCK + 1]
        windows = list(zip(closes[order].tolist(), of[order].tolist(), strict=True))
        waiting: list[tuple[int, int]] = []
        chosen, place = [], 0
        for step in range(_BLOCK):
            while opens[place] <= step:
                heapq.heappush(waiting, windows[place])
                place += 1
            chosen.append(heapq.heappop(waiting)[1])
        return np.array(chosen, np.int32)


def _fractions(weights: Sequence[float]) -> tuple[np.ndarray, int]:
    """Numerators int64 [K] and their sum, the common denominator, up to 2**40."""
    # The decimal that was typed: 0.1 is a tenth, and not the nearest binary fraction.
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in exact))
    whole = [int(fraction * scale) for fraction in exact]
    divisor = math.gcd(*whole)
    whole = [number // divisor for number in whole]
    total = sum(whole)
    if total > _DENOMINATOR:
        scaled = [divmod(number * _DENOMINATOR, total) for number in whole]
        whole = [quotient for quotient, _ in scaled]
        # The largest remainders are rounded up.
        order = sorted(range(len(whole)), key=lambda i: -scaled[i][1])
        for number in order[: _DENOMINATOR - sum(whole)]:
            whole[number] += 1
        total = _DENOMINATOR
    return np.array(whole, np.int64), total
