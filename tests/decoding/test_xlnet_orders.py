"""XLNet tells tokens, and fills blanks, from those before them in an order: transformers' does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.decoding.any_order import Filler, in_order
from plmjax.decoding.scoring import Scorer
from plmjax.decoding.settings import DecodingConfig
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.xlnet import Xlnet
from plmjax.objectives.permutation_lm import PermutationLM
from plmjax.parallel.mesh import MeshConfig, make_mesh
from tests.huggingface.small import CONFIGS, family_of_case, model, torch

SEP, MASK, SPECIAL = 3, 4, (0, 1, 2, 3, 4)
RNG = np.random.default_rng(0)
TEXTS = [RNG.integers(5, 60, size).tolist() for size in (9, 30, 1, 45)]


@functools.cache
def theirs():
    return model("xlnet", "language_model")


@functools.cache
def ours():
    """Objective, parameters, mesh."""
    _, config = CONFIGS["xlnet"]
    entries = family_of_case("xlnet").table(config, "language_model")
    names = {name for entry in entries for name in entry.names}
    tensors = theirs().state_dict().items()
    arrays = {key: tensor.numpy() for key, tensor in tensors if key in names}
    params = jax.tree.map(jnp.asarray, to_ours(arrays, entries, shape_of(config)))
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    # What an objective carries in training is none of what it is asked.
    return PermutationLM(Xlnet(config), memory=True), params, mesh


def said(tokens, ranks, place):
    """Log-probabilities at a place from the tokens of lower ranks: float64 [V]."""
    ranks = torch.tensor(ranks)
    # All see those of their own rank and of lower ones, but for the target, whose own is hidden.
    own = ranks + 1
    own[place] = ranks[place]
    perm_mask = (ranks[None, :] >= own[:, None]).float()
    mapping = torch.zeros(1, 1, len(tokens))
    mapping[0, 0, place] = 1
    ids = torch.tensor([tokens])
    with torch.no_grad():
        output = theirs()(
            ids, token_type_ids=0 * ids, perm_mask=perm_mask[None], target_mapping=mapping
        )
    return torch.log_softmax(output.logits[0, 0].double(), -1)


def ranks_of(size, places):
    ranks = np.zeros(size, np.int64)
    ranks[np.asarray(places)] = 1 + np.arange(len(places))
    return ranks.tolist()


@pytest.mark.parametrize("order", ["left", "right", "random"])
def test_each_token_is_told_from_those_before_it_as_transformers_does(order):
    scorer = Scorer(*ours(), frame=((), (SEP,)), mask=MASK, rows=2)
    asked = []
    for number, text in enumerate(TEXTS):
        places = np.arange(len(text))
        drawn = np.random.default_rng(number).permutation(len(text))
        asked.append((text, {"left": places, "right": places[::-1], "random": drawn}[order]))
    for (text, places), found in zip(asked, scorer.in_order(asked), strict=True):
        tokens, expected, greedy = [*text, SEP], [], True
        ranks = ranks_of(len(tokens), places)
        for place in places:
            logprobs = said(tokens, ranks, int(place))
            expected.append(float(logprobs[tokens[place]]))
            greedy &= int(logprobs.argmax()) == tokens[place]
        np.testing.assert_allclose(found.logprobs, expected, atol=1e-4)
        assert found.is_greedy == greedy and found.cut == 0
    assert np.std(expected) > 0.3


def test_what_comes_later_in_the_order_is_not_seen():
    scorer = Scorer(*ours(), frame=((), (SEP,)), mask=MASK)
    text, places = TEXTS[1], RNG.permutation(30)
    other = list(text)
    for place in places[20:]:
        other[place] = 64 - text[place]
    one, two = scorer.in_order([(text, places), (other, places)])
    np.testing.assert_allclose(one.logprobs[:20], two.logprobs[:20], atol=1e-5)
    assert np.abs(one.logprobs[21:] - two.logprobs[21:]).max() > 0.1


def test_a_blank_is_told_from_all_around_it():
    """The pseudo-log-likelihood hides a token by its rank; the mask's own embedding is not read."""
    scorer = Scorer(*ours(), frame=((), (SEP,)), mask=MASK)
    before, text, after = TEXTS[0][:4], TEXTS[0][4:6], TEXTS[0][6:]
    (found,) = scorer.cloze([(before, text, after)])
    tokens = [*TEXTS[0], SEP]
    expected = [
        said(tokens, ranks_of(len(tokens), [place]), place)[tokens[place]] for place in (4, 5)
    ]
    np.testing.assert_allclose(found.logprobs, torch.stack(expected).numpy(), atol=1e-4)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("order", ["left", "random"])
def test_blanks_are_filled_as_by_a_plain_loop(order, width):
    objective, params, mesh = ours()
    config = DecodingConfig(banned_tokens=SPECIAL)
    texts = [[MASK] * 9, [7, MASK, MASK, 30, MASK, 41, MASK], [MASK]]
    given = []
    for text in texts:
        tokens = [*text, SEP]
        blanks = [place for place, token in enumerate(tokens) if token == MASK]
        given.append(in_order(tokens, blanks, order, 0, 0))
    filled = Filler(objective, params, mesh, rows=2).fill(given, config, width)
    for one, found in zip(given, filled, strict=True):
        tokens, logprobs = list(one.tokens), []
        ranks = [0] * len(tokens)
        for number, place in enumerate(one.order):
            ranks[place] = 1 + number // width
        for first in range(0, len(one.order), width):
            places = one.order[first : first + width]
            told = [said(tokens, ranks, place) for place in places]
            for place, some in zip(places, told, strict=True):
                allowed = some.clone()
                allowed[list(SPECIAL)] = -torch.inf
                tokens[place] = int(allowed.argmax())
                logprobs.append(float(some[tokens[place]]))
        assert list(found.tokens) == tokens
        np.testing.assert_allclose(found.logprobs, logprobs, atol=1e-4, rtol=1e-4)
