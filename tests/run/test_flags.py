"""What may be typed: overrides mean what they say, and asking for the config trains nothing."""

import json
from pathlib import Path

import pytest

from plmjax import cli
from tests.run import tiny, verb

# The second phase with the shapes of the first: one compilation less.
ROWS_ALIKE = (
    "--config.phases.long.seq_len=32",
    "--config.phases.long.masking.max_predictions=5",
)


def printed(*flags: str) -> dict[str, str]:
    """The settings that `--print_config` shows, by name."""
    ended = verb.forked(*flags, "--print_config")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    lines = ended.out.splitlines()
    assert lines[0] == "The config, with overrides:"
    assert all(line.startswith("  --config.") for line in lines[1:])
    return dict(line.removeprefix("  --").split("=", 1) for line in lines[1:])


def test_print_config_shows_what_overrides_changed_and_no_more(tmp_path):
    config = tiny.write_run(tmp_path)
    plain = printed(config, f"--workdir={tmp_path}/workdir")
    overrides = {
        "config.train.steps": "7",
        "config.checkpoint.every": "4",
        "config.seed": "5",
        "config.optimizer.learning_rate": "0.25",
        "config.model.scan": "False",
        "config.phases.long.seq_len": "40",
    }
    flags = [f"--{name}={value}" for name, value in overrides.items()]
    assert printed(config, *flags) == plain | overrides
    assert plain["config.train.steps"] == str(tiny.STEPS)
    assert not (tmp_path / "workdir").exists()
    assert not (tmp_path / "cache").exists()


def test_what_is_printed_can_be_typed(tmp_path):
    config = tiny.write_run(tmp_path)
    plain = printed(config)
    assert printed(config, *(f"--{name}={value}" for name, value in plain.items())) == plain


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_shows_the_flags_and_the_config(tmp_path, word):
    config = tiny.write_run(tmp_path)
    ended = verb.forked(config, "--config.seed=5", word)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    for words in ("--config=FILE.py[:ARGUMENT]", "--workdir=FOLDER", "  --config.seed=5"):
        assert words in ended.out
    assert not (tmp_path / "cache").exists()


def test_help_needs_no_config():
    ended = verb.forked("--help")
    assert ended.code == 0, ended.err
    assert "--print_config" in ended.out


def test_an_argument_of_several_parts():
    base = printed("--config=configs/bert.py:base,seq_len=512")
    assert base["config.model.hidden_size"] == "768"
    assert base["config.data.seq_len"] == "512"
    assert base["config.data.masking.name"] == "token"
    assert "config.phases.long.seq_len" not in base
    other = printed("--config=configs/bert.py:plan=packed,masking=whole_word")
    assert other["config.data.plan.name"] == "packed"
    assert other["config.data.masking.name"] == "whole_word"
    phased = printed("--config=configs/bert.py:large")
    assert phased["config.model.num_layers"] == "24"
    assert phased["config.data.seq_len"] == "128"
    assert phased["config.phases.long.seq_len"] == "512"


def test_steps_checkpoints_and_seed_mean_what_they_say(reference, tmp_path):
    workdir = tmp_path / "workdir"
    flags = ("--config.train.steps=9", "--config.checkpoint.every=4", "--config.seed=5")
    flags += ("--profile_steps=3:5", *ROWS_ALIKE)
    ended = verb.forked(reference.config, f"--workdir={workdir}", *flags)
    assert ended.code == 0, ended.err
    assert tiny.saved_steps(workdir) == [4, 8, 9]
    assert list((workdir / "profile").rglob("*.xplane.pb"))
    record = json.loads((workdir / "run.json").read_text())
    assert record["config"]["train"]["steps"] == 9
    assert record["config"]["seed"] == 5
    assert record["starts"][0]["packages"]["jax"]
    assert len(record["starts"]) == 1
    assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
    ours, theirs = tiny.metric_records(workdir), tiny.metric_records(reference.workdir)
    assert ours[0]["step"] == theirs[0]["step"] == 2
    assert ours[0]["train/loss"] != theirs[0]["train/loss"]


