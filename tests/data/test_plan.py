import numpy as np
import pytest

from plmjax.data.instances import InstanceRule
from plmjax.data.plan import Plan
from tests.data.test_instances import make_offsets

RULE = InstanceRule(seq_len=35, short_seq_prob=0.3, next_sentence=True)


def rows(instances):
    return list(zip(*(column.tolist() for column in vars(instances).values()), strict=True))


def make_plan(seed=0, dupe_factor=0):
    return Plan(*make_offsets(), RULE, seed, dupe_factor)


@pytest.mark.parametrize("dupe_factor", [0, 3])
def test_an_epoch_has_each_of_its_examples_once(dupe_factor):
    plan = make_plan(dupe_factor=dupe_factor)
    sizes = [plan.epoch_size(epoch) for epoch in range(3)]
    examples = rows(plan.examples(np.arange(sum(sizes))))
    first = 0
    for size in sizes:
        seeds = {row[-1] for row in examples[first : first + size]}
        assert len(seeds) == size
        first += size


def test_dynamic_epochs_differ_in_examples():
    plan = make_plan()
    sizes = [plan.epoch_size(epoch) for epoch in range(2)]
    examples = rows(plan.examples(np.arange(sum(sizes))))
    assert not {row[-1] for row in examples[: sizes[0]]} & {row[-1] for row in examples[sizes[0] :]}


def test_static_duplication_repeats_the_same_examples_in_another_order():
    plan = make_plan(dupe_factor=3)
    size = plan.epoch_size(0)
    assert abs(size - 3 * make_plan().epoch_size(0)) < 0.2 * size
    first, second = (rows(plan.examples(np.arange(size) + e * size)) for e in range(2))
    assert first != second
    assert sorted(first) == sorted(second)
    pairs = {row[:-1] for row in first}
    assert len(pairs) > 0.5 * size  # the passes cut and pair differently


def test_examples_do_not_depend_on_what_was_asked_before():
    far = np.array([5000, 17, 3, 4999, 17])
    plan = make_plan()
    plan.examples(np.arange(900))
    expected = rows(plan.examples(far))
    assert rows(make_plan().examples(far)) == expected
    one_by_one = [rows(make_plan().examples(np.array([index])))[0] for index in far]
    assert one_by_one == expected
    assert rows(make_plan(seed=1).examples(far)) != expected


def test_only_the_last_tables_are_kept():
    plan = make_plan()
    plan.examples(np.array([0]))
    plan.examples(np.array([20000]))
    plan.examples(np.array([0, 10000]))
    assert len(plan._tables) == 2
