"""What does not depend on the batch, what may not be asked for, and what the host is told."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.models.gpt import PRESETS, Gpt
from plmjax.nn.efficient.kinds import Full
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.seq2seq_lm import Seq2SeqLM

END = 7
SMALL = {"vocab_size": 61, "num_layers": 1, "hidden_size": 32, "num_heads": 4, "mlp_size": 64}
SMALL |= {"max_positions": 64, "initializer_range": 0.7, "scale_residual": False}
WIRINGS = {
    "bands": {"attention": Full(reach=5), "dense_every": 2, "num_layers": 3},
    "query": {"query_layer": "before_norm", "num_layers": 2},
    "published": {"query_layer": "after_norm", "attention": Full(reach=5), "num_layers": 3},
}
SAMPLING = {"sample": True, "temperature": 1.3, "top_p": 0.95, "repetition_penalty": 1.1}


def model_of(**fields):
    """A decoder with random weights, of which GPT-2's order is the default."""
    backbone = Gpt(dataclasses.replace(PRESETS["gpt2-small"], **(SMALL | fields)))
    ids = jnp.zeros((1, 4), jnp.int32)
    params = backbone.init(jax.random.key(3), ids, ids + 1, train=False)["params"]
    return CausalLM(backbone), {"backbone": nn.meta.unbox(params)}


