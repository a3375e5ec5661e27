"""Reads a folder in the JSON layout of chinese-poetry: files of poems by dynasty, and of ci.

Source: github.com/chinese-poetry/chinese-poetry and its npm package: `poet.*.json` with author,
title and paragraphs; `ci.*.json` with the tune as `rhythmic` in place of the title.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plmjax.errors import UserError

_PART = re.compile(r"(?P<kind>poet|ci)\.(?P<group>.*?)\.?(?P<number>\d+)\.json")
_ASIDE = {"error", "rank", "strains"}
"""Folders with files of the same names that hold doubtful poems, counts and tones."""
_EXAMPLE = "the folder of chinese-poetry, such as node_modules/chinese-poetry/dist"


@dataclasses.dataclass(frozen=True)
class Record:
    """A poem as it is found.

    Attributes:
      title, tune: one or both may be empty.
      text: its paragraphs, joined.
    """

    title: str
    tune: str
    text: str


def collection(folder: str) -> list[Path]:
    """The files of poems in a folder, in an order that never changes.

    Raises:
      UserError: where there is no folder, or none of these files is in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"--corpus={folder} is no folder; give {_EXAMPLE}")
    found = []
    for path in root.rglob("*.json"):
        part = _PART.fullmatch(path.name)
        if part and not _ASIDE & set(path.relative_to(root).parts):
            found.append((part["kind"], part["group"], int(part["number"]), path))
    if not found:
        raise UserError(
            f"--corpus={folder} has no files poet.*.json or ci.*.json with poems; give {_EXAMPLE}"
        )
    # Tang before Song before ci, and by number.
    return [
        path
        for *_, path in sorted(found, key=lambda part: (-ord(part[0][0]), -ord(part[1][0]), part))
    ]


def records(path: Path) -> Iterator[Record]:
    """The poems of a file.

    Raises:
      UserError: where the file is no list of poems; for a poem, with its number.
    """
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of UTF-8, too
        raise UserError(f"{path} is no JSON ({error}); get the file again") from None
    if not isinstance(items, list):
        raise UserError(f"{path} holds no list of poems, as files of chinese-poetry do")
    for number, item in enumerate(items):
        if not _is_poem(item):
            raise UserError(
                f"{path}: item {number} is no poem; expected an object with 'paragraphs', a list of"
                " texts, and 'title' or 'rhythmic'"
            )
        title, tune = item.get("title") or "", item.get("rhythmic") or ""
        yield Record(title, tune, "".join(item["paragraphs"]))


def _is_poem(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("paragraphs"), list):
        return False
    texts = [item.get("title") or "", item.get("rhythmic") or "", *item["paragraphs"]]
    return all(isinstance(text, str) for text in texts) and ("title" in item or "rhythmic" in item)
