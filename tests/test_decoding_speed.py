"""What `bench decode` measures and prints."""

import dataclasses
import subprocess
import sys

import pytest

from plmjax import experiment
from plmjax.decoding_speed import decoding_lines, measure_decoding
from plmjax.errors import UserError
from tests.run.verb import REPOSITORY

_TINY = {"vocab_size": 64, "num_layers": 2, "hidden_size": 16, "num_heads": 2, "mlp_size": 32}


def tiny(family, **fields):
    config = dataclasses.replace(experiment.FAMILIES[family].config(**_TINY), **fields)
    model = {"family": family, **dataclasses.asdict(config)}
    objective = experiment.objective_config(experiment.FAMILIES[family].objective)
    return experiment.Settings(model=model, objective=objective)


@pytest.mark.parametrize("family", ["gpt", "t5"])
def test_new_tokens_are_counted_over_the_time_they_take(family):
    figures = measure_decoding(tiny(family), (1, 3), prompt_length=5, new=6, repeats=2)
    assert figures["rows"].keys() == {"1", "3"}
    for rows, of in figures["rows"].items():
        assert of["tokens_per_second"] == pytest.approx(int(rows) * 6 / of["seconds"])
        assert of["first_seconds"] > of["prompt_seconds"]
    lines = decoding_lines(figures)
    assert lines["each text"] == "5 tokens of prompt, 6 new"
    assert "new tokens/s" in lines["batch 3"]


def test_what_cannot_be_measured_is_a_line():
    with pytest.raises(UserError, match="family='bert' does not write texts"):
        measure_decoding(tiny("bert"), (1,), 4, 4, 1)
    with pytest.raises(UserError, match="more than the model's 8 places"):
        measure_decoding(tiny("gpt", max_positions=8), (1,), 6, 4, 1)


@pytest.mark.slow
def test_the_verb_prints_a_line_for_each_batch_size():
    command = [sys.executable, "-m", "plmjax.bench", "decode", "--config=configs/gpt.py:gpt2-small"]
    small = ["num_layers=1", "hidden_size=32", "num_heads=2", "mlp_size=32", "vocab_size=300"]
    command += [f"--config.model.{field}" for field in (*small, "dtype=float32")]
    command += ["--rows=1,2", "--prompt_length=4", "--new_tokens=4", "--repeats=1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()][-2:] == ["batch 1", "batch 2"]
    done = subprocess.run([*command, "--rows=0"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --rows=0: give numbers of 1 or more, such as 1,16\n"