def prompts(*lengths: int) -> list[list[int]]:
    return [np.random.default_rng(length).integers(8, 61, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(*model_of(), end=END)


@pytest.mark.parametrize(
    ("wiring", "unroll"),
    [
        ("published", False),
        pytest.param("bands", True, marks=pytest.mark.slow),
        pytest.param("query", True, marks=pytest.mark.slow),
        pytest.param("query", False, marks=pytest.mark.slow),
    ],
)
def test_the_best_tokens_are_those_of_the_whole_row_without_a_cache(wiring, unroll):
    objective, params = model_of(**WIRINGS[wiring])
    config = DecodingConfig(max_new_tokens=12, logprobs=True)
    generator = Generator(objective, params, unroll=unroll)
    found = generator.generate(prompts(2, 9), config)
    backbone, variables = objective.backbone, {"params": params["backbone"]}
    for prompt, (continuation,) in zip(prompts(2, 9), found, strict=True):
        row = np.array([prompt + list(continuation.tokens)])
        hidden = backbone.apply(variables, row, np.ones_like(row), train=False).hidden_BLD
        scores = jax.nn.log_softmax(backbone.apply(variables, hidden, method="logits"))[0]
        before = scores[len(prompt) - 1 : -1]
        np.testing.assert_array_equal(before.argmax(1), continuation.tokens)
        own = before[np.arange(12), np.array(continuation.tokens)]
        np.testing.assert_allclose(continuation.logprobs, own, atol=2e-4)
        assert continuation.score == pytest.approx(sum(continuation.logprobs))


def test_a_seed_gives_the_same_text_whatever_is_decoded_beside_it(generator):
    config = DecodingConfig(max_new_tokens=14, samples=2, seed=5, **SAMPLING)
    texts = prompts(3, 20, 6, 11, 1)
    together = generator.generate(texts, config)
    for prompt, expected in zip(texts, together, strict=True):
        assert generator.generate([prompt], config) == [expected]
    assert together[0][0].tokens != together[0][1].tokens
    # Each of several samples is that of its number, and of its prompt's own seed.
    few = dataclasses.replace(config, samples=1, seed=9)
    again = generator.generate(texts[::-1], few, seeds=[5] * 5)
    assert [found[0] for found in again] == [found[0] for found in together[::-1]]
    others = generator.generate(texts, config, seeds=[5, 6, 5, 7, 5])
    assert [a == b for a, b in zip(others, together, strict=True)] == [True, False] * 2 + [True]


def test_batches_are_cut_and_prompts_keep_their_order(generator):
    config = DecodingConfig(max_new_tokens=6)
    texts = prompts(9, 2, 30, 4, 17, 3, 5)
    small = Generator(*model_of(), end=END, most_rows=2)
    assert small.generate(texts, config) == generator.generate(texts, config)


def test_shapes_of_one_bucket_are_compiled_once(generator):
    before = generator._go_on._cache_size()
    for lengths, most in (((3, 5), 17), ((9, 14), 20), ((16, 1), 24)):
        config = DecodingConfig(max_new_tokens=most, temperature=0.1 * most, sample=True)
        generator.generate(prompts(*lengths), config)
    assert generator._go_on._cache_size() == before + 1


def test_padding_of_the_vocabulary_never_wins():
    """Its rows of the table are zero, and all other scores are made to be far below."""
    objective, params = model_of()
    table = params["backbone"]["token_table"]["embedding"]
    assert len(table) == 128
    params["backbone"]["final_norm"]["bias"] = -40.0 * jnp.sign(table[9])
    found = Generator(objective, params).generate(
        prompts(4, 8),
        DecodingConfig(max_new_tokens=30, sample=True, temperature=50.0, samples=4),
    )
    assert max(max(text.tokens) for texts in found for text in texts) < 61
    (texts,) = Generator(objective, params).generate(
        prompts(4), DecodingConfig(max_new_tokens=3, beams=40, n_best=40)
    )
    assert max(max(text.tokens) for text in texts) < 61


def test_the_host_is_told_of_tokens_and_can_stop(generator):
    config = DecodingConfig(max_new_tokens=30, min_new_tokens=30)
    texts = prompts(5, 12)
    free = [text.tokens for (text,) in generator.generate(texts, config)]
    told = [[], []]

    def on_tokens(prompt, sample, tokens):
        assert sample == 0 and tokens
        told[prompt] += tokens

    assert generator.generate(texts, config, on_tokens=on_tokens)
    assert [tuple(tokens) for tokens in told] == free
    wanted = free[1][13]

    def stop(tokens):
        return tokens.index(wanted) if wanted in tokens else None

    found = generator.generate(texts, config, stop=stop)
    for (text,), whole in zip(found, free, strict=True):
        assert text.finished == (wanted in whole)
        assert text.tokens == (whole[: whole.index(wanted)] if wanted in whole else whole)


def test_stop_tokens_end_a_text(generator):
    config = DecodingConfig(max_new_tokens=30, min_new_tokens=1)
    (text,) = generator.generate(prompts(5), config)[0]
    last = text.tokens[4]
    ended = dataclasses.replace(config, stop_tokens=(last,), logprobs=True)
    (text_,) = generator.generate(prompts(5), ended)[0]
    length = max(text.tokens[1:].index(last) + 1, 1)
    assert text_.tokens == text.tokens[:length] and text_.finished
    assert len(text_.logprobs) == length + 1  # with the token that ended it


def test_an_empty_prompt_begins_with_the_model_s_first_token():
    objective, params = model_of()
    config = DecodingConfig(max_new_tokens=5)
    generator = Generator(objective, params, begin=9)
    assert generator.generate([[]], config) == generator.generate([[9]], config)


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ([[1], []], {}, "prompt 2 of 2 is empty, and this model has no token that begins"),
        ([[61]], {}, "prompt 1 of 1 has the token 61, and the model's vocabulary has 61"),
        ([[-1]], {}, "has the token -1"),
        ([[9] * 50], {"max_new_tokens": 15}, "set max_new_tokens to at most 14"),
        ([[9]], {"stop_tokens": (99,)}, "stop_tokens has 99"),
        ([[9]], {"forced_end": 61}, "forced_end has 61"),
    ],
)
def test_prompts_that_cannot_be_continued(generator, given, config, said):
    with pytest.raises(UserError, match=said) as error:
        generator.generate(given, DecodingConfig(**{"max_new_tokens": 4} | config))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"beams": 4, "sample": True}, "beams=4 with sample=True: a beam search does not draw"),
        ({"beams": 4, "top_p": 0.9}, "beams=4 with top_p=0.9"),
        ({"beams": 2, "samples": 3}, "beams=2 with samples=3"),
        ({"temperature": 0.5}, "temperature=0.5 does nothing with sample=False"),
        ({"temperature": 0.0, "sample": True}, "temperature=0.0 is out of range"),
        ({"top_p": 1.5, "sample": True}, "top_p=1.5 is out of range"),
        ({"n_best": 2}, "n_best=2 does nothing with beams=1"),
        ({"n_best": 3, "beams": 2}, "n_best=3 is more than beams=2"),
        ({"early_stopping": "yes", "beams": 2}, "early_stopping='yes' is unknown"),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, "min_new_tokens=9 is more than"),
        ({"seed": -1}, "seed=-1 is out of range"),
    ],
)
def test_settings_that_do_not_go_together(config, said):
    with pytest.raises(UserError, match=said):
        DecodingConfig(**config)


def test_a_beam_search_cannot_be_watched(generator):
    with pytest.raises(UserError, match="beams=2 cannot show or stop"):
        generator.generate([[9]], DecodingConfig(beams=2, max_new_tokens=4), on_tokens=print)


def test_an_encoder_decoder_says_what_it_cannot_read():
    from plmjax.models.bart import Bart, Config

    small = {name: SMALL[name] for name in ("vocab_size", "hidden_size", "num_heads", "mlp_size")}
    backbone = Bart(Config(**small, num_layers=1, max_positions=22))
    ids = jnp.zeros((1, 4), jnp.int32)
    made = backbone.init(jax.random.key(0), ids, ids + 1, ids, ids + 1, train=False)["params"]
    objective, params = Seq2SeqLM(backbone), {"backbone": nn.meta.unbox(made)}
    generator = Generator(objective, params, begin=2, end=2)
    with pytest.raises(UserError, match="has 21 tokens, and the model reads 20"):
        generator.generate([[9] * 21], DecodingConfig(max_new_tokens=4))
    with pytest.raises(UserError, match="max_new_tokens=20 is more than the model's 20 places"):
        generator.generate([[9] * 3], DecodingConfig(max_new_tokens=20))
