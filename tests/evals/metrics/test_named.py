"""The metrics that configs can name: each gives its main figure, a bad name a good error."""

import subprocess
import sys

import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.evals.metrics.named import KINDS, METRICS, metric
from tests.requires import need

CLASSES = np.array([0, 1, 1, 0])
# References, the same as predictions: what is wholly right.
RIGHT = {
    "classification": (CLASSES, CLASSES),
    "grouped_classification": ((CLASSES, np.array([0, 0, 1, 1])), CLASSES),
    "multi_label": (np.eye(3, dtype=int), np.eye(3)),
    "regression": (np.arange(4.0), np.arange(4.0)),
    "tagging": ([["B", "I"]], [["B", "I"]]),
    "segmentation": ([["中国", "人"]], [["中国", "人"]]),
    "answers": ([["中国 cat", "dog"]], ["Dog"]),
    "answers_or_none": ([["cat"], []], [("The cat", -1.0), ("dog", 2.0)]),
    "texts": ([["A cat sat on the mat .", "No ."]], ["A cat sat on the mat ."]),
    "choice": (np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]])),
    "exclusive_choice": ([np.array([1, 0])], [np.array([[0.0, 1.0], [1.0, 0.0]])]),
}


@pytest.mark.parametrize("name", METRICS)
def test_what_is_right_has_a_main_figure_of_1(name):
    found = metric(name)
    if found.package:
        need(found.package, "pip install -r requirements-ci.txt")
    figures = found.figures(*RIGHT[found.kind])
    expected = 2 / 3 if name == "commitment_bank" else 1  # of its three classes one is not there
    expected = (1 + expected) / 2 if name == "commitment_bank" else expected
    assert figures[found.main] == pytest.approx(expected)
    assert all(type(value) is float for value in figures.values())


def test_every_kind_is_explained_and_used():
    assert {one.kind for one in METRICS.values()} == KINDS.keys()


def test_means_that_benchmarks_rank_by():
    labels, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
    found = metric("accuracy_f1").figures(labels, predicted)
    assert found == pytest.approx({"accuracy": 0.5, "f1": 0.5, "accuracy_f1": 0.5})
    found = metric("accuracy_f1").figures(labels, np.array([0, 1, 0, 0]))
    assert found == pytest.approx({"accuracy": 3 / 4, "f1": 2 / 3, "accuracy_f1": 17 / 24})
    found = metric("pearson_spearman").figures(np.array([1.0, 2, 3]), np.array([1.0, 2, 9]))
    assert found["spearman"] == pytest.approx(1)
    assert found["pearson_spearman"] == pytest.approx((found["pearson"] + 1) / 2)
    found = metric("gender_parity").figures(labels, predicted)
    assert found == {"accuracy": 0.5, "gender_parity": 0.0}


def test_a_name_that_there_is_not():
    with pytest.raises(UserError) as error:
        metric("mathews", "config.task.metric")
    assert str(error.value) == "config.task.metric='mathews' is unknown; did you mean 'matthews'?"


def test_the_table_costs_no_heavy_import():
    """scikit-learn, scipy and nltk take seconds, jax and tensorflow have no place here."""
    code = (
        "import sys, plmjax.evals.metrics.named;"
        "print({'sklearn', 'scipy', 'nltk', 'jax', 'tensorflow'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
