"""A run's training goes on, on other text: the stages before a task."""

import json
import shutil

import pytest

from plmjax import experiment
from plmjax.continuing import continued_config
from plmjax.errors import UserError
from plmjax.experiment import Settings
from plmjax.settings import from_config
from plmjax.train.workdir import Workdir
from tests.run import tiny, verb


def test_model_vocabulary_objective_and_batches_are_the_run_s(reference):
    config = continued_config(str(reference.workdir))
    stored = Workdir(reference.workdir).stored()
    assert config.init_from == str(reference.workdir)
    assert config.model.to_dict() | {"dtype": ""} == stored["config"]["model"] | {"dtype": ""}
    assert config.objective.to_dict() == stored["config"]["objective"]
    whole = experiment.planned_phases(from_config(Settings, stored["config"]))[-1].data
    assert config.data.masking.to_dict() == whole.masking
    assert (config.data.seq_len, config.data.batch_size) == (whole.seq_len, whole.batch_size)
    assert config.corpus.source == "" and not config.phases.to_dict()
    assert config.corpus.vocab_file.startswith(stored["corpus"]["path"])


def test_a_tokenizer_that_has_moved_is_found_in_the_workdir(reference, tmp_path):
    shutil.copytree(reference.workdir, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    shutil.copytree(record["corpus"]["path"], tmp_path / "run" / "tokenizer")
    record["corpus"]["path"] = str(tmp_path / "gone")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    config = continued_config(str(tmp_path / "run"))
    assert config.corpus.vocab_file == f"{tmp_path}/run/tokenizer/vocab.txt"
    shutil.rmtree(tmp_path / "run" / "tokenizer")
    with pytest.raises(UserError, match="put its tokenizer's files into"):
        continued_config(str(tmp_path / "run"))


def test_what_is_no_pretrained_run_is_one_line(reference, tmp_path):
    with pytest.raises(UserError, match=r"it has no run\.json"):
        continued_config(str(tmp_path))
    shutil.copytree(reference.workdir, tmp_path / "tuned")
    record = json.loads((tmp_path / "tuned" / "run.json").read_text())
    record["config"] |= {"task": {"name": "classification"}, "init_from": "runs/before"}
    (tmp_path / "tuned" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="give the run that it began with: runs/before"):
        continued_config(str(tmp_path / "tuned"))


@pytest.mark.slow
def test_it_goes_on_with_other_text(reference, tmp_path):
    tiny.write_text(tmp_path / "text.txt", 30)
    flags = [
        f"--config=configs/continued.py:{reference.workdir}",
        f"--workdir={tmp_path}/more",
        "--config.train.steps=2",
    ]
    ended = verb.forked(*flags)
    assert ended.code == 2 and "config.corpus.source is empty" in ended.err, ended.err
    text = [
        f"--config.corpus.source=text:{tmp_path}/text.txt",
        f"--config.corpus.cache_dir={tmp_path}/cache",
        "--config.corpus.held_out=0.2",
    ]
    ended = verb.forked(*flags, *text)
    assert ended.code == 0, ended.err
    assert f"from the parameters of {reference.workdir}" in ended.out
    first, second = (Workdir(path).stored() for path in (reference.workdir, tmp_path / "more"))
    assert first["corpus"]["vocabulary"] == second["corpus"]["vocabulary"]
