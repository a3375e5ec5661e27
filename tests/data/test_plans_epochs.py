"""What all plans promise: epochs, determinism, seeking."""

import concurrent.futures
import time

import numpy as np
import pytest

from plmjax.data.counter_random import key_of
from plmjax.data.plans import PLANS, Blocks, ElectraSegments, FullSentences, SentencePairs
from plmjax.data.plans.base import MOST_CUTS, cuts_of, shuffled
from plmjax.errors import UserError
from tests.data.splits import FakeTokenizer, pairs_split, random_split, rows_of, split_of

# Several tasks are mixed of plans that keep these promises: test_plans_multi_task.py.
CASES = {name: settings() for name, settings in PLANS.items() if name != "multi_task"} | {
    "single": SentencePairs(next_sentence=False),
    "static pairs": SentencePairs(dupe_factor=3),
    "static electra": ElectraSegments(dupe_factor=2),
    "isolated blocks": Blocks(isolate=True, overlap=1),
    "joined sentences": FullSentences(separate=False),
}


def make_plan(name, seed=0, seq_len=40):
    settings = CASES[name]
    split = pairs_split() if name == "translation" else random_split()
    frame = "xlm" if name == "translation" else "eod" if "blocks" in name else "bert"
    return settings.bind(split, settings.layout(frame, FakeTokenizer(), seq_len), seed)


@pytest.mark.parametrize("name", CASES)
def test_an_epoch_has_each_of_its_examples_once(name):
    plan = make_plan(name)
    sizes = [plan.epoch_size(epoch) for epoch in range(3)]
    examples = rows_of(plan.examples(np.arange(sum(sizes))))
    orders = []
    for epoch, size in enumerate(sizes):
        first = sum(sizes[:epoch])
        in_order = rows_of(plan._made(epoch, np.arange(size)))
        here = examples[first : first + size]
        assert sorted(here) == sorted(in_order)
        assert len({row[0] for row in here}) == size  # seeds
        orders.append([in_order.index(row) for row in here])
    if name == "streams":  # whose rows go on
        assert orders == [list(range(size)) for size in sizes]
    else:
        assert orders[0][:5] != orders[1][:5]


@pytest.mark.parametrize("name", CASES)
def test_seeds_are_new_in_each_epoch_unless_static(name):
    plan = make_plan(name)
    size = plan.epoch_size(0)
    cuts = plan._cuts
    far = sum(plan.epoch_size(epoch) for epoch in range(cuts))
    first = {row[0] for row in rows_of(plan.examples(np.arange(size)))}
    same_cut = {row[0] for row in rows_of(plan.examples(np.arange(far, far + size)))}
    assert (first == same_cut) if "static" in name else not first & same_cut


@pytest.mark.parametrize("name", CASES)
def test_examples_do_not_depend_on_what_was_asked_before_or_with_them(name):
    far = np.array([5000, 17, 3, 4999, 17, 100_000_007])
    plan = make_plan(name)
    plan.examples(np.arange(900))
    expected = rows_of(plan.examples(far))
    assert rows_of(make_plan(name).examples(far)) == expected
    one_by_one = [rows_of(make_plan(name).examples(np.array([index])))[0] for index in far]
    assert one_by_one == expected
    assert rows_of(make_plan(name, seed=1).examples(far)) != expected


