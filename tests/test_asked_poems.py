"""Poems that are asked for, with a small model of random weights."""

import dataclasses
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.asked_poems import RELEASED, PoemWriter, ids_of
from plmjax.data.poetry.asking import Asked, asked, joined
from plmjax.data.tokenizers.wordpiece import WordPiece
from plmjax.decoding import processors
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.framing import Framing
from plmjax.models.gpt import Gpt
from plmjax.models.yuefu import PRESETS
from plmjax.objectives.causal_lm import CausalLM

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = "，。(格式)诗歌标题五七言绝句律对联浣溪沙春夏秋冬风花雪月山水人日海内存知己"
TOKENIZER = WordPiece(tuple(dict.fromkeys((*SPECIAL, *CHARACTERS))))


@pytest.fixture(scope="module")
def loaded():
    """What `plmjax.loaded.load_model` returns, as far as it is read here."""
    config = dataclasses.replace(
        PRESETS["small"],
        vocab_size=len(TOKENIZER.vocabulary),
        num_layers=2,
        hidden_size=32,
        num_heads=2,
        mlp_size=64,
        max_positions=128,
        initializer_range=0.3,
    )
    objective = CausalLM(Gpt(config))
    row = {name: np.ones((1, 4), np.int32) for name in CausalLM.required_keys}
    params = nn.meta.unbox(objective.init(jax.random.key(0), row, train=False)["params"])
    framing = Framing(TOKENIZER.cls_id, (TOKENIZER.sep_id,), 0, before=(TOKENIZER.cls_id,))
    return types.SimpleNamespace(
        objective=objective,
        params=params,
        tokenizer=TOKENIZER,
        model=config,
        family="yuefu",
        mesh=None,
        rules=(),
        settings=types.SimpleNamespace(data=types.SimpleNamespace(seq_len=100)),
        framing=framing,
        begin=framing.begin,
        end=framing.end,
        context=config.longest,
        path="runs/small",
    )


@pytest.fixture(scope="module")
def writer(loaded):
    return PoemWriter(loaded, DecodingConfig(**RELEASED), batch_size=8)


def test_what_is_asked_for():
    assert asked("form=wujue theme=春风") == Asked("wujue", theme="春风")
    assert asked("form=wulü").opening == "五言律诗(格式)(诗歌标题)"
    assert asked("form=qijue acrostic=春夏秋冬").opening == "七言绝句(格式)春夏秋冬(诗歌标题)"
    assert asked("form=ci tune=浣溪沙").opening == "浣溪沙(格式)(诗歌标题)"
    couplet = asked("form=couplet first=海内存知己，")
    assert (couplet.opening, couplet.length) == ("对联(格式)海内存知己(诗歌标题)", 6)
    assert asked("form=五言绝句 theme=月").length == 24
    assert asked("form=wujue seed=7") == Asked("wujue", seed=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("theme=春", "has no form; give one of wujue"),
        ("form=wujeu", "the form 'wujeu' is unknown; did you mean 'wujue'"),
        ("form=wujue them=春", "--poem has 'them=春'; did you mean 'theme'"),
        ("form=wujue 春", "--poem has '春'"),
        ("form=wujue acrostic=春夏秋", "has 3 characters, and wujue has 4 lines; give 4"),
        ("form=couplet", "a couplet needs its first line: form=couplet first="),
        ("form=couplet first=，", "a couplet needs its first line"),
        ("form=ci", "a ci needs the name of its tune"),
        ("form=ci tune=浣溪沙 acrostic=春夏秋冬", "acrostics have one of the forms wujue"),
        ("form=wujue tune=浣溪沙", "tune=浣溪沙 is for form=ci"),
        ("form=wujue seed=x", "seed=x; give a number"),
        ("form=wujue first=海内存知己", "is for form=couplet"),
    ],
)
def test_a_mistake_is_one_line(text, message):
    with pytest.raises(UserError, match=message) as error:
        asked(text)
    assert "\n" not in str(error.value)


