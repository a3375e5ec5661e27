"""The Kneser-Ney baseline against nltk's, and against Chen & Goodman's formulas token by token."""

import collections
import itertools

import numpy as np
import pytest

from plmjax.evals.kneser_ney import (
    NAME,
    KneserNey,
    estimated_discounts,
    kneser_ney_baseline,
)
from plmjax.evals.text_size import joined_rows
from plmjax.objectives.causal_lm import CausalLM
from tests.requires import need

V, MARK = 12, 11
RANDOM = np.random.default_rng(5)


def text(size):
    """Tokens 0 to 10, the later the rarer, each often followed by the next."""
    tokens = RANDOM.geometric(0.35, size) - 1
    tokens[1::2] = np.where(
        RANDOM.random(size // 2) < 0.6, tokens[::2][: size // 2] + 1, tokens[1::2]
    )
    return np.minimum(tokens, MARK - 1)


def starts(documents):
    return np.cumsum([0, *map(len, documents[:-1])])


@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_it_is_nltks(discount):
    lm = need("nltk.lm", "pip install nltk")
    everygrams = need("nltk.util", "pip install nltk").everygrams
    documents = [text(size) for size in (90, 30, 50)]
    # What a document begins with counts once for it, as it does after a word that is there once.
    runs = [[f"begin {i}", *map(str, document)] for i, document in enumerate(documents)]
    other = lm.KneserNeyInterpolated(5, discount=discount)
    other.fit([list(everygrams(run, max_len=5)) for run in runs], itertools.chain(*runs))
    discounts = np.full((5, 3), discount)
    discounts[0] = 0  # nltk's unigrams are not interpolated with anything
    tokens = np.concatenate(documents)
    model = KneserNey.of(tokens, starts(documents), V, discounts=discounts)
    seen = np.concatenate([tokens[:40], text(60)])
    seen = np.where(np.isin(seen, tokens), seen, 0)
    found = model.probabilities(seen, np.arange(len(seen)) == 0)
    for place, probability in enumerate(found):
        context = [str(token) for token in seen[max(0, place - 4) : place]]
        assert probability == pytest.approx(other.score(str(seen[place]), context), rel=1e-12)


class Formulas:
    """Chen & Goodman's modified Kneser-Ney with dictionaries; documents between marks."""

    def __init__(self, documents, order):
        self.order = order
        runs = [[MARK, *document.tolist(), MARK] for document in documents]
        self.counts = []
        for n in range(1, order + 1):
            raw, left = collections.Counter(), collections.defaultdict(set)
            for run in runs:
                for end in range(max(1, n - 1), len(run)):
                    gram = tuple(run[end - n + 1 : end + 1])
                    raw[gram] += 1
                    if end >= n:
                        left[gram].add(run[end - n])
            highest = n == order
            self.counts.append(
                {
                    gram: raw[gram] if highest or (n > 1 and gram[0] == MARK) else len(left[gram])
                    for gram in raw
                }
            )
        self.discounts = [
            (0, *estimated_discounts(np.array(list(table.values())))) for table in self.counts
        ]

    def probability(self, token, context):
        n = len(context) + 1
        lower = self.probability(token, context[1:]) if context else 1 / V
        table, discounts = self.counts[n - 1], self.discounts[n - 1]
        of_context = {g: c for g, c in table.items() if g[:-1] == context}
        total = sum(of_context.values())
        if not total:
            return lower
        taken = {g: discounts[min(c, 3)] for g, c in of_context.items()}
        gram = (*context, token)
        own = of_context.get(gram, 0) - taken.get(gram, 0)
        return (own + sum(taken.values()) * lower) / total


@pytest.mark.parametrize("order", [2, 5])
def test_it_is_the_papers_formula_between_documents(order):
    documents = [text(size) for size in (40, 1, 90, 3, 200)]
    documents += documents[:2]
    model = KneserNey.of(np.concatenate(documents), starts(documents), V, MARK, order)
    formulas = Formulas(documents, order)
    seen = [MARK, *text(70).tolist(), MARK, *text(30).tolist()]
    found = model.probabilities(np.array(seen), np.arange(len(seen)) == 0)
    for place in range(1, len(seen)):
        # What is before the mark says nothing of the next document.
        begin = max(i for i in range(place) if seen[i] == MARK)
        context = tuple(seen[max(begin, place - order + 1) : place])
        assert found[place] == pytest.approx(formulas.probability(seen[place], context), rel=1e-12)


@pytest.mark.parametrize("mark", [MARK, None])
def test_it_is_a_distribution_after_every_context(mark):
    documents = [text(size) for size in (60, 80, 7)]
    model = KneserNey.of(np.concatenate(documents), starts(documents), V, mark)
    for context in ([], [3], [0, 1], [2, 2, 2, 2], documents[0][10:14], [MARK], [MARK, 0, 1]):
        rows = np.array([[*context, token] for token in range(V)])
        is_start = np.zeros(rows.shape, bool)
        is_start[:, 0] = True
        ends = np.arange(1, V + 1) * rows.shape[1] - 1
        found = model.probabilities(rows.reshape(-1), is_start.reshape(-1))[ends]
        assert found.min() > 0
        assert found.sum() == pytest.approx(1, rel=1e-12)


def test_discounts_are_estimated_and_never_more_than_a_count():
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 25, 10, 7])
    y = 100 / 180
    expected = (1 - 2 * y * 0.4, 2 - 3 * y * 25 / 40, 3 - 4 * y * 10 / 25)
    assert estimated_discounts(counts) == pytest.approx(expected)
    assert estimated_discounts(np.ones(50, int)) == (0.5, 1.0, 1.5)


