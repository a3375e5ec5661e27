"""A few steps of configs/ernie2.py:demo: its stages, its report, what it refuses, its export."""

import json
import random

import numpy as np
import pytest

from plmjax.exporting import export
from tests.requires import need
from tests.run import tiny, verb

DEMO = "--config=configs/ernie2.py:demo"
TASKS = ("capitals", "document", "reordering", "distance", "discourse")
SMALL = (
    "--config.train.steps=12",
    "--config.train.accumulate=2",
    "--config.train.log_every=1",
    "--config.evaluation.every=0",
    "--config.model.hidden_size=32",
    "--config.model.mlp_size=64",
    "--config.model.num_layers=2",
    "--config.model.dtype=float32",
    "--config.corpus.vocab_size=300",
    "--config.corpus.held_out=0.2",
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ernie2")
    tiny.write_text(folder / "text.txt")
    rng, lines = random.Random(0), (folder / "text.txt").read_text().split("\n")
    markers = ("However", "For example", "Thus")
    marked = [f"{rng.choice(markers)}, {x}" if x and rng.random() < 0.3 else x for x in lines]
    (folder / "text.txt").write_text("\n".join(marked))
    given = (
        f"--config.corpus.source=text:{folder}/text.txt",
        f"--config.corpus.cache_dir={folder}/cache",
        f"--config.data.plan.markers={','.join(markers)}",
        *(*SMALL, *tiny.in_one_shape("ernie2.py:demo", rows=16)),
    )
    done = verb.forked(DEMO, f"--workdir={folder}/run", *given)
    assert done.code == 0, done.err
    return folder / "run", given, done.out


def test_the_report_has_every_task_beside_the_majority(run):
    workdir, _, out = run
    for word in ("MLM loss", *(f"{task.upper()} accuracy" for task in TASKS), "bigram", "left out"):
        assert word in out
    scores = json.loads((workdir / "evaluation.json").read_text())["scores"]
    assert set(scores["majority"]) == {f"{task}_accuracy" for task in TASKS}
    assert all(0 < share < 1 for share in scores["majority"].values())
    # A token's own most frequent label, counted in the training text.
    assert scores["unigram"]["capitals_accuracy"] > scores["majority"]["capitals_accuracy"] > 0.5
    assert 0.5 < scores["unigram"]["document_accuracy"] < 1
    # Whoever counts segments knows that one has one order and two have two.
    assert scores["majority"]["reordering_accuracy"] > 0.4


def test_tasks_join_by_stage_and_none_is_dropped(run):
    records = [r for r in tiny.metric_records(run[0]) if "train/loss" in r]
    joined = [{task for task in TASKS if r[f"train/{task}_loss"] > 0} for r in records]
    assert joined[0] == set() and set().union(*joined[-3:]) == set(TASKS)
    ever = [set().union(*joined[: n + 1]) for n in range(len(joined))]
    assert ever[2] == {"capitals", "document"}
    for record in records:
        total = sum(record[f"train/{term}_loss"] for term in ("mlm", *TASKS))
        assert record["train/loss"] == pytest.approx(total, rel=1e-4)


def test_transformers_loads_it_with_its_task_embedding(run, tmp_path):
    torch = need("torch", "pip install -r requirements-ci.txt")
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    said = []
    export(str(run[0]), str(tmp_path / "hf"), "", "5GB", "float32", said.append)
    assert "Left out, since ErnieForMaskedLM has none: the pooler, the heads of the tasks." in said
    found, info = transformers.ErnieForMaskedLM.from_pretrained(
        str(tmp_path / "hf"), output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert found.config.use_task_id and found.config.task_type_vocab_size == 16
    tokens_BL = torch.from_numpy(np.arange(5, 16)[None])
    with torch.no_grad():
        assert torch.isfinite(found.eval()(tokens_BL).logits).all()


def test_it_fills_blanks_and_has_perplexities_as_task_0(run, tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": "The river follows the market 1."}\n')
    model, task = f"--model={run[0]}", f"--task=perplexity:{tmp_path}/text.jsonl"
    told = verb.forked(model, task, "--order=left", "--json", verb="evaluate")
    assert told.code == 0, told.err
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert any(row["metric"] == "perplexity per token" and row["value"] > 1 for row in rows)
    written = verb.forked(model, "--order=random", "--slots=4", verb="generate")
    assert written.code == 0 and written.out.strip(), written.err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--config.corpus.capitals=False",), "prepare it with --capitals"),
        (("--config.model.token_types=2",), "has 3 token types with plan multi_task"),
        (("--config.model.task_types=3",), "are 6 and config.model.task_types=3; give the model"),
        (("--config.data.plan.markers=however",), "config.data.plan.markers=however are no class"),
        (("--config.objective.name=bert_pretraining",), "which config.objective.name='bert_pre"),
        (("--config.data.plan.tasks=knowledge:1",), "other tasks than the first phase"),
    ],
    ids=["capitals", "types", "rows of tasks", "markers", "objective", "tasks"],
)
def test_what_does_not_fit_is_one_line(run, changes, words, tmp_path):
    done = verb.forked(DEMO, f"--workdir={tmp_path}/run", *run[1], *changes)
    said = done.err.strip().splitlines()
    assert done.code != 0 and words in said[-1], done.err
    assert not any("Traceback" in line for line in said), done.err
