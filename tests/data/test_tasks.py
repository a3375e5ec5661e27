"""Tasks that take turns, and languages that tokens are told by."""

import dataclasses
import itertools

import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig, masking_config, plan_config
from plmjax.data.languages import language_rows
from plmjax.data.pipeline import Input
from plmjax.data.ramp import Rows
from plmjax.data.store import token_counts
from plmjax.data.tasks import filled, form_of, open_input
from plmjax.errors import UserError
from tests.data.elastic import joined

TASKS = {
    "mlm": {
        "plan": plan_config("blocks"),
        "frame": "eos",
        "sources": "wiki.en,wiki.zh",
        "weight": 3,
        "masking": {"mask_rate": 0.3},
    },
    "tlm": {"plan": {"name": "translation"}, "sources": "en-zh,zh-en", "alpha": 0.5},
}
CONFIG = DataConfig(
    seq_len=48,
    batch_size=8,
    frame="xlm",
    masking=masking_config("xlm"),
    languages="en,zh",
    tasks=TASKS,
)


def opened(stores, config=CONFIG, **more):
    splits = {"wiki.en": stores.text["english"], "wiki.zh": stores.text["chinese"], **stores.pairs}
    counts = token_counts(list(splits.values()))
    return open_input(splits, stores.tokenizer, config, 3, token_counts=counts, **more)


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert found[key].dtype == array.dtype, key
        np.testing.assert_array_equal(found[key], array, key)


def test_each_task_goes_through_its_own_batches_as_if_alone(stores):
    source = opened(stores)
    alone = {name: opened(stores, task) for name, task in CONFIG.of_tasks.items()}
    assert all(type(task) is Input for task in alone.values())
    streams = {name: task.batches() for name, task in alone.items()}
    turns = []
    for step, batch in enumerate(source.batches(0, 12)):
        is_pair = batch["token_types"].any()
        turns.append("tlm" if is_pair else "mlm")
        expected = next(streams[turns[-1]])
        assert expected.keys() <= batch.keys() == source.spec.keys()
        slots = expected["masked_positions"].shape[1]
        for key, array in expected.items():
            found = batch[key][:, :slots] if key.startswith("masked_") else batch[key]
            np.testing.assert_array_equal(found, array, key)
        assert not batch["masked_weights"][:, slots:].any()
        if not is_pair:
            assert (batch["positions"] == np.arange(48)).all()
        if step == 7:
            same(source.batch(step), batch)
    for n in range(1, 13):
        assert abs(turns[:n].count("mlm") - 0.75 * n) < 1


def test_any_step_can_be_begun_at_and_hosts_have_their_parts(stores):
    whole = list(opened(stores).batches(0, 9))
    for step, batch in zip(range(4, 9), opened(stores).batches(4, 9), strict=True):
        same(batch, whole[step])
    hosts = [opened(stores, process_index=h, process_count=2).batches(0, 9) for h in range(2)]
    for parts, batch in zip(zip(*hosts, strict=True), whole, strict=True):
        same(joined(list(parts)), batch)
    later = opened(stores, first_step=100, first_example=5 * 8)
    same(later.batch(102), whole[7])


def test_what_is_passed_over_is_not_seen(stores):
    whole = list(opened(stores).batches(0, 12))
    passing = opened(stores).passing_over([(3, 16), (6, 21)])  # a batch in part counts as one
    order = [0, 1, 2, 5, 6, 7, 9, 10, 11]
    for number, batch in zip(order, passing.batches(0, 9), strict=True):
        same(batch, whole[number])


def test_a_step_of_a_task_can_be_looked_at(stores):
    source = opened(stores)
    for step, batch in enumerate(source.batches(0, 6)):
        task = source.at(step)
        true, used = task.rows(step)["tokens"], batch["masked_weights"] > 0
        rows = np.nonzero(used)[0]
        found = true[rows, batch["masked_positions"][used]]
        np.testing.assert_array_equal(found, batch["masked_targets"][used])
    assert source.shares.keys() == {
        *("mlm/wiki.en", "mlm/wiki.zh", "tlm/en-zh", "tlm/zh-en"),
    }
    assert sum(source.shares.values()) == pytest.approx(1)
    sizes = {name: stores.pairs[name].tokens ** 0.5 for name in ("en-zh", "zh-en")}
    share = 0.25 * sizes["en-zh"] / sum(sizes.values())
    assert source.shares["tlm/en-zh"] == pytest.approx(share)


def test_evaluation_has_all_of_one_task_and_then_of_the_other(stores):
    source = opened(stores)
    batches = list(source.evaluation_batches())
    parts = [list(task.evaluation_batches()) for task in source.tasks.values()]
    assert len(batches) == sum(map(len, parts))
    for batch, part in zip(batches, itertools.chain(*parts), strict=True):
        same(batch, filled(part, source.spec))


