"""The report for a person."""

from plmjax.evals.report import Report


def test_figures_of_types_have_a_table_of_their_own():
    model = {"task_loss": 0.5, "f1": 0.8, "PER/precision": 0.9, "PER/f1": 0.75, "LOC.NAM/f1": 0.25}
    report = Report(
        1, {"this model": model, "the usual answer": {"f1": 0.0, "PER/f1": 0.0}}, [], "dev"
    )
    lines = report.text().splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["task", "loss", "f1"],
        ["this", "model", "0.500", "0.800"],
        ["the", "usual", "answer", "0.000"],
    ]
    assert [line.split() for line in lines[6:]] == [
        ["this", "model", "precision", "f1"],
        ["PER", "0.900", "0.750"],
        ["LOC.NAM", "0.250"],
    ]
    assert lines[8].endswith("0.250") and len(lines[8]) == len(lines[7])
