"""Bad input to preparation: one clear line, exit code 2, and what was finished is kept."""

import functools
import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.conftest import make_text
from tests.run import verb
from tests.run.preparing import (
    content,
    manifest,
    prepare,
    prepared,
    the_error,
    write_vocabulary,
)

GOOD = make_text(30)
SMALL = "--vocab_size=200"


def write(name, data):
    return lambda here: (here / name).write_bytes(data.encode() if isinstance(data, str) else data)


def both(*writers):
    return lambda here: [writer(here) for writer in writers]


BROKEN = gzip.compress(GOOD.encode())
# id: what is written, the flags, what the line has. `good.txt` is always there.
MISTAKES = {
    "empty file": (
        write("a.txt", ""),
        "--source=text:a.txt",
        "the files of 'text:a.txt' are empty",
    ),
    "blank file": (
        write("a.txt", " \n\n\t\n"),
        "--source=text:a.txt",
        "the source 'text:a.txt' has no text to train on; give other files",
    ),
    "blank file, vocabulary given": (
        write("a.txt", " \n\n\t\n"),
        "--source=text:a.txt --tokenizer_path=vocab.txt",
        "the source 'text:a.txt' has no text to train on; give other files",
    ),
    "all cleaned away": (
        None,
        "--source=text:good.txt --min_chars=1000000 --tokenizer_path=vocab.txt",
        "the source 'text:good.txt' has no text to train on (30 too short); give other files",
    ),
    "all held out": (
        None,
        "--source=text:good.txt --held_out=0.999 --tokenizer_path=vocab.txt",
        "all of it is held out; give more documents or a smaller held_out",
    ),
    "binary file": (
        write("a.bin", bytes(range(256)) * 100),
        "--source=text:a.bin",
        "a.bin is not UTF-8: byte 0x80 at offset 128; convert it",
    ),
    "NUL": (
        write("a.bin", "one line\n\nab\0c"),
        "--source=text:a.bin",
        "a.bin is not text: byte 0x00 at offset 12; leave it out, or prepare with --invalid_utf8",
    ),
    "latin-1": (
        write("a.txt", "one\n\ncaf\xe9 two\n".encode("latin-1")),
        "--source=text:a.txt",
        "a.txt is not UTF-8: byte 0xe9 at offset 8; convert it (iconv -t utf-8), leave it out",
    ),
    "broken gzip": (
        write("a.gz", BROKEN[:-20]),
        "--source=text:a.gz",
        "a.gz is broken: no whole gzip file (Compressed file ended before the end",
    ),
    "gzip with a flipped byte": (
        write("a.gz", BROKEN[:500] + bytes([BROKEN[500] ^ 1]) + BROKEN[501:]),
        "--source=text:a.gz",
        "a.gz is broken: no whole gzip file (",
    ),
    "no gzip at all": (write("a.gz", GOOD), "--source=text:a.gz", "a.gz is broken: no whole gzip"),
    "no JSON": (
        write("a.jsonl", '{"text": "fine"}\n{"text": oops}\n'),
        "--source=jsonl:a.jsonl",
        "a.jsonl at offset 17: no JSON (Expecting value",
    ),
    "no such field": (
        write("a.jsonl", '{"body": "fine", "id": 1}\n'),
        "--source=jsonl:a.jsonl",
        "no text in the field 'text' (there are: body, id); name another with --field",
    ),
    "too few columns": (
        write("a.tsv", "one\ttwo\nthree\n"),
        "--source=tsv:a.tsv",
        "a.tsv at offset 8 has 1 tab-separated columns; expected at least 2",
    ),
    "no Parquet": (
        write("a.parquet", GOOD),
        "--source=parquet:a.parquet",
        "a.parquet is no Parquet file",
    ),
    "no such file": (None, "--source=text:no*.txt", "no file matches 'no*.txt'; give a path"),
    "kind": (None, "--source=txet:good.txt", "data source 'txet:good.txt' is unknown; give"),
    "no kind": (None, "--source=good.txt", "is no NAME=KIND:TARGET, such as wiki=text:/data/*.txt"),
    "option": (None, "--source=jsonl[filed=a]:x", "'filed=a'; did you mean 'field'?"),
    "no source": (None, "", "there is no source; give --source=NAME=KIND:TARGET"),
    "two of a name": (
        None,
        "--source=text:good.txt --source=text:good.txt",
        "two sources are called 'text'; give each a name before a '='",
    ),
    "flag": (None, "--source=text:good.txt --dupes=drop", "--dupes is not a flag"),
    "cleaning": (
        None,
        "--source=text:good.txt --unicode=NFD",
        "unicode=NFD is none of none, NFC, NFKC",
    ),
    "tokenizer": (
        None,
        "--source=text:good.txt --tokenizer=bert",
        "tokenizer=bert is not known here; give one of wordpiece",
    ),
    "no vocabulary": (
        None,
        "--source=text:good.txt --tokenizer_path=no.txt",
        "--tokenizer_path: there is no vocab.txt at no.txt; give the path of one",
    ),
    "vocabulary without [MASK]": (
        write("few.txt", "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the"])),
        "--source=text:good.txt --tokenizer_path=few.txt",
        "--tokenizer_path: the vocabulary lacks [MASK]; BERT's needs [PAD] [UNK] [CLS] [SEP]",
    ),
    "dictionary": (
        None,
        "--source=text:good.txt --phrases=no.txt",
        "there is no dictionary (a text file, an entry a line) at no.txt; give the path of one",
    ),
    "Beam's flags without Beam": (
        None,
        "--source=text:good.txt -- --project=p",
        "'--project=p' after -- is for Beam, and --runner is missing",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_input_is_one_line(name, tmp_path, monkeypatch):
    if "Parquet" in name:
        pytest.importorskip("pyarrow", reason="pip install pyarrow")
    writer, flags, says = MISTAKES[name]
    write("good.txt", GOOD)(tmp_path)
    write_vocabulary(tmp_path / "vocab.txt", GOOD)
    if writer:
        writer(tmp_path)
    ended = verb.forked("--out=store", *flags.split(), verb="prepare", folder=tmp_path)
    assert says in the_error(ended)
    assert not (tmp_path / "store" / "manifest.json").exists()


@pytest.mark.parametrize("package", ["pyarrow", "tensorflow_datasets", "apache_beam"])
def test_a_missing_package_is_named_with_its_command(package, tmp_path):
    write("good.txt", GOOD)(tmp_path)
    kinds = {"pyarrow": "parquet:good.txt", "tensorflow_datasets": "tfds:any"}
    flags = [f"--source={kinds.get(package, 'text:good.txt')}", SMALL]
    flags += ["--runner=DirectRunner"] * (package == "apache_beam")
    error = the_error(
        verb.forked(
            "--out=store",
            *flags,
            verb="prepare",
            folder=tmp_path,
            before=functools.partial(without, package),
        )
    )
    assert error.endswith(f": pip install {package.replace('_', '-')}")


def without(package: str) -> None:
    class Missing:
        def find_spec(self, name, *_):
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        del sys.modules[name]
    sys.meta_path.insert(0, Missing())


def test_what_was_finished_is_kept_when_one_file_is_bad(tmp_path):
    for number in range(6):
        write(f"{number}.txt", make_text(20, seed=number))(tmp_path)
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", GOOD)
    flags = (f"--source=text:{tmp_path}/[0-9].txt", f"--tokenizer_path={vocabulary}")
    prepared(f"--out={tmp_path}/whole", *flags)
    good = (tmp_path / "4.txt").read_bytes()
    about = (tmp_path / "4.txt").stat()
    write("4.txt", good + b"\xff\n")(tmp_path)
    flags = (f"--out={tmp_path}/store", *flags)
    for workers in ("--workers=1", "--workers=2"):
        error = the_error(prepare(*flags, workers))
        assert f"{tmp_path}/4.txt is not UTF-8: byte 0xff at offset {len(good)}" in error
    parts = list((tmp_path / "store" / "parts").glob("*.part"))
    assert 4 <= len(parts) <= 5
    write("4.txt", good)(tmp_path)
    os.utime(tmp_path / "4.txt", ns=(about.st_atime_ns, about.st_mtime_ns))
    said = prepared(*flags)
    assert f"{len(parts)} of 6 parts are there from an earlier start" in said
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path):
    """A line of 200 MB; the limit on memory is of the process, in MB."""
    with (tmp_path / "a.txt").open("wb") as file:
        for _ in range(200):
            file.write(b"no line end here. " * 55_000)
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", GOOD)
    flags = (f"--source=text:{tmp_path}/a.txt", f"--tokenizer_path={vocabulary}")
    error = the_error(prepare(f"--out={tmp_path}/store", *flags, before=limit_memory))
    assert f"{tmp_path}/a.txt has no line end in the 32 MiB from offset 16777216 on" in error
    (tmp_path / "a.txt").unlink()


