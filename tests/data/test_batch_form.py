import dataclasses

import numpy as np
import pytest

from plmjax.data.batch_form import (
    BatchForm,
    DataConfig,
    masking_config,
    plan_config,
    vocabulary_of,
)
from plmjax.data.maskings import MASKINGS
from plmjax.data.plans import PLANS
from plmjax.data.store import token_counts
from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece
from plmjax.errors import UserError
from plmjax.settings import from_config, to_config
from tests.data.elastic import COMBINATIONS, Case, frames_of
from tests.data.splits import split_of

I32, F32 = np.dtype(np.int32), np.dtype(np.float32)
BERT = WordPiece((*SPECIAL_TOKENS, *(f"w{n}" for n in range(95))), True)


def form_of(tokenizer=BERT, **changes):
    return BatchForm.of(DataConfig(seq_len=32, batch_size=8, **changes), tokenizer)


def test_the_default_is_bert_with_pairs():
    row, slots = ((8, 32), I32), ((8, 5), I32)
    assert form_of().spec == {
        "tokens": row,
        "attention_mask": row,
        "token_types": row,
        "masked_positions": slots,
        "masked_targets": slots,
        "masked_weights": ((8, 5), F32),
        "overflow": ((8,), I32),
        "label": ((8,), I32),
        "label_weights": ((8,), F32),
    }
    assert (form_of().labels, form_of().task) == (2, "nsp")


@pytest.mark.parametrize("plan", PLANS)
def test_labels_and_isolated_rows_are_those_of_the_plan(stores, plan):
    config = Case(plan, frame=frames_of(plan)[0]).config(stores)
    form = BatchForm.of(config, stores.tokenizer)
    task = {"sentence_pairs": "nsp", "sentence_order": "sop", "sentence_distance": "distance"}
    task |= {"sentence_reordering": "reordering", "multi_task": "tasks"}
    assert form.task == task.get(plan, "")
    assert ("label" in form.spec) == ("label_weights" in form.spec) == (plan in task)
    classes = {"sentence_distance": 3, "sentence_reordering": 1 + 2 + 6}
    if plan == "multi_task":
        assert [task.classes for task in form.labels] == [0, 2, 9, 3]
    else:
        assert form.labels == classes.get(plan, 2) * (plan in task)
    assert ("segment_ids" in form.spec) == (plan == "packed")
    assert ("positions" in form.spec) == (plan in ("packed", "translation"))
    assert not {"seeds", "flags"} & form.spec.keys()


@pytest.mark.parametrize("masking", MASKINGS)
def test_a_masking_that_rewrites_rows_leaves_nothing_of_the_layout(stores, masking):
    config = Case("full_sentences", masking).config(stores)
    form = BatchForm.of(config, stores.tokenizer, token_counts(list(stores.text.values())))
    rewrites = masking in ("span_corruption", "denoising")
    assert form.is_rewritten == rewrites == ("decoder_tokens" in form.spec)
    assert ("token_types" in form.spec) == (not rewrites)
    assert form.spec["overflow"] == ((8,), I32)
    assert form.spec["tokens"] == form.spec["attention_mask"] == ((8, 48), I32)
    assert form.layout.seq_len == form.masking.input_length