@pytest.mark.parametrize("name", CASES)
def test_hosts_read_the_parts_of_the_whole(name):
    whole = rows_of(make_plan(name).examples(np.arange(400, 800)))
    for hosts in (2, 4, 8):
        parts = [
            rows_of(
                make_plan(name).examples(
                    np.arange(400 + h * 400 // hosts, 400 + (h + 1) * 400 // hosts)
                )
            )
            for h in range(hosts)
        ]
        assert [row for part in parts for row in part] == whole


def test_epochs_take_turns_with_the_cuts():
    plan = make_plan("sentence_pairs")
    assert plan._cuts == MOST_CUTS
    sizes = [plan.epoch_size(epoch) for epoch in range(2 * MOST_CUTS)]
    assert sizes[:MOST_CUTS] == sizes[MOST_CUTS:]
    assert len(set(sizes)) > 1
    cut = [
        {tuple(p[:2] for p in row[3:4]) for row in rows_of(plan._made(e, np.arange(sizes[e])))}
        for e in (0, 1, MOST_CUTS)
    ]
    assert cut[0] != cut[1]
    assert len(cut[0] & cut[2]) > 0.6 * len(cut[0])  # the same A, but for what is cut off


def test_the_epoch_of_an_index_is_found_across_rounds():
    plan = make_plan("sentence_pairs")
    sizes = np.array([plan.epoch_size(epoch) for epoch in range(3 * MOST_CUTS)])
    ends = sizes.cumsum()
    indexes = np.concatenate([ends - 1, ends[:-1]])
    epochs, local = make_plan("sentence_pairs")._located(indexes)
    count = len(ends)
    assert epochs.tolist() == [*range(count), *range(1, count)]
    assert local[:count].tolist() == (sizes - 1).tolist()
    assert not local[count:].any()


def test_a_large_split_has_fewer_cuts():
    assert cuts_of(1000) == 16
    assert 1 < cuts_of(2_000_000) < 16
    assert cuts_of(10**9) == 1


@pytest.mark.parametrize("name", CASES)
def test_a_jump_to_a_far_step_is_quick(name):
    plan = make_plan(name)
    begin = time.process_time()
    plan.examples(np.arange(256) + 10**6 * 256)
    assert time.process_time() - begin < 2


def test_threads_get_what_one_gets():
    expected = [
        rows_of(make_plan("sentence_pairs").examples(np.array([n, 7 * n]))) for n in range(60)
    ]
    plan = make_plan("sentence_pairs")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: rows_of(plan.examples(np.array([n, 7 * n]))), range(60)))
    assert found == expected


def test_only_the_last_tables_are_kept():
    plan = make_plan("sentence_pairs")
    for index in (0, 20000, 0, 10000):
        plan.examples(np.array([index]))
    assert len(plan._tables) == 2


def test_sources_of_other_names_are_drawn_differently():
    settings = CASES["sentence_pairs"]
    layout = settings.layout("bert", FakeTokenizer(), 40)
    plans = [settings.bind(split_of([[5] * 9] * 50, name), layout, 0) for name in ("a", "b")]
    seeds = [set(plan.examples(np.arange(50)).seeds.tolist()) for plan in plans]
    assert not seeds[0] & seeds[1]


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_shuffled_is_a_permutation(count):
    order = shuffled(count, key_of(1))
    assert sorted(order.tolist()) == list(range(count))
    assert order.dtype == np.int64
    if count == 1000:
        assert not np.array_equal(order, shuffled(count, key_of(2)))
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.1


@pytest.mark.parametrize("name", CASES)
def test_an_empty_split_is_one_line(name):
    settings = CASES[name]
    frame = "eod" if "blocks" in name else "bert"
    with pytest.raises(UserError, match="give more text"):
        settings.bind(split_of([]), settings.layout(frame, FakeTokenizer(), 40), 0)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("sentence_pairs", {"short_seq_prob": 1.5}, "short_seq_prob=1.5"),
        ("sentence_order", {"dupe_factor": -1}, "dupe_factor=-1"),
        ("electra_segments", {"single_prob": -0.1}, "single_prob=-0.1"),
        ("electra_segments", {"dupe_factor": -1}, "dupe_factor=-1"),
        ("blocks", {"overlap": -1}, "overlap=-1"),
        ("translation", {"longest": -1}, "longest=-1"),
    ],
)
def test_settings_check_themselves(name, fields, message):
    with pytest.raises(UserError, match=rf"^{message}"):
        PLANS[name](**fields)


def test_pairs_need_two_documents():
    settings = SentencePairs()
    with pytest.raises(UserError, match="at least 2"):
        settings.bind(split_of([[5, 5]]), settings.layout("bert", FakeTokenizer(), 40), 0)
