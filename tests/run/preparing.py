"""Runs `plmjax.prepare` for tests, and says what a store holds."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from plmjax import cli
from plmjax.data.preparation import open_prepared
from plmjax.data.store import SplitReader
from tests.run import verb

STAGE = (
    r"(reading text|training the tokenizer|tokenising|storing|verifying|Beam's \w+): "
    r"\d+\.\d s( \(\d+\.\d MB/s\))?"
)
"""What is said of a stage, when it is finished."""
PROGRESS = rf"corpus: .+|\d+ of \d+ parts are there from an earlier start|{STAGE}"


def prepare(*flags: object, before: Callable[[], None] | None = None) -> verb.Ended:
    """Runs the verb; one worker, which is this process, unless the flags say otherwise."""
    words = [str(flag) for flag in flags]
    if not any(word.startswith("--workers") for word in words):
        words.insert(0, "--workers=1")
    return verb.forked(*words, verb="prepare", before=before)


def prepared(*flags: object) -> str:
    """Runs the verb, which must end well; returns what it said on stderr, stages left out."""
    ended = prepare(*flags)
    assert ended.code == 0, ended.err
    said = [line for line in ended.err.splitlines() if not re.fullmatch(STAGE, line)]
    return "\n".join(said)


def the_error(ended: verb.Ended) -> str:
    """The one line that says what was wrong, the last one, without its beginning."""
    assert ended.code == cli.USER_ERROR, (ended.code, ended.out, ended.err)
    lines = [line for line in ended.err.splitlines() if not re.fullmatch(PROGRESS, line)]
    assert len(lines) == 1 and ended.err.endswith(f"{lines[0]}\n"), ended.err
    assert lines[0].startswith("error: ") and len(lines[0]) < 600
    return lines[0].removeprefix("error: ")


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a store."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def texts(folder: Path, source: str) -> list[str]:
    """The documents of a source in the order of the store, training first, decoded."""
    store = open_prepared(folder)
    splits = (store.train[source], store.held_out[source])
    return [store.tokenizer.decode(ids) for split in splits for ids in documents(split)]


def documents(split: SplitReader) -> list[np.ndarray]:
    """The tokens of each document."""
    borders = split.sentence_offsets[split.document_offsets]
    return [
        split.read(borders[i : i + 1], np.diff(borders)[i : i + 1]) for i in range(split.documents)
    ]


def write_vocabulary(path: Path, *texts: str) -> Path:
    """A vocab.txt with every word and letter of the texts."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    letters = sorted({letter for word in words for letter in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    path.write_text("\n".join(dict.fromkeys([*special, *words, *pieces])) + "\n")
    return path
