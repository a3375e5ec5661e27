"""The area under the ROC against scikit-learn's."""

import numpy as np
import pytest

from plmjax.evals.ranking import area_under_roc
from tests.requires import need

SKLEARN = "pip install -r requirements-ci.txt"


@pytest.mark.parametrize("decimals", [1, 8], ids=["many ties", "no ties"])
def test_it_is_scikit_learns(decimals):
    metrics = need("sklearn", SKLEARN) and need("sklearn.metrics", SKLEARN)
    random = np.random.default_rng(0)
    for share in (0.05, 0.5, 0.9):
        labels_P = random.random(3000) < share
        scores_P = np.round(random.normal(size=3000) + labels_P, decimals).astype(np.float32)
        found = area_under_roc(scores_P, labels_P)
        assert found == pytest.approx(metrics.roc_auc_score(labels_P, scores_P), abs=1e-12)
        assert found > 0.7


def test_its_ends():
    labels_P = np.array([False, False, True])
    assert area_under_roc(np.array([0.0, 1.0, 2.0]), labels_P) == 1.0
    assert area_under_roc(np.array([0.0, 1.0, -2.0]), labels_P) == 0.0
    assert area_under_roc(np.zeros(3), labels_P) == 0.5
    assert area_under_roc(np.arange(3.0), np.ones(3, bool)) == 0.5
