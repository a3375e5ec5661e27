"""BLEU and ROUGE of texts that are written: by formula, and by another implementation."""

import collections
import importlib.util
import itertools
import random

import numpy as np
import pytest

from plmjax.data.labelled.text_to_text import TextToText
from plmjax.errors import UserError
from plmjax.evals.metrics import texts
from plmjax.task_figures import metric_of
from tests.requires import need

need("sacrebleu", "pip install sacrebleu")
need("rouge_score", "pip install rouge-score")

WORDS = ["the", "cat", "dog", "sat", "on", "a", "mat", "saw", "his", "big", "house", "there"]


def written(count: int = 60, seed: int = 1) -> tuple[list[list[str]], list[str]]:
    """Lists of one to three right texts, and texts that share most of their words."""
    rng = random.Random(seed)
    references, predictions = [], []
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.randint(8, 14))
        some = [
            words,
            *([w for w in words if rng.random() < 0.9] for _ in range(rng.randint(0, 2))),
        ]
        references.append([" ".join(each) for each in some])
        predictions.append(" ".join(w if rng.random() < 0.85 else "dog" for w in words))
    return references, predictions


def test_bleu_is_that_of_nltk():
    translate = need("nltk.translate.bleu_score", "pip install -r requirements-ci.txt")
    references, predictions = written()
    tokens = [[text.split() for text in some] for some in references]
    expected = translate.corpus_bleu(tokens, [text.split() for text in predictions])
    assert texts.bleu(references, predictions)["bleu"] == pytest.approx(expected, abs=1e-6)
    assert 0.3 < expected < 0.95


def test_chinese_is_measured_by_characters():
    found = texts.bleu([["中国的天气很好"]], ["中国的天气不好"], tokenize="zh")["bleu"]
    # Of 7 characters 6 are right, of 6 pairs 4, of 5 threes 3, of 4 fours 2.
    assert found == pytest.approx((6 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25)


def overlap(reference: list, prediction: list) -> float:
    """F1 of what two lists share, each as often as in both."""
    same = (collections.Counter(reference) & collections.Counter(prediction)).total()
    return 2 * same / (len(reference) + len(prediction))


def longest(one: list, other: list) -> int:
    """Of the longest common subsequence."""
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
            )
    return int(table[-1, -1])


def test_rouge_is_the_formula_of_the_best_reference():
    references, predictions = written()
    sums = collections.Counter()
    for some, prediction in zip(references, predictions, strict=True):
        found = prediction.split()
        given = [text.split() for text in some]
        pairs = [list(itertools.pairwise(words)) for words in (found, *given)]
        sums["rouge1"] += max(overlap(words, found) for words in given)
        sums["rouge2"] += max(overlap(two, pairs[0]) for two in pairs[1:])
        sums["rougeLsum"] += max(
            2 * longest(words, found) / (len(words) + len(found)) for words in given
        )
    expected = {name: total / len(predictions) for name, total in sums.items()}
    assert texts.rouge(references, predictions) == pytest.approx(expected)


def test_sentences_are_told_apart_as_in_t5():
    # T5's `_prepare_summary_rouge` breaks lines behind " . ": the order of sentences is no matter.
    one, other = "the cat sat . a dog saw", "a dog saw . the cat sat"
    assert texts.rouge([[one]], [other])["rougeLsum"] == pytest.approx(1)
    joined = texts.rouge([[one.replace(" .", "")]], [other.replace(" .", "")])
    assert joined["rougeLsum"] == pytest.approx(0.5)


def test_rouge_of_chinese_characters():
    found = texts.rouge([["天气很好 OK"]], ["天气不好 ok"], of_letters=True)
    assert found["rouge1"] == pytest.approx(4 / 5) and found["rouge2"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("measure", [texts.bleu, texts.rouge])
def test_what_cannot_be_measured(measure):
    for references, predictions in ([], []), ([["a"]], ["a", "b"]), ([[]], ["a"]):
        with pytest.raises(ValueError):
            measure(references, predictions)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="is computed by rouge-score, which is not installed: pip"):
        metric_of(TextToText(metric="rouge"))