def test_begun_parameters_are_those_of_the_other_run(reference, tmp_path):
    """With a learning rate of nothing, they are the same to the bit at the end.

    Paths are as people type them, from the folder that they are in.
    """
    (tmp_path / "reference-run").symlink_to(reference.workdir)
    here, workdir = tmp_path / "here", tmp_path / "here" / "runs" / "a"
    here.mkdir()
    flags = (reference.config, "--workdir=runs/a", "--config.init_from=../reference-run")
    flags += ("--config.train.steps=2", "--config.optimizer.learning_rate=0")
    flags += ("--config.optimizer.warmup_steps=0", *ROWS_ALIKE)
    ended = verb.forked(*flags, folder=here)
    assert ended.code == 0, ended.err
    assert tiny.saved_steps(workdir) == [2]
    ours, theirs = tiny.last_state(workdir), tiny.last_state(reference.workdir)
    params = [name for name in theirs if name.startswith("['params']")]
    assert len(params) > 10
    for name in params:
        assert ours[name].tobytes() == theirs[name].tobytes(), name
    assert int(ours["['step']"]) == 2
    assert verb.forked(*flags, folder=here).out.startswith("This run is complete")

    report = (workdir / "evaluation.json").read_bytes()
    again = verb.forked(*flags, "--evaluate_only", folder=here)
    assert again.code == cli.USER_ERROR and "whose report --evaluate_only would re" in again.err
    assert (workdir / "evaluation.json").read_bytes() == report


def test_evaluate_only_scores_what_another_run_has_learned(reference, tmp_path):
    flags = ("--evaluate_only", f"--workdir={tmp_path}/workdir")
    refused = verb.forked(reference.config, *flags)
    assert refused.code == cli.USER_ERROR
    assert "--evaluate_only needs parameters: --config.init_from=RUN" in refused.err
    ended = verb.forked(reference.config, *flags, f"--config.init_from={reference.workdir}")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("On held-out documents:")
    reports = [tmp_path / "workdir" / "evaluation.json", reference.workdir / "evaluation.json"]
    ours, theirs = (json.loads(path.read_text())["scores"] for path in reports)
    assert ours == theirs
    assert sorted(p.name for p in (tmp_path / "workdir").iterdir()) == [
        *("evaluation.json", "run.json")
    ]


@pytest.mark.slow
def test_a_run_with_other_heads_begins_with_fresh_ones(reference, tmp_path):
    config = Path(reference.config.removeprefix("--config=")).read_text()
    changed = """\
    config.objective.name = "span_boundary"
    config.model.pooler = False
    config.data.plan.name = "doc_sentences"
    config.data.masking.name = "span"
    config.phases = {}
    return config
"""
    (tmp_path / "config.py").write_text(config.replace("    return config\n", changed))
    few = ("--config.train.steps=1", "--config.optimizer.warmup_steps=0")
    flags = (*few, "--config.optimizer.learning_rate=0", f"--config.init_from={reference.workdir}")
    ended = verb.forked(f"--config={tmp_path}/config.py", f"--workdir={tmp_path}/run", *flags)
    assert ended.code == 0, ended.err
    assert "sbo_head is fresh: " in ended.out
    for left in ("nsp_head", "backbone/pooler"):
        assert f"{left} of {reference.workdir}" in ended.out
    ours, theirs = tiny.last_state(tmp_path / "run"), tiny.last_state(reference.workdir)
    both = [name for name in theirs if name.startswith("['params']") and name in ours]
    assert len(both) > 10
    for name in both:
        assert ours[name].tobytes() == theirs[name].tobytes(), name


def test_codes_differ():
    assert len({0, 1, cli.USER_ERROR, cli.PREEMPTED, cli.INTERRUPTED}) == 5


@pytest.mark.slow
def test_a_head_of_other_shapes_is_fresh_and_is_named(reference, tmp_path):
    flags = (f"--config.init_from={reference.workdir}", f"--workdir={tmp_path}/run")
    flags += ("--config.train.steps=2", "--config.optimizer.learning_rate=0")
    flags += ("--config.optimizer.warmup_steps=0", *ROWS_ALIKE)
    distance = "--config.data.plan.name=sentence_distance"  # of three classes
    ended = verb.forked(reference.config, *flags, distance)
    assert ended.code == 0, ended.err
    assert f"nsp_head is fresh: that of {reference.workdir}" in ended.out
    assert "nsp_head of" not in ended.out and "mlm_head" not in ended.out
    ours, theirs = tiny.last_state(tmp_path / "run"), tiny.last_state(reference.workdir)
    for name in [name for name in theirs if name.startswith("['params']")]:
        if "nsp_head" in name:
            assert ours[name].shape != theirs[name].shape
        else:
            assert ours[name].tobytes() == theirs[name].tobytes(), name