def test_words_behind_the_flag_are_its_own():
    words = ["x", "--poem", "form=wujue", "theme=春", "--seed=3", "--poem=form=ci", "tune=浣溪沙"]
    assert joined(words) == [
        "x",
        "--poem=form=wujue theme=春",
        "--seed=3",
        "--poem=form=ci tune=浣溪沙",
    ]
    assert joined(["x", "a=b", "--poem"]) == ["x", "a=b", "--poem"]


@pytest.mark.parametrize(
    ("poem", "message"),
    [
        (Asked("wujue", theme="春龘"), "theme=春龘 has 龘, not in the model's vocabulary"),
        (Asked("wujue", acrostic="春夏龘龘"), "acrostic=春夏龘龘 has 龘、龘, not in"),
        (Asked("wujue", theme="春" * 80), "is too long: 80 characters, and there is room for 61"),
        (Asked("couplet", first="春" * 60), "too long"),
    ],
)
def test_what_the_model_cannot_read_is_one_line(writer, poem, message):
    with pytest.raises(UserError, match=message):
        list(writer.write([poem], [0]))


def test_poems_are_cut_to_the_form_and_no_character_comes_twice(writer):
    poems = [Asked("wujue", theme="春"), Asked("qijue"), Asked("couplet", first="海内存知己")]
    for one in writer.write(poems * 2, range(6)):
        body = one.poem.body
        assert len(body) <= one.asked.length
        own = [character for character in body if character not in "，。"]
        assert len(set(own)) == len(own)
        assert "[UNK]" not in body


def test_the_same_seed_is_the_same_poem_whatever_is_beside_it(writer):
    poems = [Asked("wujue", theme="春"), Asked("wujue", theme="风花雪月"), Asked("qijue")]
    together = [one.poem for one in writer.write(poems, [5, 6, 7])]
    (alone,) = (one.poem for one in writer.write(poems[1:2], [6]))
    assert alone == together[1]
    others = {one.poem.body for one in writer.write(poems[:1] * 6, range(6))}
    assert len(others) > 3


def test_the_released_rule_is_that_of_its_formula():
    """score = log softmax * 1e3 where a token was taken, but of two marks; in float64."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 40)) * 4
    taken = rng.random((3, 40)) < 0.4
    logits[2, 7] = 60.0  # all but certain: taken, and still the first
    taken[2, 7] = True
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    factor = np.where(taken, 1e3, 1.0)
    factor[:, [4, 9]] = 1.0
    expected = log * factor
    found = processors.pushed_out(
        jnp.asarray(logits, jnp.float32), jnp.asarray(taken), jnp.float32(1e3), (4, 9)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert (np.argmax(found, 1) == np.argmax(expected, 1)).all() and found[2].argmax() == 7
    banned = processors.without(found, (7, 8))
    assert np.isneginf(banned[:, [7, 8]]).all() and np.isfinite(np.delete(banned, [7, 8], 1)).all()


def test_three_characters_are_drawn_from_at_each_place(loaded, writer):
    """Each is among the three best that the model gives after the released rule, in float64."""
    poem = Asked("wujue", theme="春风")
    (one,) = writer.write([poem], [3])
    begin = [TOKENIZER.cls_id, *ids_of(TOKENIZER, poem.opening)]
    new = [TOKENIZER.ids[character] for character in one.poem.body]
    tokens = np.array([begin + new])

    def logits_of(params):
        backbone = loaded.objective.backbone
        hidden = backbone.apply(params, tokens, np.ones_like(tokens), train=False).hidden_BLD
        return backbone.apply(params, hidden, method="logits")[0]

    logits = np.array(jax.jit(logits_of)({"params": loaded.params["backbone"]}), np.float64)
    marks = {TOKENIZER.ids[mark] for mark in "，。"}
    for place, token in enumerate(new):
        scores = logits[len(begin) - 1 + place]
        scores = scores - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
        scores[list(set(new[:place]) - marks)] *= 1e3
        scores[TOKENIZER.unk_id] = -np.inf
        assert token in np.argsort(scores)[-3:]
    assert new
