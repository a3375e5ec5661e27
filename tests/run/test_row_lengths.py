"""Batches as long as their longest row teach and say what those of one length do."""

import dataclasses
import json

import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.experiment import Settings
from plmjax.finetuning import tuned_config
from plmjax.older_runs import defaults
from plmjax.settings import from_config
from plmjax.train.workdir import Workdir
from tests.run import verb
from tests.run.test_fine_tuning import OTHERS, SMALL, answers, scores, written

EXACT = (
    *("--config.model.hidden_dropout=0", "--config.model.attention_dropout=0"),
    *("--config.task.epochs=0", "--config.train.steps=12", "--config.train.log_every=1"),
    "--config.optimizer.learning_rate=1e-4",
    *("--config.data.batch_size=4", "--config.data.seq_len=48"),
)
# Not of answers in texts, which are told among all places, padding too.
MORE = {task: OTHERS[task][1] for task in ("tagging", "choice")} | {
    "tagging with a CRF": (*OTHERS["tagging"][1], "--config.objective.crf=true"),
}


def steps_of(workdir) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "train/loss" in record]


def places_of(workdir) -> list[int]:
    """Of each step how many places its batch has."""
    rates = ("speed/tokens_per_second", "speed/steps_per_second")
    pairs = ([record[rate] for rate in rates] for record in steps_of(workdir))
    return [round(tokens / steps) for tokens, steps in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_short_batches_compute_the_same(reference, tmp_path, name):
    task = name.partition(" ")[0]
    files = [
        f"--config.task.{part}={written(tmp_path, task, count, part)}"
        for part, count in (("train", 48), ("dev", 11))
    ]
    found = {}
    for shortest in (0, 8):
        workdir = tmp_path / f"run-{shortest}"
        done = verb.forked(
            f"--config=configs/finetune/own.py:{reference.workdir},task={task}",
            *(*files, f"--workdir={workdir}", *SMALL, *MORE[name], *EXACT),
            f"--config.task.shortest={shortest}",
        )
        assert done.code == 0, done.err
        found[shortest] = workdir
    long, short = ([record["train/loss"] for record in steps_of(run)] for run in found.values())
    assert len(short) == 12
    (whole,) = set(places_of(found[0]))
    assert max(places_of(found[8])) < whole
    np.testing.assert_allclose(short, long, rtol=2e-5)
    ours, theirs = (scores(run)["this model"] for run in found.values())
    assert ours == pytest.approx(theirs, rel=1e-4)
    said = [[line["predicted"] for line in answers(run)] for run in found.values()]
    assert said[0] == said[1] and len(said[0]) == 11


@pytest.mark.slow
def test_where_the_mesh_splits_rows_all_are_of_one_length(reference, tmp_path):
    names = [written(tmp_path, "tagging", count, name) for name, count in (("t", 48), ("d", 11))]
    meshes = {"one": (), "four": ("data=2", "sequence=2")}
    found = {}
    for name, mesh in meshes.items():
        done = verb.forked(
            f"--config=configs/finetune/own.py:{reference.workdir},task=tagging",
            *(f"--config.task.train={names[0]}", f"--config.task.dev={names[1]}"),
            *(*SMALL, *MORE["tagging"], *EXACT, "--config.task.shortest=12"),
            *(*(f"--config.mesh.{part}" for part in mesh), f"--workdir={tmp_path}/{name}"),
            environment={"XLA_FLAGS": f"--xla_force_host_platform_device_count={4 if mesh else 1}"},
        )
        assert done.code == 0, done.err
        losses = [record["train/loss"] for record in steps_of(tmp_path / name)]
        found[name] = [*losses, scores(tmp_path / name)["this model"]["task_loss"]]
        assert (set(places_of(tmp_path / name)) == {4 * 48}) == bool(mesh)
    np.testing.assert_allclose(found["four"], found["one"], rtol=2e-5)


def test_a_run_that_is_older_than_short_batches_goes_on_with_long_ones(reference, tmp_path):
    settings = from_config(Settings, tuned_config(str(reference.workdir), "tagging"))
    stored, work = dataclasses.asdict(settings), Workdir(tmp_path / "run")
    del stored["task"]["shortest"]
    work.begin(stored, {"digest": "", "vocabulary": "", "path": ""}, 1)

    def begin_again(shortest: int):
        now = dataclasses.replace(settings, task={**settings.task, "shortest": shortest})
        work.check_same_run(dataclasses.asdict(now), defaults=defaults(now))

    begin_again(0)
    with pytest.raises(UserError, match=r"task\.shortest was 0, is 32"):
        begin_again(32)
