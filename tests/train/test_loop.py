"""Which batches the loop asks for."""

import types

import numpy as np
import pytest

from plmjax.train.hooks import Hook
from plmjax.train.loop import Phase, train


@pytest.mark.parametrize(
    "done, asked, steps",
    [
        (0, [(0, 3), (3, 7)], [0, 1, 2, 3, 4, 5, 6]),
        (2, [(2, 3), (3, 7)], [2, 3, 4, 5, 6]),
        (3, [(3, 7)], [3, 4, 5, 6]),
        (5, [(5, 7)], [5, 6]),
    ],
)
def test_each_phase_is_asked_for_the_run_s_own_steps(done, asked, steps):
    """As `Input.batches` counts them, whose second phase goes on where the first has ended."""
    found, made, seen = [], [], []

    def step(state, batch):
        made.append((len(batch["tokens"]), state.step))
        return types.SimpleNamespace(step=state.step + 1), {}

    def batches(start, stop):
        found.append((start, stop))
        return ({"tokens": np.zeros(number)} for number in range(start, stop))

    class See(Hook):
        def after_step(self, event):
            seen.append((event.step, event.tokens))

    phases = [Phase(*given, step, batches) for given in (("first", 0, 3), ("second", 3, 7))]
    last = train(types.SimpleNamespace(step=np.int32(done)), phases, [See()], lambda batch: batch)
    assert found == asked
    assert made == [(number, number) for number in steps]
    assert seen == [(number + 1, number) for number in steps]
    assert last.step == 7