def limit_memory() -> None:
    import resource

    now = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (now + (800 << 20), now + (800 << 20)))


def test_text_without_any_end_of_a_sentence_is_cut_and_counted(tmp_path):
    words = "river engine teacher orchard " * 10_000
    write("a.txt", words)(tmp_path)
    write("b.txt", "河流" * 100_000)(tmp_path)
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", words, "河流")
    flags = (f"--source=lines:{tmp_path}/?.txt", f"--tokenizer_path={vocabulary}", "--held_out=0")
    said = prepared(f"--out={tmp_path}/store", *flags)
    assert "overlong sentences cut" in said
    split = manifest(tmp_path / "store")["sources"]["lines"]["splits"]["train"]
    # Not a token is lost, and no sentence is longer than 65,536 characters.
    assert split["tokens"] == 40_000 + 200_000
    assert split["documents"] == 2
    assert split["sentences"] == 5 + 4


def test_a_document_longer_than_anything_is_cut_at_a_line_end(tmp_path, monkeypatch):
    text = "\n".join(GOOD.split("\n\n")[:20]).strip()
    write("a.txt", text)(tmp_path)
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", text)
    flags = (f"--source=files:{tmp_path}/a.txt", f"--tokenizer_path={vocabulary}", "--held_out=0")
    ended = prepare(f"--out={tmp_path}/store", *flags, before=shorter_documents)
    assert ended.code == 0, ended.err
    assert re.search(r"files: train (\d+) documents .*\((\d+) overlong documents cut\)", ended.err)
    prepared(f"--out={tmp_path}/whole", *flags)
    cut, whole = (manifest(tmp_path / name)["sources"]["files"] for name in ("store", "whole"))
    assert cut["splits"]["train"]["documents"] == cut["counts"]["long_documents_cut"] + 1 > 5
    assert cut["splits"]["train"]["tokens"] == whole["splits"]["train"]["tokens"]


