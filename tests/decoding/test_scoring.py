"""Log-likelihoods against transformers with the same random weights, in float32."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.decoding.scoring import Scorer, bucket
from plmjax.decoding.told import told_of
from plmjax.errors import UserError
from plmjax.families import FAMILIES, OBJECTIVES
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.gpt import Config, Gpt
from plmjax.objectives.causal_lm import CausalLM
from plmjax.parallel.mesh import MeshConfig, make_mesh
from tests.huggingface.small import CONFIGS, family_of_case, model, torch

TOLERANCE = 1e-4
MASK, CLS, SEP, START, END = 4, 2, 3, 6, 7
CASES = ("gpt2", "openai-gpt", "t5", "t5-untied", "bart", "bert", "roberta")
rng = np.random.default_rng(0)


def ids(length: int) -> list[int]:
    return rng.integers(8, 60, length).tolist()


PAIRS = [
    (ids(before), ids(after)) for before, after in ((5, 1), (1, 4), (19, 3), (24, 9), (11, 12))
]


def head(case: str) -> str:
    return "pretraining" if "pretraining" in family_of_case(case).classes else "language_model"


@functools.cache
def theirs(case: str):
    made = model(case, head(case))
    if case == "t5-untied":  # transformers 5 ties new models always
        made.lm_head.weight = torch.nn.Parameter(made.lm_head.weight.flip(0))
    return made


@functools.cache
def scorer(case: str, rows: int = 3) -> Scorer:
    name, config = CONFIGS[case]
    if name == "bart":  # whose code at transformers has this fixed
        config = dataclasses.replace(config, layer_norm_epsilon=1e-5)
    entries = family_of_case(case).table(config, head(case))
    names = {name for entry in entries for name in entry.names}
    tensors = theirs(case).state_dict().items()
    arrays = {key: tensor.numpy() for key, tensor in tensors if key in names}
    params = jax.tree.map(jnp.asarray, to_ours(arrays, entries, shape_of(config)))
    objective = OBJECTIVES[FAMILIES[name].objective](FAMILIES[name].module(config))
    begin = {"decoder": (START,), "encoder_decoder": (START,), "encoder": ()}
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    made = Scorer(objective, params, mesh, mask=MASK, rows=rows)
    frame = {"encoder": ((CLS,), (SEP,)), "encoder_decoder": ((), (END,))}.get(made.kind, ((), ()))
    return dataclasses.replace(made, begin=begin[made.kind], frame=frame)


def log_softmax(logits) -> np.ndarray:
    return torch.log_softmax(logits.double(), -1).detach().numpy()


def expected(case: str, before: list[int], text: list[int], after: list[int] = ()):
    """Log-probabilities and whether all are the best, a row at a time without padding."""
    net, kind = theirs(case), scorer(case).kind
    if kind == "decoder":
        rows = log_softmax(net(torch.tensor([[*before, *text]])).logits[0])[len(before) - 1 : -1]
    elif kind == "encoder_decoder":
        source, target = torch.tensor([[*before, END]]), torch.tensor([[START, *text[:-1]]])
        rows = log_softmax(net(input_ids=source, decoder_input_ids=target).logits[0])
    else:
        whole, rows = [CLS, *before, *text, *after, SEP], []
        for place in range(1 + len(before), 1 + len(before) + len(text)):
            hidden = [*whole[:place], MASK, *whole[place + 1 :]]
            output = net(torch.tensor([hidden]))
            logits = output.prediction_logits if "prediction_logits" in output else output.logits
            rows.append(log_softmax(logits[0, place]))
        rows = np.stack(rows)
    return rows[np.arange(len(text)), text], bool((rows.argmax(-1) == text).all())


@pytest.mark.parametrize("case", CASES)
def test_log_likelihoods_are_those_of_transformers(case):
    found = scorer(case).scores(PAIRS)
    for score, (before, text) in zip(found, PAIRS, strict=True):
        logprobs, is_greedy = expected(case, before, text)
        np.testing.assert_allclose(score.logprobs, logprobs, atol=TOLERANCE, rtol=TOLERANCE)
        assert score.total == pytest.approx(logprobs.sum(), abs=TOLERANCE, rel=TOLERANCE)
        assert (score.tokens, score.is_greedy, score.cut) == (len(text), is_greedy, 0)


@pytest.mark.parametrize("case", ["bert", "roberta"])
def test_a_blank_in_the_middle_of_a_text(case):
    before, after, options = ids(4), ids(6), [ids(1), ids(3), ids(2)]
    found = scorer(case).cloze([(before, option, after) for option in options])
    for score, option in zip(found, options, strict=True):
        logprobs, is_greedy = expected(case, before, option, after)
        np.testing.assert_allclose(score.logprobs, logprobs, atol=TOLERANCE, rtol=TOLERANCE)
        assert score.is_greedy == is_greedy


def test_pieces_of_a_word_may_be_hidden_from_each_other():
    before, option, after = ids(4), ids(3), ids(2)
    (found,) = scorer("bert").cloze([(before, option, after)], hide_rest=True)
    for number, token in enumerate(option):
        seen = [CLS, *before, *option[:number], *[MASK] * (3 - number), *after, SEP]
        logits = theirs("bert")(torch.tensor([seen])).prediction_logits
        rows = log_softmax(logits[0, 1 + len(before) + number])
        assert found.logprobs[number] == pytest.approx(rows[token], abs=TOLERANCE)


def test_what_is_greedy_is_said_to_be():
    before = ids(7)
    logits = theirs("gpt2")(torch.tensor([before])).logits[0, -1]
    best, other = int(logits.argmax()), int(logits.argmin())
    one, two = scorer("gpt2").scores([(before, [best]), (before, [other])])
    assert one.is_greedy and not two.is_greedy


def test_without_a_context_a_text_follows_the_beginning():
    text = ids(5)
    (alone,), (after,) = (
        scorer("gpt2").scores([([], text)]),
        scorer("gpt2").scores([([START], text)]),
    )
    np.testing.assert_array_equal(alone.logprobs, after.logprobs)
    with pytest.raises(UserError, match="give a context"):
        dataclasses.replace(scorer("gpt2"), begin=()).scores([([], text)])


def test_what_a_decoder_was_trained_to_read_first_stands_before_each_context():
    framed = dataclasses.replace(scorer("gpt2"), frame=((CLS,), ()))
    expected = scorer("gpt2").scores([([CLS, *before], text) for before, text in PAIRS])
    for found, alone in zip(framed.scores(PAIRS), expected, strict=True):
        np.testing.assert_array_equal(found.logprobs, alone.logprobs)


def test_contexts_that_are_too_long_are_cut_from_the_left():
    text, longest = ids(4), scorer("gpt2").longest
    context = ids(longest + 9)
    (found,) = scorer("gpt2").scores([(context, text)])
    # The last token is not read: as many of the context as leave room for the others.
    (kept,) = scorer("gpt2").scores([(context[-(longest - 3) :], text)])
    assert (found.cut, kept.cut) == (longest + 9 - (longest - 3), 0)
    np.testing.assert_array_equal(found.logprobs, kept.logprobs)
    (of_source,) = scorer("bart").scores([(context, text)])
    (kept,) = scorer("bart").scores([(context[of_source.cut :], text)])
    assert of_source.cut == longest + 9 + 1 - scorer("bart").longest
    np.testing.assert_array_equal(of_source.logprobs, kept.logprobs)
    (blank,) = scorer("bert").cloze([(context, text, ids(3))])
    assert blank.cut == longest + 9 + 4 + 3 + 2 - longest


def test_a_text_that_alone_is_too_long_or_empty_is_refused():
    longest = scorer("gpt2").longest
    (whole,) = scorer("gpt2").scores([([START], ids(longest))])
    assert whole.tokens == longest and whole.cut == 0
    with pytest.raises(UserError, match="has 41 tokens, and the model reads 40"):
        scorer("gpt2").scores([([START], ids(longest + 1))])
    with pytest.raises(UserError, match="is empty"):
        scorer("gpt2").scores([([START], [])])
    with pytest.raises(UserError, match="masked language models"):
        scorer("gpt2").cloze([(ids(1), ids(1), ids(1))])


def test_a_score_does_not_depend_on_what_is_beside_it():
    together = scorer("gpt2").scores(PAIRS)
    for score, pair in zip(together, PAIRS, strict=True):
        (alone,) = scorer("gpt2").scores([pair])
        np.testing.assert_allclose(score.logprobs, alone.logprobs, atol=2e-5)


def test_few_shapes_are_compiled():
    made = scorer("gpt2", rows=2)
    made.scores([([START] * size, [9]) for size in range(1, 33)])
    assert made._compiled._cache_size() == 1
    assert [bucket(size, 100) for size in (1, 32, 33, 48, 49, 65, 97)] == [
        32,
        32,
        48,
        48,
        64,
        96,
        100,
    ]
    assert bucket(100, 1 << 30) == 128


@pytest.mark.parametrize("query_layer", ["before_norm", "after_norm"])
def test_query_layers_score_as_their_full_pass(query_layer):
    config = Config(
        vocab_size=60, num_layers=3, hidden_size=16, num_heads=2, mlp_size=32, max_positions=40,
        query_layer=query_layer, initializer_range=0.5, position_range=0.5,
    )  # fmt: skip
    objective, ones = CausalLM(Gpt(config)), jnp.ones((1, 8), jnp.int32)
    batch = {"tokens": ones, "attention_mask": ones, "targets": ones, "weights": ones * 1.0}
    fresh = jax.jit(functools.partial(objective.init, train=False))(jax.random.key(0), batch)
    params = nn.meta.unbox(fresh["params"])
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    found = Scorer(objective, params, mesh, begin=(START,), rows=4).scores(PAIRS[:2])
    for score, (before, text) in zip(found, PAIRS[:2], strict=True):
        whole = np.array([[*before, *text]])

        def logits(module, whole):
            return module.logits(module(whole, jnp.ones_like(whole), train=False).hidden_BLD)

        run = jax.jit(functools.partial(Gpt(config).apply, method=logits))
        out = run({"params": params["backbone"]}, whole)
        rows = np.asarray(out[0, len(before) - 1 : -1], np.float64)
        logprobs = rows - np.log(np.exp(rows).sum(-1, keepdims=True))
        picked = logprobs[np.arange(len(text)), text]
        np.testing.assert_allclose(score.logprobs, picked, atol=TOLERANCE)


def test_the_formula_in_float64():
    logits = (rng.normal(size=(3, 5, 11)) * 20).astype(np.float32)
    targets = rng.integers(0, 11, (3, 5))
    found, best = told_of(jnp.asarray(logits), jnp.asarray(targets))
    wide = logits.astype(np.float64)
    wide -= np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1, keepdims=True)) + wide.max(
        -1, keepdims=True
    )
    picked = np.take_along_axis(wide, targets[:, :, None], -1)[:, :, 0]
    np.testing.assert_allclose(found, picked, atol=1e-5)
    np.testing.assert_array_equal(best, wide.argmax(-1) == targets)
