"""The verb as a process: what it prints, and one line for a mistake."""

import json
import os
import pty
import select
import subprocess
import sys

import pytest

from tests.huggingface.writers import saved
from tests.run.verb import REPOSITORY, forked

CPU = {"JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    saved("gpt2", folder)
    return f"--model={folder}"


def generate(*arguments):
    return forked(*arguments, "--compilation_cache=none", verb="generate", environment=CPU)


def test_json_lines_come_for_a_file_of_prompts(model, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "abc", "id": 1}\n{"prompt": "def", "id": 2}\n')
    options = ("--max_new_tokens=5", "--top_k=9", "--samples=2", "--logprobs", "--json")
    done = generate(model, f"--prompts={tmp_path}/p.jsonl", *options)
    assert (done.code, done.err) == (0, "")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(x["id"], x["prompt"], x["sample"]) for x in lines] == [
        (1, "abc", 0),
        (1, "abc", 1),
        (2, "def", 0),
        (2, "def", 1),
    ]
    assert all(len(x["logprobs"]) == len(x["tokens"]) <= 5 for x in lines)


def test_standard_input_is_gone_on_with(model):
    command = [sys.executable, "-m", "plmjax.generate", model, "--max_new_tokens=3"]
    done = subprocess.run(
        [*command, "--compilation_cache=none"],
        cwd=REPOSITORY,
        env={**os.environ, **CPU},
        input="abc\n",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("abc")


def test_a_terminal_is_asked(model):
    theirs, ours = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "plmjax.generate", model, "--max_new_tokens=3"],
        cwd=REPOSITORY,
        env={**os.environ, **CPU, "TERM": "dumb"},
        stdin=ours,
        stdout=ours,
        stderr=ours,
    )
    os.close(ours)
    try:
        first = _said(theirs, b"> ")
        os.write(theirs, b"abc\n")
        second = _said(theirs, b"\n> ")
        os.write(theirs, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert b"Ctrl-D ends" in first
    assert second.count(b"abc") == 2


def _said(terminal: int, until: bytes) -> bytes:
    """What comes from a terminal until it ends so; an error after a minute of silence."""
    said = b""
    while not said.endswith(until):
        assert select.select([terminal], [], [], 60)[0], said
        said += os.read(terminal, 4096)
    return said


MISTAKES = {
    "nothing": ((), "--model is missing, for example --model="),
    "empty": (("--prompt=",), "--prompt is empty; give a text, or --prompt='<|endoftext|>'"),
    "long": (("--prompt=" + "abc " * 30,), "is more than the model's 40 places; shorten it"),
    "beams": (
        ("--prompt=a", "--beams=4", "--temperature=0.7"),
        "--beams=4 with temperature=0.7: a beam search does not draw",
    ),
    "drawn": (("--prompt=a", "--nosample", "--top_k=4"), "--top_k=4 does nothing with --nosample"),
    "range": (("--prompt=a", "--top_p=1.5"), "--top_p=1.5 is out of range"),
    "flag": (("--prompt=a", "--temprature=1"), "--temprature is not a flag; did you mean"),
    "value": (("--prompt=a", "--beams=many"), "--beams"),
    "stop": (("--prompt=a", "--stop="), "--stop= is empty"),
    "axis": (("--prompt=a", "--mesh=tensr=2"), "'tensr' is not an axis; did you mean 'tensor'?"),
    "mesh": (("--prompt=a", "--mesh=tensor=3"), "--mesh has"),
    "dtype": (("--prompt=a", "--dtype=half"), "--dtype='half' is unknown"),
    "file": (("--prompts=/nowhere.txt",), "--prompts=/nowhere.txt: there is no such file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, model):
    arguments, message = MISTAKES[mistake]
    done = generate(*([model] if mistake != "nothing" else []), *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert message in done.err
    assert len(done.err.splitlines()) == 1
