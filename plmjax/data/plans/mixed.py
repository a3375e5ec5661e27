"""One plan of several: each global index belongs to one source's plan."""

from collections.abc import Sequence

import numpy as np

from plmjax.data.mixing import Schedule
from plmjax.data.plans.base import Plan
from plmjax.data.plans.examples import Examples, Split


class MixedPlan:
    """The endless sequence of examples of several plans, mixed by a schedule.

    Each source goes through its own epochs: it sees its examples in the order, and with the
    seeds, that it would have alone, so that changed weights or another source do not change what
    its n-th example is.
    """

    def __init__(self, plans: Sequence[Plan], schedule: Schedule):
        """`plans` are in the order of the schedule's sources."""
        self.plans = tuple(plans)
        self.schedule = schedule

    @property
    def splits(self) -> list[Split]:
        """Where each source number of the examples is read from."""
        return [plan.split for plan in self.plans]

    def examples(self, indexes: np.ndarray) -> Examples:
        """The examples with these global indexes (int64 [B], not negative), in their order."""
        sources, inner = self.schedule(np.asarray(indexes, np.int64))
        parts, places = [], []
        for source in np.unique(sources).tolist():
            where = np.flatnonzero(sources == source)
            parts.append(self.plans[source].examples(inner[where]).of_source(source))
            places.append(where)
        return Examples.scattered(parts, places)
