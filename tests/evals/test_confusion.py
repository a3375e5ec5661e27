"""Which class is taken for which, against scikit-learn and the figures of entities."""

import random

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from plmjax.evals import confusion
from plmjax.evals.metrics.tagging import entities, entity_f1


def test_classes_are_counted_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    targets, found = rng.integers(0, 4, (2, 50))
    counted = confusion.of_classes(targets, found, ["a", "b", "c", "d"])
    expected = confusion_matrix(targets, found, labels=range(4))
    np.testing.assert_array_equal(counted.counts, expected)
    assert counted.rows == counted.columns == ("a", "b", "c", "d")


def test_tags_are_counted_as_scikit_learn_does():
    truth, said = [["DET", "NOUN"], ["VERB"]], [["DET", "VERB"], ["VERB"]]
    counted = confusion.of_tags(truth, said, ["DET", "NOUN", "VERB"])
    flat = [[tag for tags in lists for tag in tags] for lists in (truth, said)]
    np.testing.assert_array_equal(counted.counts, confusion_matrix(*flat))


def sentences(seed: int, count: int = 40) -> list[list[str]]:
    rng = random.Random(seed)
    tags = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    return [rng.choices(tags, k=9) for _ in range(count)]


def test_rows_and_columns_are_those_of_the_figures():
    """Which are conlleval's: see tests/evals/metrics/test_tagging.py."""
    truth, said = sentences(1), sentences(2)
    counted, figures = confusion.of_entities(truth, said, entities), entity_f1(truth, said)
    assert counted.rows == ("LOC", "PER", "(invented)")
    assert counted.columns == ("LOC", "PER", "(missed)")
    counts = counted.counts
    for at, name in enumerate(("LOC", "PER")):
        assert counts[at, at] / counts[at].sum() == pytest.approx(figures[f"{name}/recall"])
        assert counts[at, at] / counts[:, at].sum() == pytest.approx(figures[f"{name}/precision"])
        assert counts[at].sum() == sum(tags.count(f"B-{name}") for tags in opened(truth))
    assert counts[-1, -1] == 0
    assert np.diag(counts).sum() > 0 and counts[0, 1] > 0


def opened(sentences: list[list[str]]) -> list[list[str]]:
    """The same with a B at every entity's beginning."""
    return [
        [
            f"B-{tag[2:]}" if tag[0] == "I" and before[2:] != tag[2:] else tag
            for before, tag in zip(["O", *tags], tags, strict=False)
        ]
        for tags in sentences
    ]


def test_another_boundary_is_missed_and_invented():
    truth, said = [["O", "B-LOC", "I-LOC"]], [["B-LOC", "I-LOC", "O"]]
    counted = confusion.of_entities(truth, said, entities)
    np.testing.assert_array_equal(counted.counts, [[0, 1], [1, 0]])
    assert entity_f1(truth, said)["f1"] == 0


@pytest.mark.parametrize("classes", [3, 40])
def test_a_picture_is_left(tmp_path, classes):
    counts = np.eye(classes, dtype=int)
    names = tuple(f"class {number}" for number in range(classes))
    confusion.draw_confusion(confusion.Confusion(counts, names, names), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