def blocks(stream, length, overlap):
    """Rows of a causal batch, the last one padded."""
    stride = length - overlap
    rows = [stream[i : i + length] for i in range(0, len(stream) - overlap, stride)]
    tokens = np.full((len(rows), length), MARK)
    mask, weights = np.zeros_like(tokens), np.zeros(tokens.shape, np.float32)
    for row, piece in enumerate(rows):
        tokens[row, : len(piece)] = piece
        mask[row, : len(piece)] = 1
        weights[row, : len(piece) - 1] = 1
    targets = np.roll(tokens, -1, 1)
    return {"tokens": tokens, "attention_mask": mask, "targets": targets, "weights": weights}


def test_rows_that_overlap_are_one_text():
    stream = np.concatenate([text(50), [MARK], text(33)])
    batch = blocks(stream, 9, 1)
    cut = [{k: v[i : i + 4] for k, v in batch.items()} for i in range(0, len(batch["tokens"]), 4)]
    tokens, is_start, predicted = joined_rows(cut, CausalLM.histories)
    np.testing.assert_array_equal(tokens, stream)
    assert is_start.tolist() == [True] + [False] * (len(stream) - 1)
    assert predicted.tolist() == [False] + [True] * (len(stream) - 1)


def test_the_baseline_is_the_mean_over_the_tokens_that_have_weight():
    documents = [text(size) for size in (60, 80, 70)]
    model = KneserNey.of(np.concatenate(documents), starts(documents), V, MARK)
    stream = np.arange(84) * 3 % 11  # no row begins as the one before has ended
    batch = blocks(stream, 10, 0)
    rows = joined_rows([batch], CausalLM.histories)
    found = kneser_ney_baseline(model, *rows, "lm")[NAME]["lm_loss"]
    losses = []
    for row, weights, mask in zip(
        batch["tokens"], batch["weights"], batch["attention_mask"], strict=True
    ):
        row = row[mask > 0]
        probabilities = model.probabilities(row, np.arange(len(row)) == 0)
        losses += list(-np.log(probabilities[1:][weights[: len(row) - 1] > 0]))
    assert len(losses) == batch["weights"].sum()
    assert found == pytest.approx(np.mean(losses), rel=1e-12)
