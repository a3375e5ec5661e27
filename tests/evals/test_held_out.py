"""Means over batches of unequal weight are means over all, not means of means."""

import numpy as np
import pytest

from plmjax.evals.held_out import evaluate
from plmjax.evals.report import Report
from plmjax.types import Loss, Mean


def test_sums_and_weights_add_over_batches():
    values = [np.array([1.0, 2.0, 3.0]), np.array([10.0])]

    def step(params, batch):
        mean = Mean.of(batch["x"] * params, np.ones(len(batch["x"])))
        return Loss({"mlm": mean}, {"mlm_accuracy": mean})

    found = evaluate(step, 2.0, [{"x": x} for x in values], lambda batch: batch)
    assert found == pytest.approx({"mlm_loss": 8.0, "mlm_accuracy": 8.0})


def test_a_report_comes_back_as_it_was(tmp_path):
    blank = {"text": "the ____ .", "answer": "cat", "guesses": [["cat", 0.5], ["dog", 0.25]]}
    scores = {"this model": {"mlm_loss": 2.5, "mlm_accuracy": 0.5}, "unigram": {"mlm_loss": 6.0}}
    report = Report(7, scores, [blank])
    (tmp_path / "evaluation.json").write_text(report.to_json())
    assert Report.read(tmp_path) == report
    text = report.text()
    for word in ("this model", "2.500", "50.0%", "6.000", "the ____ .", "cat 50%", "it was: cat"):
        assert word in text
    assert "NSP" not in text
