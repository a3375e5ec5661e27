"""Fine-tuning on tags that are told as a sequence: config.objective.crf=True."""

import json
import random

import pytest

from tests.run import verb

WORDS = ["river", "engine", "teacher", "orchard", "parliament", "violin", "glacier", "market"]


def written(path, count: int, seed: int) -> str:
    """Sentences in which river and glacier begin a name; what follows a name's beginning is in it.

    Every eighth is longer than a row.
    """
    rng, parts = random.Random(seed), []
    for number in range(count):
        lines, inside = [], False
        for word in rng.choices(WORDS, k=40 if number % 8 == 7 else rng.randint(3, 8)):
            begins = word in ("river", "glacier")
            lines.append(f"{word} {'B-WET' if begins else 'I-WET' if inside else 'O'}")
            inside = begins
        parts.append("\n".join(lines) + "\n")
    path.write_text("\n".join(parts))
    return str(path)


def tuned(reference, folder, name: str, *more: str, devices: int = 1) -> dict:
    files = [
        f"--config.task.{split}={written(folder / f'{split}.conll', count, count)}"
        for split, count in (("train", 160), ("dev", 24))
    ]
    done = verb.forked(
        f"--config=configs/finetune/own.py:{reference.workdir},task=tagging",
        *(*files, "--config.task.columns=tokens,tags", f"--workdir={folder}/{name}"),
        *("--config.objective.crf=true", "--config.transfer.head_rate=5"),
        *(
            "--config.model.dtype=float32",
            "--config.data.seq_len=32",
            "--config.data.batch_size=16",
        ),
        *("--config.optimizer.learning_rate=2e-3", *more),
        environment={"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
    )
    assert done.code == 0, done.err
    assert "task_follow is fresh" in done.out
    return json.loads((folder / name / "evaluation.json").read_text())["scores"]


@pytest.mark.slow
def test_sequences_are_learned_and_said_again(reference, tmp_path):
    scores = tuned(reference, tmp_path, "run", "--config.task.epochs=12")
    ours, usual = scores["this model"], scores["the usual answer"]
    assert ours["f1"] > usual["f1"] + 0.7, scores
    assert "CRF of the words" in scores
    said = [json.loads(line) for line in (tmp_path / "run" / "predictions-dev.jsonl").open()]
    assert [len(line["predicted"]) for line in said] == [len(line["tokens"]) for line in said]
    assert max(len(line["tokens"]) for line in said) == 40
    again = verb.forked(
        *(f"--model={tmp_path}/run", f"--data={tmp_path}/dev.conll", "--json"), verb="evaluate"
    )
    assert again.code == 0, again.err
    assert json.loads(again.out)["f1"] == pytest.approx(ours["f1"])


@pytest.mark.slow
def test_four_devices_learn_what_one_does(reference, tmp_path):
    mesh = ("--config.mesh.data=2", "--config.mesh.tensor=2", "--config.train.accumulate=2")
    one = tuned(reference, tmp_path, "one", "--config.task.epochs=2")
    four = tuned(reference, tmp_path, "four", "--config.task.epochs=2", *mesh, devices=4)
    loss = one["this model"]["task_loss"]
    assert four["this model"]["task_loss"] == pytest.approx(loss, rel=1e-4)
