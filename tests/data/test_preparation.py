import dataclasses
import errno
import itertools
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from plmjax.data import merging
from plmjax.data.preparation import CorpusConfig, open_prepared, prepare
from plmjax.errors import UserError
from tests.data.conftest import make_text


def entries(config):
    folder = pathlib.Path(config.cache_dir)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_tokens_are_those_of_the_text(text_config):
    prepared = prepare(text_config, quiet=True)
    documents = make_text(40).strip().split("\n\n")
    train, held_out = prepared.train["text"], prepared.held_out["text"]
    assert train.documents + held_out.documents == len(documents)
    assert 1 <= held_out.documents <= 20
    expected = {
        tuple(np.concatenate(prepared.tokenizer.encode_batch(document.split("\n"))).tolist())
        for document in documents
    }
    found = set()
    for split in (train, held_out):
        places = split.sentence_offsets[split.document_offsets]
        for start, end in itertools.pairwise(places):
            found.add(tuple(split.read(np.array([start]), np.array([end - start])).tolist()))
    assert found == expected


def test_a_second_start_reuses_the_work(text_config, capsys):
    first = prepare(text_config)
    assert "reusing" not in capsys.readouterr().err
    manifest = pathlib.Path(first.path) / "manifest.json"
    made = manifest.stat().st_mtime_ns
    second = prepare(text_config)
    assert capsys.readouterr().err.count("reusing") == 1
    assert manifest.stat().st_mtime_ns == made
    assert second.digest == first.digest
    prepare(text_config, quiet=True)
    assert capsys.readouterr().err == ""


def test_content_and_settings_decide_and_names_do_not(text_config, tmp_path):
    first = prepare(text_config, quiet=True)
    (tmp_path / "text.txt").rename(tmp_path / "renamed.txt")
    assert prepare(text_config, quiet=True).path == first.path
    assert prepare(dataclasses.replace(text_config, vocab_size=310), quiet=True).path != first.path
    with (tmp_path / "renamed.txt").open("a") as file:
        file.write("\nOne more document. It is short.\n")
    changed = prepare(text_config, quiet=True)
    assert changed.path != first.path
    assert changed.digest != first.digest


def test_preparing_again_elsewhere_gives_the_same_digest(text_config, tmp_path):
    first = prepare(text_config, quiet=True)
    elsewhere = dataclasses.replace(text_config, cache_dir=str(tmp_path / "other"))
    assert prepare(elsewhere, quiet=True).digest == first.digest


def test_a_given_vocabulary_is_used(text_config, tmp_path):
    trained = prepare(text_config, quiet=True)
    vocabulary = pathlib.Path(trained.path) / "vocab.txt"
    given = dataclasses.replace(text_config, vocab_file=str(vocabulary))
    prepared = prepare(given, quiet=True)
    assert prepared.tokenizer == trained.tokenizer
    assert prepared.digest == trained.digest


def test_a_folder_without_a_manifest_is_rebuilt(text_config):
    first = prepare(text_config, quiet=True)
    (pathlib.Path(first.path) / "manifest.json").unlink()
    with pytest.raises(UserError, match="no complete prepared corpus"):
        open_prepared(first.path)
    assert prepare(text_config, quiet=True).digest == first.digest


def test_another_vocabulary_than_the_stores_is_refused(text_config):
    prepared = prepare(text_config, quiet=True)
    vocabulary = pathlib.Path(prepared.path) / "vocab.txt"
    lines = vocabulary.read_text().split("\n")
    lines[10], lines[11] = lines[11], lines[10]
    vocabulary.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"vocab\.txt is not the one that the tokens"):
        prepare(text_config, quiet=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "text:/nowhere/*.txt"}, "no file matches"),
        ({"vocab_file": "/nowhere/vocab.txt"}, r"vocab_file: there is no vocab\.txt at"),
        ({"held_out": 1.5}, "held_out=1.5"),
        ({"vocab_size": 7}, "vocab_size=7"),
    ],
)
def test_bad_settings_leave_nothing(text_config, changes, message):
    with pytest.raises(UserError, match=message):
        prepare(dataclasses.replace(text_config, **changes), quiet=True)
    assert entries(text_config) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\n\nbad \xff\n", "not UTF-8"),
        (b" \n\n \n", "no text to train on"),
        (make_text(30).encode() + b"\xc3", "not UTF-8"),
    ],
)
def test_bad_text_leaves_nothing(text_config, tmp_path, content, message):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        prepare(text_config, quiet=True)
    assert entries(text_config) == []


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(text_config, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(merging.SplitWriter, "finish", full)
    with pytest.raises(UserError, match=r"no space left on the disk; make room"):
        prepare(text_config, quiet=True)
    assert entries(text_config) == []


KILLED = """
import os, signal, sys
from plmjax.data import manifest, merging, preparation, parts, workers

class Killed:
    def __call__(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

config = preparation.CorpusConfig(**eval(sys.argv[1]))
exec(sys.argv[2])
preparation.prepare(config, quiet=True)
"""


@pytest.mark.parametrize(
    "moment",
    [
        "parts.part_path = workers.make_part = Killed()",
        "merging.SplitWriter.finish = Killed()",
        "manifest.write_manifest = Killed()",
        "os.rename = Killed()",
    ],
    ids=["before writing", "while storing", "before the manifest", "before renaming"],
)
def test_a_killed_preparation_leaves_nothing_usable_and_is_cleared_away(text_config, moment):
    arguments = [repr(dataclasses.asdict(text_config)), moment]
    process = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert process.returncode == -signal.SIGKILL
    assert all(name.startswith(".") and name.endswith(".partial") for name in entries(text_config))
    assert len(entries(text_config)) == 1
    prepared = prepare(text_config, quiet=True)
    assert entries(text_config) == [pathlib.Path(prepared.path).name]


def test_two_processes_that_prepare_at_once_agree(text_config):
    code = (
        "import sys; from plmjax.data.preparation import *;"
        "print(prepare(CorpusConfig(**eval(sys.argv[1]))).digest)"
    )
    command = [sys.executable, "-c", code, repr(dataclasses.asdict(text_config))]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    digests = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(digests) == 1
    assert len(entries(text_config)) == 1


def test_the_manifest_says_how_it_was_made(text_config):
    prepared = prepare(text_config, quiet=True)
    source = prepared.manifest["sources"]["text"]
    assert source["spec"] == text_config.source
    assert source["held_out"] == 0.2
    assert source["counts"] == {"documents_read": 40}
    assert prepared.manifest["tokenizer"]["digest"] == prepared.tokenizer.digest
    assert set(prepared.manifest["versions"]) == {"python", "numpy", "tensorstore", "tokenizers"}
    assert source["splits"]["train"]["arrays"]["tokens"]["dtype"] == "uint16"


def test_a_store_made_before_is_opened(text_config):
    first = prepare(text_config, quiet=True)
    assert prepare(CorpusConfig(store=first.path), quiet=True).digest == first.digest


def test_importing_the_room_imports_neither_jax_nor_tensorflow():
    code = (
        "import sys, plmjax.data.pipeline, plmjax.data.preparation;"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_defaults_are_the_sample():
    assert CorpusConfig().source == "sample:pydoc"
