"""The best checkpoint of a tuned run is kept, known, and read where it is asked for."""

import json

import pytest

from plmjax.train.checkpoints import complete_steps
from plmjax.train.chosen import best_step
from tests.requires import need
from tests.run import verb
from tests.run.test_fine_tuning import evaluated, files, tune  # noqa: F401  files is a fixture

MEASURED = ("--config.evaluation.every=8", "--config.checkpoint.keep=1")


@pytest.fixture(scope="module")
def tuned(reference, files, tmp_path_factory):  # noqa: F811
    """A run whose accuracy goes down towards the end, which a rate that is too large makes it."""
    workdir = tmp_path_factory.mktemp("best") / "run"
    more = "--config.optimizer.learning_rate=2e-2", "--config.optimizer.schedule=constant"
    done = tune(reference, files, workdir, "classification", *MEASURED, *more)
    assert done.code == 0, done.err
    return workdir, done


def figures(workdir) -> dict[int, float]:
    """The accuracy at every measuring."""
    records = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {x["step"]: x["held_out/accuracy"] for x in records if "held_out/accuracy" in x}


@pytest.mark.slow
def test_the_best_is_kept_and_said(tuned):
    workdir, done = tuned
    known = figures(workdir)
    assert list(known) == [8, 16, 24, 32, 40, 48]
    best = best_step(workdir / "checkpoints")
    assert known[best] == max(known.values())
    assert set(complete_steps(workdir / "checkpoints")) == {best, 48}
    told = f"The best checkpoint is that of step {best:,}; --checkpoint=best reads it"
    assert (told in done.out) == (best != 48)
    assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_one_that_is_asked_for_is_measured(tuned, files):  # noqa: F811
    workdir, _ = tuned
    known, best = figures(workdir), best_step(workdir / "checkpoints")
    assert len(set(known.values())) > 1
    data = f"--data={files}/classification-dev.tsv"
    for which, step in (("best", best), ("last", 48), (str(best), best)):
        done = evaluated(workdir, data, "--json", f"--checkpoint={which}")
        assert done.code == 0, done.err
        assert json.loads(done.out)["accuracy"] == pytest.approx(known[step])
        assert f"{workdir}: the checkpoint of step {step:,} (" in done.err
    done = evaluated(workdir, data, "--checkpoint=3")
    assert done.code == 2
    assert "--checkpoint=3: there is no such checkpoint" in done.err


@pytest.mark.slow
def test_the_one_that_is_asked_for_is_exported(tuned, files, tmp_path):  # noqa: F811
    workdir, _ = tuned
    best = best_step(workdir / "checkpoints")
    words = f"--workdir={workdir}", f"--to_huggingface={tmp_path}/hf", "--checkpoint=best"
    done = verb.forked(*words, verb="export")
    assert done.code == 0, done.err
    assert "BertForSequenceClassification, " in done.out
    assert f"parameters, of step {best:,} (the best)." in done.out
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    ask = transformers.pipeline("text-classification", f"{tmp_path}/hf")
    data = f"--data={files}/classification-dev.tsv"
    evaluated(workdir, data, "--checkpoint=best", f"--items={tmp_path}/items")
    items = [json.loads(line) for line in (tmp_path / "items").open()]
    said = ask([item["sentence"] for item in items])
    assert [x["label"] for x in said] == [item["predicted"] for item in items]
    assert [x["score"] for x in said] == pytest.approx([x["score"] for x in items], abs=2e-4)


@pytest.mark.slow
def test_pretraining_s_best_is_read_too(reference, tmp_path):
    words = "--architecture=BertModel", "--checkpoint=best", f"--to_huggingface={tmp_path}/hf"
    done = verb.forked(f"--workdir={reference.workdir}", *words, verb="export")
    assert done.code == 0, done.err
    best = best_step(reference.workdir / "checkpoints")
    assert best in complete_steps(reference.workdir / "checkpoints")
    assert f"of step {best:,} (the best)." in done.out
