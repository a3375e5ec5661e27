"""Files without labels, answered by a tuned run: python -m plmjax.evaluate --data=test."""

import csv
import json
import re

import pytest

from tests.run import verb

PAIRS = [
    ("The river is wide.", "The river is broad.", "entailment"),
    ("The engine is old.", "The market is old.", "not_entailment"),
    ("The violin is new.", "The violin is new.", "entailment"),
    ("The glacier is big.", "The teacher is big.", "not_entailment"),
]
SMALL = (
    *("--config.model.dtype=float32", "--config.data.seq_len=32", "--config.data.batch_size=4"),
    *("--config.task.epochs=0", "--config.train.steps=2"),
)


def table(head: str, rows: list) -> str:
    return "\n".join([head.replace(" ", "\t"), *("\t".join(row) for row in rows)]) + "\n"


def tuned_on(reference, folder, config: str, files: dict[str, str], *more: str) -> str:
    for name, text in files.items():
        (folder / name).write_text(text)
    done = verb.forked(
        f"--config=configs/finetune/{config},init_from={reference.workdir}",
        *(f"--config.task.folder={folder}", f"--workdir={folder}/run", *SMALL, *more),
    )
    assert done.code == 0, done.err
    return f"{folder}/run"


def asked(model: str, *words: str) -> verb.Ended:
    return verb.forked(f"--model={model}", *words, verb="evaluate")


def refusal(model: str, *words: str) -> str:
    done = asked(model, *words)
    assert done.code == 2, done.out
    (line,) = done.err.splitlines()
    return line


@pytest.fixture(scope="module")
def rte(reference, tmp_path_factory):
    """A run on a small RTE, whose test set has no labels."""
    folder = tmp_path_factory.mktemp("rte")
    rows = [(str(n), *pair) for n, pair in enumerate(PAIRS)]
    labelled = table("index sentence1 sentence2 label", rows)
    bare = table(
        "index sentence1 sentence2", [(str(9 - n), *row[1:3]) for n, row in enumerate(rows)]
    )
    files = {"train.tsv": labelled, "dev.tsv": labelled, "test.tsv": bare}
    return folder, tuned_on(reference, folder, "glue.py:rte", files)


def test_a_test_set_is_answered_in_the_form_of_its_leaderboard(rte, tmp_path):
    _, model = rte
    items, due = tmp_path / "items.jsonl", tmp_path / "RTE.tsv"
    done = asked(model, "--data=test", f"--submission={due}", f"--items={items}")
    assert done.code == 0, done.err
    assert done.out.strip() == "4 examples of test answered; they have no labels to measure by."
    assert f"{due} has 4 answers; a leaderboard takes it as RTE.tsv." in done.err
    said = [json.loads(line) for line in items.open()]
    rows = list(csv.DictReader(due.open(), delimiter="\t"))
    assert [(row["index"], row["prediction"]) for row in rows] == [
        (line["index"], line["predicted"]) for line in said
    ]
    assert [row["index"] for row in rows] == ["9", "8", "7", "6"]
    assert {row["prediction"] for row in rows} <= {"entailment", "not_entailment"}


def test_answers_do_not_hang_on_whether_there_are_labels(rte, tmp_path):
    _, model = rte
    found = {}
    for name in ("dev", "test"):
        items = tmp_path / f"{name}.jsonl"
        done = asked(model, f"--data={name}", f"--items={items}", "--json")
        assert done.code == 0, done.err
        found[name] = [json.loads(line)["predicted"] for line in items.open()]
    assert found["dev"] == found["test"]
    assert json.loads(done.out) == {"answered": 4, "labelled": False}


