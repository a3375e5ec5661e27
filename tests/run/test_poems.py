"""The verb that makes a corpus of poems."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.poetry.collection import CI, QIJUE, WUJUE, WULU, ci, poem, write

ROOT = Path(__file__).parent.parent.parent


def poems(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "plmjax.poems", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_corpus_its_counts_and_what_to_type_next(tmp_path):
    tang = [poem("登鸛雀樓", *WUJUE), poem("早發白帝城", *QIJUE), poem("殘", "□")]
    folder = write(tmp_path / "collection", tang, [poem("春望", *WULU)], [ci("如梦令", *CI)])
    (tmp_path / "news.txt").write_text("今天天气很好很好\n")
    out = tmp_path / "poems"
    done = poems(
        f"--corpus={folder}",
        f"--out={out}",
        *("--script=as_is", "--held_out=0", f"--general={tmp_path}/*.txt", "--vocab_size=150"),
    )
    assert done.returncode == 0, done.stderr
    assert "        4 poems\n" in done.stdout and "        1 wujue.txt\n" in done.stdout
    assert "1 without text" in done.stdout
    assert f"--tokenizer_path={out}/vocab.txt --source=" in done.stdout
    assert f"--source=wujue=lines:{out}/wujue.txt" in done.stdout
    characters = (out / "vocab.txt").read_text().split("\n")
    assert {"格", "樓", "天"} & set(characters) >= {"格", "天"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--corpus is missing"),
        (("--corpus=x",), "--out is missing"),
        (("--corpus=no-such-folder", "--out=OUT"), "is no folder"),
        (("--corpus=OUT", "--out=OUT/poems", "--script=as_is"), "has no files poet."),
        (("--corpus=OUT", "--out=OUT/poems", "--general=OUT/none"), "matches no file"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, message):
    done = poems(*(word.replace("OUT", str(tmp_path)) for word in arguments))
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