def test_tasks_that_read_the_same_text_do_not_read_it_at_once(stores):
    sources = {"sources": "wiki.en"}
    tasks = {"a": sources, "b": sources | {"masking": {"mask_rate": 0.3}}}
    plan = plan_config("blocks")
    config = dataclasses.replace(CONFIG, tasks=tasks, frame="eos", plan=plan, batch_size=2)
    source = opened(stores, config)
    first, second = (source.tasks[name].rows(0)["tokens"] for name in tasks)
    assert not (first[:, None] == second).all(axis=-1).any()


def test_each_token_is_told_its_language(stores):
    source = opened(stores)
    english = {
        token for token in np.concatenate(list(stores.text["english"].blocks())).tolist()
    } - set(np.concatenate(list(stores.text["chinese"].blocks())).tolist())
    asked = 0
    for step, batch in enumerate(source.batches(0, 12)):
        rows = source.at(step).rows(step)
        told, is_token = rows["languages"], rows["attention_mask"] > 0
        np.testing.assert_array_equal(batch["languages"], told)
        assert not told[~is_token].any()
        is_english = np.isin(rows["tokens"], list(english))
        assert (told[is_english] == 0).all()
        asked += is_english.sum()
        if batch["token_types"].any():  # both tokens between a pair are told apart
            names = list(source.tasks["tlm"].splits)
            for row, number in zip(told, source.at(step).examples(step).sources, strict=True):
                first = names[number] == "zh-en"
                types = rows["token_types"][0]
                assert row[0] == first and set(row[types == 1].tolist()) <= {0, 1}
    assert asked > 500


def test_names_of_sources_say_languages():
    found = language_rows(["en", "wiki.v2.fr", "opus.en-fr", "fr-en"], ["en", "fr"])
    assert found.tolist() == [[0, 0], [1, 1], [0, 1], [1, 0]]
    for name in ("de", "wiki", "en-fr-en", "fr.wiki"):
        with pytest.raises(UserError, match="is called after none of them; prepare it as NAME="):
            language_rows([name], ["en", "fr"])
    with pytest.raises(UserError, match="names one twice"):
        language_rows(["en"], ["en", "en"])


def test_what_cannot_tell_languages_apart_is_said(stores):
    mixed = dataclasses.replace(CONFIG, tasks={}, frame="eos", plan=plan_config("blocks"))
    with pytest.raises(UserError, match=r"'en-zh' is of two, and plan\.name=blocks does not"):
        opened(stores, mixed)
    three = dataclasses.replace(CONFIG, tasks={}, frame="xlnet", sources="wiki.en")
    three = dataclasses.replace(three, plan=plan_config("electra_segments"))
    with pytest.raises(UserError, match=r"frame=xlnet with .* has 3 token types"):
        opened(stores, three)


def test_names_of_languages_may_have_spaces_between(stores):
    config = dataclasses.replace(CONFIG, languages="en, zh")
    same(opened(stores, config).batch(0), opened(stores).batch(0))


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"mlm": 3}, "tasks.mlm=3; expected a section"),
        ({"mlm": {"wieght": 2}}, "did you mean 'weight'"),
        ({"mlm": {"seq_len": 2}}, "a setting of tasks.mlm='seq_len' is unknown"),
        ({"mlm": {"weight": 0}}, "tasks.mlm.weight=0; give a number above 0"),
        ({"mlm": {"masking": {"mask_rate": 2}}}, "tasks.mlm.masking.mask_rate=2.0 is not a share"),
        ({"mlm": {"masking": 3}}, "tasks.mlm.masking=3; expected a section"),
    ],
)
def test_a_wrong_task_is_said(tasks, words):
    with pytest.raises(UserError) as raised:
        dataclasses.replace(CONFIG, tasks=tasks)
    assert words in str(raised.value)


def test_tasks_whose_batches_do_not_fit_are_said(stores):
    tasks = TASKS | {"nsp": {"plan": plan_config("sentence_pairs")}}
    with pytest.raises(UserError, match="has nsp labels and that of the first task none"):
        form_of(dataclasses.replace(CONFIG, tasks=tasks), stores.tokenizer, np.ones(9))
    for change, words in (
        ({"frame": "xml"}, r"^tasks\.tlm\.frame=xml is unknown; give one of"),
        (
            {"plan": {"name": "translation", "longest": 1}},
            r"^tasks\.tlm\.plan\.longest=1 leaves no",
        ),
    ):
        with pytest.raises(UserError, match=words):
            opened(
                stores, dataclasses.replace(CONFIG, tasks=TASKS | {"tlm": TASKS["tlm"] | change})
            )
    with pytest.raises(UserError, match=r"config\.ramp"):
        opened(stores).with_rows(Rows((0, 5), (4, 8), (0, 20)))
    with pytest.raises(UserError, match="rewrites whole rows"):
        single = dataclasses.replace(CONFIG, tasks={}, masking=masking_config("span_corruption"))
        form_of(single, stores.tokenizer)
