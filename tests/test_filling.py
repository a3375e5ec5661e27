"""Texts with blanks as users write them, and what comes of them."""

import json

import pytest

from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.filling import BlankWriter
from plmjax.loaded import load_model
from plmjax.prompts import Prompt
from plmjax.writing import Writer, show_all
from tests.evals.in_context import models
from tests.run.verb import forked

BEST = DecodingConfig(logprobs=True)
DRAWN = DecodingConfig(sample=True, top_k=40, samples=2, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bert")
    models.bert(made)
    return made


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(str(folder))


def prompts(*texts):
    return [Prompt("--prompt", text) for text in texts]


def test_fixed_words_stay_where_they_are(loaded):
    text = "the [MASK]*3 cat [MASK] sat [MASK]."
    (found,) = BlankWriter(loaded, BEST, "right").write(prompts(text))
    words, ids = [loaded.tokenizer.vocabulary[n] for n in found.tokens], loaded.tokenizer.ids
    assert [words[place] for place in (0, 4, 6, 8)] == ["the", "cat", "sat", "."]
    assert found.order == (7, 5, 3, 2, 1) and len(found.logprobs) == 5
    assert not set(found.tokens) & set(loaded.tokenizer.special_ids)
    assert "[" not in found.text and "cat" in found.text
    assert found.as_dict()["tokens"] == list(found.tokens) and found.tokens[0] == ids["the"]


def test_words_are_spread_over_slots(loaded):
    writer = BlankWriter(loaded, BEST, "left", slots=11)
    found, alone = writer.write(prompts("the cat sat", ""))
    places = [place for place in range(11) if place not in found.order]
    assert places == [2, 5, 8] and len(found.tokens) == len(alone.tokens) == 11
    assert alone.order == tuple(range(11))
    ids = loaded.tokenizer.ids
    given = Prompt("line 1", None, (ids["cat"], ids["sat"]))
    (found,) = BlankWriter(loaded, BEST, "left", slots=5).write([given])
    assert found.order == (0, 2, 4) and found.tokens[1::2] == given.tokens


def test_samples_differ_and_come_again(loaded):
    texts = prompts("[MASK]*12", "a [MASK]*5 mat")
    first, second = (list(BlankWriter(loaded, DRAWN, "random").write(texts)) for _ in range(2))
    assert [one.text for one in first] == [one.text for one in second]
    assert [one.sample for one in first] == [0, 1, 0, 1]
    assert len({one.tokens for one in first}) == 4 and first[0].order != first[1].order
    assert first[0].logprobs is None
    shown = []
    show_all(BlankWriter(loaded, DRAWN, "random"), texts[:1], shown.append)
    assert shown[0].startswith("[text 1]\n") and first[0].text in shown[0]


MISTAKES = {
    "no blank": ("the cat", {}, r"--prompt has no blank: write \[MASK\] or \[MASK\]\*12 where"),
    "both": ("[MASK]", {"slots": 4}, r"has its own \[MASK\], and --slots=4 would say otherwise"),
    "full": ("the cat sat", {"slots": 3}, "3 tokens, which leaves nothing to write in --slots=3"),
    "unknown": ("the [MASK] Ω", {}, "the vocabulary has no 'Ω', which would be"),
    "special": ("the [MASK] [SEP] cat", {}, r"has \[SEP\], which is no text; the model puts"),
    "none": ("[MASK]*0", {}, r"has \[MASK\]\*0; give a number of 1 or more"),
    "long": ("[MASK]*127", {}, "127 places, .* 129, and the model reads 128; give 126 or fewer"),
    "long slots": ("", {"slots": 999}, "999 places, .* and the model reads 128"),
    "order": ("[MASK]*3", {"order": (1, 0)}, "--prompt: there are 3 blanks, .* permutation of 2"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_prompt_that_cannot_be_filled_is_a_line(mistake, loaded):
    text, options, message = MISTAKES[mistake]
    writer = BlankWriter(loaded, BEST, **({"order": "left"} | options))
    with pytest.raises(UserError, match=message):
        list(writer.write(prompts(text)))


def test_each_kind_of_model_is_told_of_its_own_way(loaded, tmp_path):
    with pytest.raises(UserError, match=r"fills in blanks: write with it by --order=left, right"):
        Writer(loaded, DecodingConfig())
    models.gpt(tmp_path)
    with pytest.raises(UserError, match=r"--order is for models that fill in blanks, and .* gpt"):
        BlankWriter(load_model(str(tmp_path)), DRAWN)


def generate(*arguments):
    return forked(
        *arguments,
        "--compilation_cache=none",
        verb="generate",
        environment={"JAX_PLATFORMS": "cpu"},
    )


def test_the_verb_writes_json_lines(folder):
    given = ("--order=random", "--slots=9", "--samples=2", "--tokens_per_step=2", "--json")
    done = generate(f"--model={folder}", *given, "--logprobs", "--prompt=the cat")
    assert (done.code, done.err) == (0, "")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["sample"] for line in lines] == [0, 1]
    assert all(len(line["logprobs"]) == len(line["order"]) == 7 for line in lines)
    assert all(len(line["tokens"]) == 9 and line["prompt"] == "the cat" for line in lines)


OF_FLAGS = {
    "slots": (("--slots=4",), "--slots is of writing with a model that fills in blanks"),
    "stop": (("--order=left", "--stop=a"), "--stop with --order has no meaning"),
    "beams": (("--order=left", "--beams=4"), "--beams with --order has no meaning"),
    "order": (("--order=1,2,x",), "--order=1,2,x is none"),
    "length": (("--order=left", "--max_new_tokens=4", "--slots=4"), "[MASK]s and --slots say"),
}


@pytest.mark.parametrize("mistake", OF_FLAGS)
def test_a_mistake_in_the_flags_is_a_line(mistake, folder):
    arguments, message = OF_FLAGS[mistake]
    done = generate(f"--model={folder}", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err and len(done.err.splitlines()) == 1