def test_a_file_of_ones_own_without_labels(rte, tmp_path):
    path, items = tmp_path / "mine.jsonl", tmp_path / "items.jsonl"
    rows = [{"sentence1": one, "sentence2": two} for one, two, _ in PAIRS[:2]]
    rows += [{"sentence1": "☃ " * 40, "sentence2": "river"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = asked(rte[1], f"--data={path}", f"--items={items}", "--show=2")
    assert done.code == 0, done.err
    assert "accuracy" not in done.out and "it is" not in done.out
    told = rf"{path}: 3 examples \(1 of them cut to 32 tokens; \d\d\.\d% of the tokens are unknown"
    assert re.search(told, done.err)
    said = [json.loads(line) for line in items.open()]
    assert all({"predicted", "score"} <= line.keys() and "label" not in line for line in said)


def test_mistakes_are_one_line(rte, tmp_path):
    _, model = rte
    some = tmp_path / "some.tsv"
    rows = [(*pair[:2], pair[2] if n != 2 else "") for n, pair in enumerate(PAIRS)]
    some.write_text(table("sentence1 sentence2 label", rows))
    line = refusal(model, f"--data={some}")
    assert "some.tsv, line 4 has no label in 'label', and 3 of 4 examples have one" in line
    assert "test has no 'label' to measure by; give --items=FILE" in refusal(model, "--data=test")
    line = refusal(
        model, "--data=test", "--benchmark=glue/sst2", f"--folder={tmp_path}", "--show=1"
    )
    assert "has no test of glue/sst2" in line
    line = refusal(model, "--data=test", "--benchmark=squad1", f"--folder={tmp_path}")
    assert "--benchmark=squad1 asks for extraction, and the run has learned classification" in line
    assert "--folder is missing" in refusal(model, "--data=test", "--benchmark=superglue/ax_b")
    line = refusal(model, "--data=dev", f"--submission={tmp_path}/nowhere/due.tsv")
    assert "nowhere/due.tsv: there is no such folder; make it, or give another" in line
    line = refusal(model, "--data=dev", "--null_threshold=1")
    assert "--null_threshold does nothing without --submission" in line


def test_a_diagnostic_set_is_answered_by_a_run_on_another(rte, tmp_path):
    """AX-b asks what RTE asks, and its file has other names for the same."""
    _, model = rte
    lines = [
        {"sentence1": one, "sentence2": two, "label": label, "idx": n}
        for n, (one, two, label) in enumerate(PAIRS)
    ]
    (tmp_path / "AX-b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    due = tmp_path / "due.jsonl"
    words = ("--benchmark=superglue/ax_b", f"--folder={tmp_path}", f"--submission={due}", "--json")
    done = asked(model, "--data=test", *words)
    assert done.code == 0, done.err
    assert "matthews" in json.loads(done.out)
    assert [json.loads(line)["idx"] for line in due.open()] == [0, 1, 2, 3]


def test_flags_of_tuned_runs_are_refused_for_others(reference):
    line = refusal(str(reference.workdir), "--task=2D+", "--submission=x")
    assert "--submission is of a fine-tuned run; --model names another model" in line


QUESTION = {"context": "The river is wide and the market is old.", "question": "What is wide?"}


def squad(answered: bool) -> str:
    answers = {"answers": [{"text": "river", "answer_start": 4}], "is_impossible": False}
    none = {"answers": [], "is_impossible": True}
    known = [answers, none] if answered else [{}, {}]
    questions = [
        {"id": f"q{n}", "question": QUESTION["question"], **more} for n, more in enumerate(known)
    ]
    paragraphs = [{"context": QUESTION["context"], "qas": questions}]
    return json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]})


@pytest.mark.slow
def test_questions_that_may_have_no_answer(reference, tmp_path):
    """The threshold is the run's own, of its development set; a file without answers has no
    figures."""
    labelled, bare = squad(True), squad(False)
    files = {"train-v2.0.json": labelled, "dev-v2.0.json": labelled, "mine.json": bare}
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    done = verb.forked(
        f"--config=configs/finetune/own.py:{reference.workdir},task=extraction",
        *(f"--config.task.train={folder}/train-v2.0.json", "--config.task.format=squad"),
        *(f"--config.task.dev={folder}/dev-v2.0.json", f"--workdir={tmp_path}/run", *SMALL),
        "--config.task.metric=squad_v2_best",
    )
    assert done.code == 0, done.err
    found = {}
    for threshold in (None, -1e9, 1e9):
        due, items = tmp_path / "due.json", tmp_path / "items.jsonl"
        given = [] if threshold is None else [f"--null_threshold={threshold}"]
        words = (f"--data={folder}/mine.json", f"--submission={due}", f"--items={items}")
        done = asked(f"{tmp_path}/run", *words, *given)
        assert done.code == 0, done.err
        assert "2 examples of" in done.out and "f1" not in done.out
        found[threshold] = json.loads(due.read_text())
    said = [json.loads(line) for line in items.open()]
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())["scores"]["this model"]
    best = report["best_f1_threshold"]
    expected = {one["id"]: "" if one["null_score"] > best else one["predicted"] for one in said}
    assert found[None] == expected
    assert found[-1e9] == {"q0": "", "q1": ""}
    assert found[1e9] == {one["id"]: one["predicted"] for one in said}
