"""What is done to scores, against transformers' classes on random scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from plmjax.decoding import processors, sampling
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)

B, V, M = 6, 211, 30


def scores(seed: int = 0, spread: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(scale=spread, size=(B, V)).astype(np.float32)
    logits[1, ::3] = -np.inf  # what another processor has forbidden
    return logits


def same(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 500])
def test_top_k(count):
    warper = transformers.TopKLogitsWarper(count)
    same(processors.top_k(scores(), count), warper(None, torch.tensor(scores())))


def test_top_k_keeps_what_ties_with_the_last():
    logits = np.array([[1.0, 2.0, 0.0, 1.0, 1.0]], np.float32)
    same(processors.top_k(logits, 2), transformers.TopKLogitsWarper(2)(None, torch.tensor(logits)))


@pytest.mark.parametrize("p", [1e-3, 0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_top_p(p, spread):
    logits = scores(spread=spread)
    warper = transformers.TopPLogitsWarper(p)
    same(processors.top_p(logits, jnp.float32(p)), warper(None, torch.tensor(logits)))


@pytest.mark.parametrize("p", [1e-3, 0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0])
def test_the_top_p_of_gpt2_leaves_out_the_token_that_crosses(p, spread):
    """The formula of openai/gpt-2 sample.py in float64."""
    logits = scores(spread=spread).astype(np.float64)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    order = np.argsort(-logits, axis=1)
    sums = np.take_along_axis(probabilities, order, 1).cumsum(1)
    last = np.maximum((sums <= p).sum(1) - 1, 0)
    least = logits[np.arange(B), order[np.arange(B), last]][:, None]
    found = processors.top_p(logits.astype(np.float32), jnp.float32(p), "gpt2")
    np.testing.assert_array_equal(np.isfinite(found), logits >= least)


@pytest.mark.parametrize("mass", [0.01, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_typical(mass, spread):
    warper = transformers.TypicalLogitsWarper(mass)
    logits = scores(spread=spread)
    same(processors.typical(logits, jnp.float32(mass)), warper(None, torch.tensor(logits)))


def history() -> tuple[np.ndarray, np.ndarray]:
    """Texts that repeat themselves, with unlike padding in front, and where they begin."""
    tokens = np.random.default_rng(2).integers(0, 5, (B, M)).astype(np.int32)
    begins = np.array([0, 3, 10, 17, 18, 19], np.int32)
    tokens[np.arange(M) < begins[:, None]] = 4
    return tokens, begins


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_row_of_tokens_comes_twice(size):
    (tokens, begins), end = history(), 20
    found = processors.without_repeats(scores(), tokens, begins, jnp.int32(end), size)
    processor = transformers.NoRepeatNGramLogitsProcessor(size)
    for row, begin in enumerate(begins):
        text = torch.tensor(tokens[None, row, begin:end]).long()
        expected = processor(text, torch.tensor(scores()[None, row]))
        same(found[None, row], expected)


def test_the_penalty_of_repeats():
    (tokens, begins), end = history(), 20
    seen = np.zeros((B, V), bool)
    processor = transformers.RepetitionPenaltyLogitsProcessor(1.7)
    for row, begin in enumerate(begins):
        text = tokens[row, begin:end]
        seen[row, text] = True
        expected = processor(torch.tensor(text[None]).long(), torch.tensor(scores()[None, row]))
        same(processors.penalised(scores()[None, row], seen[None, row], 1.7), expected)


def test_ends_and_forced_tokens():
    logits = scores()
    found = processors.without_ends(logits, (3, 9), jnp.bool(False))
    assert np.isneginf(found[:, [3, 9]]).all()
    others = np.delete(np.arange(V), [3, 9])
    np.testing.assert_array_equal(found[:, others], logits[:, others])
    np.testing.assert_array_equal(processors.without_ends(logits, (3,), jnp.bool(True)), logits)
    forced = np.asarray(processors.forced(logits, 5, jnp.bool(True)))
    assert (forced[:, 5] == 0).all() and np.isneginf(np.delete(forced, 5, 1)).all()


def test_the_best_token_is_the_first_of_those_that_tie():
    logits = scores()
    logits[2, [150, 20, 199]] = 99.0
    logits[3] = -np.inf
    np.testing.assert_array_equal(sampling.best(jnp.asarray(logits)), logits.argmax(1))


DRAWS = 100_000
LAWS = {
    "all": lambda x: x,
    "temperature": lambda x: x / 0.6,
    "top-k": lambda x: processors.top_k(x, 9),
    "top-p": lambda x: processors.top_p(x, jnp.float32(0.8)),
    "top-p of GPT-2": lambda x: processors.top_p(x, jnp.float32(0.8), "gpt2"),
    "typical": lambda x: processors.typical(x, jnp.float32(0.7)),
}


@pytest.mark.parametrize("law", LAWS)
def test_draws_have_the_frequencies_of_the_probabilities(law):
    """Chi-square over 100,000 draws; the vocabulary is more than a block of 128."""
    logits = LAWS[law](jnp.asarray(scores(5, 1.5)[:1]))

    @jax.jit
    def draw(seeds):
        keys = sampling.row_keys(seeds, jnp.uint32(7) + 0 * seeds, 0 * seeds)
        return sampling.drawn(jnp.broadcast_to(logits, (len(seeds), V)), keys, jnp.int32(3))

    seeds = np.arange(DRAWS, dtype=np.uint32).reshape(10, -1)
    counts = np.bincount(np.concatenate([draw(part) for part in seeds]), minlength=V)
    expected = np.asarray(jax.nn.softmax(logits.astype(jnp.float32)))[0].astype(np.float64)
    assert counts[expected == 0].sum() == 0
    few = expected * DRAWS < 5
    counts = np.append(counts[~few], counts[few].sum())
    expected = np.append(expected[~few], expected[few].sum()) * DRAWS
    kept = expected > 0
    found = stats.chisquare(counts[kept], expected[kept] * counts.sum() / expected[kept].sum())
    assert found.pvalue > 1e-3


def test_an_impossible_token_is_not_drawn_at_the_ends_of_the_range():
    weights = jnp.array([[0.0, 1.0, 0.0, 2.0, 0.0]])
    at = [int(sampling._at(weights, jnp.array([u]))[0]) for u in (0.0, 0.3, 0.4, 1.0 - 2**-24)]
    assert at == [1, 1, 3, 3]
    assert int(sampling._at(weights, jnp.array([1.0]))[0]) == 3
