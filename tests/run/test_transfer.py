"""What README names to hold a backbone back, or to read it otherwise, through a run of each."""

import json

import numpy as np
import pytest

from plmjax.exporting import open_run
from tests.run import verb

TEXTS = [f"The {word} admires violin.\t{word}" for word in ("river", "engine")] * 8
SMALL = (
    *("--config.model.dtype=float32", "--config.data.seq_len=16", "--config.data.batch_size=8"),
    *("--config.task.epochs=0", "--config.train.steps=4", "--config.optimizer.learning_rate=1e-2"),
    "--config.optimizer.warmup_fraction=0.0",
)


def tuned(reference, folder, *more: str) -> dict[str, np.ndarray]:
    """The parameters of a run of four updates by path, which says the same when it is asked."""
    path = folder / "rows.tsv"
    path.write_text("\n".join(["text\tlabel", *TEXTS]) + "\n")
    done = verb.forked(
        f"--config=configs/finetune/own.py:{reference.workdir},task=classification",
        *(f"--config.task.train={path}", f"--config.task.dev={path}", f"--workdir={folder}/run"),
        *(*SMALL, *more),
    )
    assert done.code == 0, done.err
    report = json.loads((folder / "run" / "evaluation.json").read_text())["scores"]["this model"]
    asked = verb.forked(f"--model={folder}/run", f"--data={path}", "--json", verb="evaluate")
    assert asked.code == 0, asked.err
    assert json.loads(asked.out) == pytest.approx(report, rel=1e-5)
    return parameters(folder / "run")


def parameters(workdir) -> dict[str, np.ndarray]:
    stored = open_run(str(workdir), print).parameters
    return {path: stored.read(path) for path in stored.shapes}


def moved(found: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> dict[str, float]:
    """How far each parameter of the backbone has come, at most."""
    return {
        path: float(np.abs(value - before[path]).max())
        for path, value in found.items()
        if path in before and path.startswith("backbone/")
    }


def test_a_frozen_backbone_is_read_by_the_weighted_sum_of_its_layers(reference, tmp_path):
    more = ("--config.transfer.frozen=^backbone/", "--config.objective.layers=weighted")
    found = tuned(reference, tmp_path, *more)
    far = moved(found, parameters(reference.workdir))
    assert len(far) > 10 and not any(far.values())
    assert found["task_mix"].any() and found["task_factor"].shape == ()
    assert found["task_factor"] != 1 and found["task_head/bias"].any()


@pytest.mark.slow
def test_lower_layers_move_less(reference, tmp_path):
    found = tuned(reference, tmp_path, "--config.transfer.layer_decay=0.1")
    far = moved(found, parameters(reference.workdir))
    table = max(x for path, x in far.items() if "embedding" in path)
    assert 0 < 5 * table < far["backbone/pooler/kernel"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("--config.transfer.unfreeze=0.5", "--config.transfer.head_rate=2"),
        ("--config.objective.pooling=mean",),
        ("--config.objective.pooling=concat",),
    ],
    ids=["unfreeze", "mean", "concat"],
)
def test_all_of_it_moves_in_the_end(reference, tmp_path, more):
    far = moved(tuned(reference, tmp_path, *more), parameters(reference.workdir))
    still = [path for path, x in far.items() if not x and "pooler" not in path]
    assert not still and len(far) > 10