def test_every_plan_goes_with_every_masking_but_packing_with_rewriting(stores):
    refused = set()
    counts = token_counts(list(stores.text.values()))
    for plan in PLANS:
        for masking in MASKINGS:
            config = Case(plan, masking, frame=frames_of(plan)[0]).config(stores)
            try:
                BatchForm.of(config, stores.tokenizer, counts)
            except UserError as error:
                assert f"masking.name={masking} rewrites whole rows" in str(error)
                assert f"plan.name={plan}" in str(error) and "choose another plan" in str(error)
                refused.add((plan, masking))
    assert refused == {("packed", "span_corruption"), ("packed", "denoising")}
    # What is made of them is tried elsewhere: of streams with a few maskings.
    tried = {plan: sum(one == plan for one, _ in COMBINATIONS) for plan in PLANS}
    few = {"packed": len(MASKINGS) - 2, "streams": 3}
    assert tried == dict.fromkeys(PLANS, len(MASKINGS)) | few
    with pytest.raises(UserError, match="tells documents of a row apart"):
        blocks = plan_config("blocks", isolate=True)
        form_of(stores.tokenizer, plan=blocks, frame="eod", masking=masking_config("denoising"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seq_len": 4}, "seq_len=4 is out of range; give 8 to 65535"),
        ({"seq_len": 1 << 16}, "seq_len=65536"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"prefetch": 0}, "prefetch=0"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"alpha": 0.5, "sources": "a:1"}, "alpha=0.5 goes by sizes and sources=a:1 has weights"),
        ({"sources": "a:1,a:2"}, r"sources=a:1,a:2 names 'a' twice"),
        ({"sources": "a:0"}, r"sources=a:0: 'a:0' has no usable weight"),
        ({"sources": "a:x,b:1"}, r"'a:x' has no usable weight"),
        ({"sources": "a,b:1"}, r"sources=a,b:1: some have a weight and some have none"),
        ({"plan": {"name": "sentense_pairs"}}, "plan.name='sentense_pairs' is unknown; did you"),
        ({"plan": {}}, "plan.name='' is unknown"),
        ({"masking": masking_config("token", mask_rate=15.0)}, "masking.mask_rate=15.0"),
        ({"masking": masking_config("token") | {"mask_rat": 0.1}}, "did you mean 'mask_rate'"),
        ({"masking": masking_config("token", mask_rate="x")}, "masking.mask_rate='x' is a str"),
        ({"plan": plan_config("sentence_pairs", short_seq_prob=-1.0)}, "plan.short_seq_prob=-1.0"),
        ({"plan": plan_config("sentence_pairs", dupe_factor=-1)}, "plan.dupe_factor=-1"),
        ({"masking": masking_config("similar_word", weights=())}, "masking.weights=()"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as raised:
        DataConfig(**changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frame": "brt"}, "frame=brt is unknown"),
        ({"frame": "roberta"}, r"no <s> or <\|endoftext\|>"),
        ({"plan": plan_config("blocks")}, "frame=bert surrounds a text"),
        ({"masking": masking_config("token", max_predictions=33)}, "max_predictions=33 does not"),
        ({"masking": masking_config("span")}, "span masking needs the counts"),
        ({"masking": masking_config("span_corruption")}, "seq_len=32 makes 2 spans"),
    ],
)
def test_what_the_vocabulary_or_the_length_cannot_do_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as raised:
        form_of(**changes)
    assert "\n" not in str(raised.value)


def test_unknown_names_are_refused_where_a_section_is_made():
    with pytest.raises(UserError, match="'packt' is unknown; did you mean 'packed'"):
        plan_config("packt")
    with pytest.raises(UserError, match="'whole-word' is unknown; did you mean 'whole_word'"):
        masking_config("whole-word")


def test_sections_survive_a_config(stores):
    config = Case("blocks", "span", "alpha", frame="eod").config(stores)
    assert from_config(DataConfig, to_config(config)) == config


def test_picked_sources_come_in_the_order_that_is_asked_for():
    splits = {name: split_of([[3]], name) for name in ("a", "b", "c")}
    assert list(DataConfig().pick(splits)) == ["a", "b", "c"]
    assert list(DataConfig(sources="c,a").pick(splits)) == ["c", "a"]
    with pytest.raises(
        UserError, match=r"sources=a,x: the store has no source 'x'; it has a, b, c"
    ):
        DataConfig(sources="a,x").pick(splits)
    weighted = DataConfig(sources="c:2, a:0.5")
    assert list(weighted.pick(splits)) == ["c", "a"]
    assert weighted.mixture.weights == {"c": 2.0, "a": 0.5}


def test_what_maskings_know_is_the_tokenizers(stores):
    tokenizer = stores.tokenizer
    counts = token_counts(list(stores.text.values()))
    each = [split.token_counts for split in stores.text.values()]
    assert np.array_equal(counts, each[0] + each[1] + each[2])
    vocabulary = vocabulary_of(tokenizer, counts)
    for field in dataclasses.fields(vocabulary):
        if field.name not in ("token_counts", "similar_words"):  # the corpus's
            assert getattr(vocabulary, field.name) is not None
            same = np.array_equal(getattr(vocabulary, field.name), getattr(tokenizer, field.name))
            assert same, field.name
    assert vocabulary.token_counts is counts
