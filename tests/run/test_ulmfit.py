"""ULMFiT's recipe on a Transformer: recipe=ulmfit."""

import json
import random

import pytest

from plmjax import experiment
from plmjax.train.schedules import ScheduleConfig, schedule
from tests.run import verb
from tests.test_configs import get_config

WORDS = ["engine", "teacher", "orchard", "parliament", "violin", "glacier", "market"]


def written(path, count: int) -> str:
    rng, rows = random.Random(count), ["text\tlabel"]
    for _ in range(count):
        words = rng.choices(WORDS, k=4)
        is_wet = rng.random() < 0.5
        words[rng.randrange(4)] = "river" if is_wet else "market"
        rows.append(f"The {' '.join(words)}.\t{'wet' if is_wet else 'dry'}")
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def test_rates_lie_as_far_apart_as_over_three_layers(reference):
    argument = f"{reference.workdir},recipe=ulmfit"
    config = get_config("finetune/own.py")(argument)
    settings = experiment.from_config(experiment.Settings, config)
    layers = settings.model["num_layers"]
    assert settings.transfer.layer_decay**layers == pytest.approx(2.6**-3)
    assert settings.objective["pooling"] == "concat"
    tagging = get_config("finetune/own.py")(f"{argument},task=tagging")
    assert "pooling" not in tagging.objective


@pytest.mark.slow
def test_it_learns_along_a_triangle(reference, tmp_path):
    files = [
        f"--config.task.{name}={written(tmp_path / f'{name}.tsv', count)}"
        for name, count in (("train", 160), ("dev", 32))
    ]
    done = verb.forked(
        f"--config=configs/finetune/own.py:{reference.workdir},recipe=ulmfit",
        *(*files, f"--workdir={tmp_path}/run", "--config.model.dtype=float32"),
        *("--config.data.seq_len=16", "--config.data.batch_size=16", "--config.train.log_every=1"),
        *("--config.optimizer.learning_rate=5e-3", "--config.task.epochs=6"),
    )
    assert done.code == 0, done.err
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())["scores"]
    assert scores["this model"]["accuracy"] > scores["the usual answer"]["accuracy"] + 0.2, scores
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    rates = [line["train/learning_rate"] for line in records if "train/learning_rate" in line]
    known = ScheduleConfig("slanted", 5e-3, warmup_fraction=0.1, final_fraction=1 / 32)
    expected = [float(schedule(known, 60)(step)) for step in range(60)]
    assert rates == pytest.approx(expected)
    assert rates[0] == pytest.approx(5e-3 / 32)