def shorter_documents() -> None:
    from plmjax.data import formats

    formats.LONGEST_DOCUMENT = 3000


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    folder = tmp_path / "folder"
    (folder / "parts").mkdir(parents=True)
    write("mine.txt", GOOD)(folder)
    write("parts/mine.txt", GOOD)(folder)
    before = content(folder)
    error = the_error(prepare(f"--out={folder}", f"--source=text:{folder}/mine.txt", SMALL))
    assert f"{folder} holds something else (mine.txt); give an empty or new folder" in error
    assert content(folder) == before


def test_a_target_that_cannot_be_written_is_one_line(tmp_path):
    write("good.txt", GOOD)(tmp_path)
    source = (f"--source=text:{tmp_path}/good.txt", SMALL)
    error = the_error(prepare(f"--out={tmp_path}/good.txt", *source))
    assert f"{tmp_path}/good.txt is a file; give a folder" in error
    error = the_error(prepare(f"--out={tmp_path}/good.txt/store", *source))
    assert f"cannot write {tmp_path}/good.txt/store: " in error and "name another --out" in error
    error = the_error(prepare("--out=/proc/store", *source))
    assert "cannot write /proc/store: " in error and "name another --out" in error


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done and done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_may_not_be_written_and_one_that_gets_full(small_disk, tmp_path):
    for number in range(4):
        write(f"{number}.txt", make_text(300, seed=number))(tmp_path)
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", GOOD)
    flags = (f"--source=text:{tmp_path}/[0-9].txt", f"--tokenizer_path={vocabulary}")
    prepared(f"--out={tmp_path}/whole", *flags)
    flags = (f"--out={small_disk}/store", *flags)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    error = the_error(prepare(*flags))
    assert f"cannot write {small_disk}/store: " in error and "Read-only file system" in error
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((24 << 20) - (1 << 20)))
    error = the_error(prepare(*flags))
    assert f"cannot write {small_disk}/store: no space left on the disk; make room or" in error
    assert list((small_disk / "store" / "parts").glob("*.part"))
    ballast.unlink()
    assert "parts are there from an earlier start" in prepared(*flags)
    assert content(small_disk / "store") == content(tmp_path / "whole")
