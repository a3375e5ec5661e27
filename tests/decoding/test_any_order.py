"""Blanks are filled as a plain loop over transformers' model fills them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.decoding.any_order import Filler, Template, in_order
from plmjax.decoding.orders import check_fills, parsed_order
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.families import FAMILIES, OBJECTIVES
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.parallel.mesh import MeshConfig, make_mesh
from tests.huggingface.small import CONFIGS, family_of_case, model, torch

CLS, SEP, MASK, SPECIAL = 2, 3, 4, (0, 1, 2, 3, 4)
BEST = DecodingConfig(banned_tokens=SPECIAL)


@functools.cache
def theirs(case: str):
    made = model(case, "language_model")
    if case == "bert":
        return made
    with torch.no_grad():  # so that no token is the best everywhere
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                parameter.sub_(1)
            elif "position_embeddings" in name:  # blanks differ by nothing else
                parameter.mul_(6)
    return made


@functools.cache
def filler(case: str, rows: int = 16) -> Filler:
    name, config = CONFIGS[case]
    config = dataclasses.replace(config, pooler=False)
    entries = family_of_case(case).table(config, "language_model")
    names = {name for entry in entries for name in entry.names}
    tensors = theirs(case).state_dict().items()
    arrays = {key: tensor.numpy() for key, tensor in tensors if key in names}
    params = jax.tree.map(jnp.asarray, to_ours(arrays, entries, shape_of(config)))
    objective = OBJECTIVES[FAMILIES[name].objective](FAMILIES[name].module(config), labels=0)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    return Filler(objective, params, mesh, rows=rows)


def template(text: list[int], order="left", seed: int = 0, sample: int = 0) -> Template:
    tokens = [CLS, *text, SEP]
    blanks = [place for place, token in enumerate(tokens) if token == MASK]
    return in_order(tokens, blanks, order, seed, sample)


def said(case: str, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities at all places."""
    with torch.no_grad():
        logits = theirs(case)(torch.tensor([tokens])).logits[0]
    return torch.log_softmax(logits.double(), -1)


def by_torch(case: str, given: Template, width: int = 1) -> tuple[list[int], list[float]]:
    tokens, logprobs = list(given.tokens), []
    for first in range(0, len(given.order), width):
        found = said(case, tokens)
        for place in given.order[first : first + width]:
            allowed = found[place].clone()
            allowed[list(SPECIAL)] = -torch.inf
            tokens[place] = int(allowed.argmax())
            logprobs.append(float(found[place, tokens[place]]))
    return tokens, logprobs


FIXED = [MASK, MASK, 17, MASK, MASK, MASK, 40, 41, MASK]
TEXTS = [[MASK] * 9, FIXED, [MASK], [8, MASK], [MASK] * 36]


@pytest.mark.parametrize(
    ("case", "width"), [("bert", 1), ("bert", 2), ("bert", 5), ("roberta", 1), ("albert", 3)]
)
def test_the_best_tokens_are_those_of_a_plain_loop(case, width):
    orders = ("left", "right", "random")
    given = [template(text, order) for text in TEXTS for order in orders]
    given.append(template(FIXED, (3, 0, 5, 1, 4, 2)))
    found = filler(case).fill(given, BEST, width)
    written = set()
    for one, ours in zip(given, found, strict=True):
        tokens, logprobs = by_torch(case, one, width)
        assert list(ours.tokens) == tokens
        np.testing.assert_allclose(ours.logprobs, logprobs, atol=1e-4, rtol=1e-4)
        written |= {tokens[place] for place in one.order}
        kept = set(range(len(tokens))) - set(one.order)
        assert all(tokens[place] == one.tokens[place] for place in kept)
    assert len(written) > (1 if case == "bert" else 5) and not written & set(SPECIAL)


def test_the_order_matters():
    """Else a test of equal tokens would say little."""
    given = [template([MASK] * 9, order) for order in ("left", "right")]
    left, right = filler("bert").fill(given, BEST)
    assert left.tokens != right.tokens


