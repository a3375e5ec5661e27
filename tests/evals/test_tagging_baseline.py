"""The CRF of words: its features by hand, what it can tell and what it cannot, and its bounds."""

import random

import numpy as np
import pycrfsuite
import pytest

from plmjax.data.labelled.rows import Row
from plmjax.data.labelled.sets import LabelledSet
from plmjax.data.labelled.tagging import Tagging
from plmjax.evals import tagging_baseline
from plmjax.task_report import _of_words

WORDS = ["river", "engine", "teacher", "orchard", "violin", "glacier"]


def drawn(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences in which what follows `the` is a name, two words long before `Hall`."""
    rng, sentences, tags = random.Random(seed), [], []
    for _ in range(count):
        words, some = [], []
        for word in rng.choices(WORDS, k=5):
            kind = rng.randrange(3)
            words += [["a", word], ["the", word], ["the", word, "Hall"]][kind]
            some += [["O", "O"], ["O", "B-X"], ["O", "B-X", "I-X"]][kind]
        sentences.append(words)
        tags.append(some)
    return sentences, tags


def test_features_of_a_word_are_those_around_it():
    first, second, _ = tagging_baseline.features(["Mr", "McKay-2", "北京"])
    assert set(second) == {
        *("-2=<s>", "-1=mr", "0=mckay-2", "1=北京", "2=</s>"),
        *("-2=<s> mr", "-1=mr mckay-2", "0=mckay-2 北京", "1=北京 </s>", "-1,1=mr 北京"),
        *("shape -1=Xx", "shape 0=XxXx-0", "shape 1=o"),
        *("begins=m", "begins=mc", "begins=mck", "begins=mcka"),
        *("ends=2", "ends=-2", "ends=y-2", "ends=ay-2"),
    }
    assert {"-2=<s>", "-1=<s>", "shape -1=<s>", "-2=<s> <s>", "begins=m"} <= set(first)
    # A word has no beginning that is the whole of it, of which a character would be one.
    assert "begins=mr" not in first
    assert not any(name.startswith("begins=北") for name in tagging_baseline.features(["北"])[0])


def test_names_are_told_by_what_stands_around_them():
    known, new = drawn(80, 1), drawn(20, 2)
    found = tagging_baseline.of_words(*known, new[0])
    assert found.tags == new[1]
    assert found.words == found.of == sum(map(len, known[0]))
    assert found.name == "CRF of the words"


def test_tags_are_told_by_the_tag_before():
    """Words that say nothing: tags take turns, which a model of single words could not know."""
    rng = random.Random(5)
    lengths = [rng.randint(3, 40) for _ in range(60)]
    tags = [[str(at % 2) for at in range(length)] for length in lengths]
    sentences = [["x"] * length for length in lengths]
    found = tagging_baseline.of_words(sentences, tags, [["x"] * 33])
    assert found.tags == [[str(at % 2) for at in range(33)]]


@pytest.mark.parametrize(("name", "limit"), [("MOST_WORDS", 200), ("MOST_STEPS", 200 * 9)])
def test_of_a_large_set_a_part_is_read_and_said(monkeypatch, name, limit):
    monkeypatch.setattr(tagging_baseline, name, limit)
    sentences, tags = drawn(80, 1)
    lengths = np.array([len(words) for words in sentences])
    found = tagging_baseline.of_words(sentences, tags, sentences[:1])
    stride = -(-lengths.sum() // 200)
    assert found.words == lengths[::stride].sum()
    assert found.name == f"CRF of {found.words:,} of {lengths.sum():,} words"


def test_it_is_the_model_of_crfsuite(tmp_path):
    known, new = drawn(30, 3), drawn(10, 4)
    trainer = pycrfsuite.Trainer("lbfgs", {"c2": 0.1, "max_iterations": 100}, verbose=False)
    for words, tags in zip(*known, strict=True):
        items = [dict.fromkeys(some, 1.0) for some in tagging_baseline.features(words)]
        trainer.append(pycrfsuite.ItemSequence(items), tags)
    trainer.train(str(tmp_path / "model"))
    tagger = pycrfsuite.Tagger()
    tagger.open(str(tmp_path / "model"))
    expected = [tagger.tag(tagging_baseline.features(words)) for words in new[0]]
    assert tagging_baseline.of_words(*known, new[0]).tags == expected


def test_a_report_has_it_beside_the_model():
    task, sets = Tagging(scheme="bioes"), []
    for name, count, seed in (("train", 80, 1), ("dev", 20, 2)):
        pairs = zip(*drawn(count, seed), strict=True)
        rows = tuple(Row({"tokens": words, "tags": tags}, name) for words, tags in pairs)
        sets.append(LabelledSet(name, name, rows, task, task.classes(rows), None))
    train, dev = sets
    (scores,) = _of_words(dev, train).values()
    assert scores["f1"] == 1.0
