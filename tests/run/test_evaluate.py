"""The verb `evaluate`: what it prints and writes, and one line for each mistake."""

import json

import pytest

from tests.evals.in_context import models
from tests.run.verb import forked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("gpt")
    models.gpt(made)
    return made


def evaluate(*arguments: str):
    return forked(*arguments, verb="evaluate")


def test_a_table_of_tasks_and_shots_and_the_items_in_a_file(folder, tmp_path):
    common = (f"--model={folder}", "--task=probes_zh,RW", "--limit=3", "--beams=1")
    done = evaluate(*common, "--shots=0,1", f"--items={tmp_path}/items.jsonl")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["task", "shots", "metric", "value", "±", "error", "items", "chance"]
    assert [line.split()[:2] for line in lines[1:] if "grammar" not in line] == [
        ["probes_zh", "0"], ["probes_zh", "0"], ["probes_zh", "1"], ["probes_zh", "1"],
        ["RW", "0"], ["RW", "1"],
    ]  # fmt: skip
    items = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [(i["task"], i["shots"]) for i in items[::3]] == [
        ("probes_zh", 0), ("probes_zh", 1), ("RW", 0), ("RW", 1)
    ]  # fmt: skip
    assert len(items[0]["logprobs"]) == 4 and "written" in items[-1]


def test_answers_may_be_scored_in_place_of_written(folder):
    done = evaluate(f"--model={folder}", "--task=2D-", "--limit=3", "--by_likelihood", "--json")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["metric"] for row in rows] == ["accuracy", "perplexity per answer"]


def test_figures_as_json(folder, tmp_path):
    (tmp_path / "text.txt").write_text(models.TEXTS[0])
    done = evaluate(f"--model={folder}", f"--task=perplexity:{tmp_path}/text.txt", "--json")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[0]["task"] == "perplexity:text.txt" and rows[0]["value"] > 1
    assert rows[-1]["metric"] == "bits per byte" and "words between white space" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--task is missing, for example --task=2D+"),
        (("--task=lambda",), "--task=lambda is no task; did you mean 'lambada'?"),
        (("--task=mine.toml",), "--task=mine.toml: there is no such file"),
        (("--task=2D+",), "--model is missing"),
        (("--task=2D+", "--shots=0,many"), "--shots=0,many; give numbers of examples"),
        (("--task=2D+", "--model=nowhere"), "--model=nowhere: there is no such folder"),
        (("--task=2D+", "--shot=1"), "--shot is not a flag; did you mean 'shots'?"),
        (("--task=2D+", "--lm_eval=copa"), "--task and --lm_eval exclude each other"),
        (("--task=2D+", "--model=x", "--mesh=tensr=2"), "did you mean 'tensor'?"),
        (("--task=2D+", "more"), "'more' is not a flag"),
    ],
)
def test_mistakes_before_the_model_is_read(arguments, message):
    done = evaluate(*arguments)
    assert done.code == 2 and done.err.startswith("error: ") and message in done.err
    assert done.err.count("\n") == 1 and not done.out


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (("--task=boolq",), "", "has no item; write one object a line"),
        (
            ("--task=boolq",),
            '{"passage": "p", "question": "q", "label": true}\n{"passage": "p", "label": true}',
            "line 2: context='{passage}\\nquestion: {question}?\\nanswer:' needs the field"
            " 'question', and there are: passage, label",
        ),
        (
            ("--task=boolq", "--shots=1"),
            '{"passage": "p", "question": "q", "label": true}',
            "--shots=1: the task boolq has no train split to draw examples from",
        ),
    ],
)
def test_mistakes_in_the_data(folder, tmp_path, arguments, lines, message):
    (tmp_path / "data.jsonl").write_text(lines)
    done = evaluate(f"--model={folder}", f"--data={tmp_path}/data.jsonl", *arguments)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


def test_the_list_of_tasks():
    done = evaluate("--list")
    assert done.code == 0 and done.out.startswith("2D+ ") and "\nlambada " in done.out