def test_an_order_is_what_its_name_says():
    text = [MASK, 9, MASK, MASK]
    assert template(text, "left").order == (1, 3, 4)
    assert template(text, "right").order == (4, 3, 1)
    assert template(text, (2, 0, 1)).order == (4, 1, 3)
    drawn = [template([MASK] * 12, "random", seed, n).order for seed in (0, 1) for n in (0, 1)]
    assert len(set(drawn)) == 4
    assert all(sorted(order) == list(range(1, 13)) for order in drawn)
    assert template([MASK] * 12, "random", 1, 1).order == drawn[3]


def test_draws_follow_the_distribution():
    """One blank drawn 4,000 times, from the best five at a temperature."""
    config = DecodingConfig(sample=True, top_k=5, temperature=1.7, banned_tokens=SPECIAL)
    text, rounds = [9, MASK, 12, 31], 4000
    given = [template(text, sample=number) for number in range(rounds)]
    drawn = [one.tokens[2] for one in filler("bert", rows=1000).fill(given, config)]
    logits = said("bert", [CLS, *text, SEP])[2]
    logits[list(SPECIAL)] = -torch.inf
    values, best = (logits / 1.7).topk(5)
    expected = torch.softmax(values, 0).numpy() * rounds
    counts = np.array([drawn.count(token) for token in best.tolist()])
    assert counts.sum() == rounds
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi-squared of 4, one in 1,000


def test_blanks_of_a_step_are_drawn_apart():
    """Two equal rows draw alike, two blanks of a row do not."""
    config = DecodingConfig(sample=True, banned_tokens=SPECIAL)
    given = [template([MASK] * 30, sample=number) for number in (0, 0, 1)]
    one, same, other = (found.tokens for found in filler("bert").fill(given, config, 30))
    assert one == same != other
    assert len(set(one)) > 8


def test_a_seed_gives_the_same_text_whatever_is_beside_it():
    config = DecodingConfig(sample=True, top_k=9, temperature=2.0, banned_tokens=SPECIAL)
    texts = [[MASK] * 9, FIXED, [MASK] * 30, [8, MASK, MASK], [MASK] * 12]
    given = [template(text, "random", seed) for text in texts for seed in (1, 2)]
    together = filler("bert").fill(given, config)
    alone = [filler("bert", rows=2).fill([one], config)[0] for one in given]
    turned = filler("bert", rows=3).fill(given[::-1], config)[::-1]
    tokens = [one.tokens for one in together]
    assert tokens == [one.tokens for one in alone] == [one.tokens for one in turned]
    assert tokens[0] != tokens[1]


def test_what_has_been_is_penalised():
    text = [9] * 6 + [MASK] * 8
    config = dataclasses.replace(BEST, repetition_penalty=1e3)
    (found,) = filler("bert").fill([template(text)], config)
    new = found.tokens[7:-1]
    assert len(set(new) | {9}) == len(new) + 1


def test_mistakes_are_a_line():
    assert parsed_order("2, 0,1") == (2, 0, 1)
    with pytest.raises(UserError, match=r"--order=lft is none; did you mean 'left'\?"):
        parsed_order("lft")
    with pytest.raises(UserError, match="no permutation: give each number from 0 to 2 once"):
        parsed_order("1,2,3")
    with pytest.raises(UserError, match="no blank"):
        template([8, 9])
    with pytest.raises(UserError, match="3 blanks, and --order is a permutation of 2"):
        template([MASK] * 3, (1, 0))
    for name, value in {"min_new_tokens": 3, "no_repeat_ngram": 2, "taken_penalty": 2.0}.items():
        with pytest.raises(UserError, match=f"--{name}={value} .* does nothing with --order"):
            check_fills(DecodingConfig(**{name: value}))
    with pytest.raises(UserError, match=r"\[MASK\]s and --slots say how many"):
        check_fills(DecodingConfig(max_new_tokens=9))
