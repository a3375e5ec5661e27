"""Puts the figures of docs/finetuning.json into docs/finetuning.md.

  python -m launch.finetuning_page

The page is written by hand but for its tables, which stand between lines <!-- NAME --> and
<!-- end -->; launch.finetuning measures what is in them.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import app

from launch.chains import fail, spread
from launch.labelled_sets import PARTS, Part

RECORD, PAGE = Path("docs/finetuning.json"), Path("docs/finetuning.md")
OURS = ("tuned", "untrained", "peer")
USUAL = "the usual answer"


def scores(known: Mapping[str, Any], model: str) -> list[str]:
    """Each set of a backbone, beside what is known without it."""
    head = "| set | examples | | pretrained | untrained | words | the usual answer |"
    lines = [head, "|---" * head.count(" |") + "|"]
    for name, part in PARTS.items():
        if part.model == model and name in known:
            rows, sizes = known[name]["rows"], known[name]["sizes"]
            words = [row for row in rows if row not in (*OURS, USUAL)]
            said = ", ".join(f"{row} {percent(rows[row])}" for row in words)
            cells = [part.title, f"{sizes['train']:,} / {sizes['test']:,}", _named(part)]
            cells += [percent(rows.get(row, {})) for row in ("tuned", "untrained")]
            lines.append(f"| {' | '.join([*cells, said, percent(rows.get(USUAL, {}))])} |")
    return lines


def peers(known: Mapping[str, Any]) -> list[str]:
    """The sets that transformers has learned as well."""
    lines = ["| set | losses apart, 50 updates | | here | transformers | apart |"]
    lines.append("|---|---|---|---|---|---|")
    for name, part in PARTS.items():
        found = known.get(name, {})
        if "curve" in found and "peer" in found["rows"]:
            rows = found["rows"]
            ours, theirs = (spread(rows[row].values())[0] for row in ("tuned", "peer"))
            cells = [part.title, f"{found['curve']['apart']:.1e}", _named(part)]
            cells += [percent(rows["tuned"]), percent(rows["peer"])]
            lines.append(f"| {' | '.join(cells)} | {100 * (ours - theirs):+.1f} |")
    return lines


def percent(values: Mapping[str, float]) -> str:
    """The mean over seeds, and the standard deviation where there are several."""
    if not values:
        return ""
    mean, deviation, count = spread(values.values())
    return f"{100 * mean:.1f}" + (f" ± {100 * deviation:.1f}" if count > 1 else "")


def _named(part: Part) -> str:
    return {"f1": "F1"}.get(part.figure, part.figure)


TABLES: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "english": lambda known: scores(known, "english"),
    "chinese": lambda known: scores(known, "chinese"),
    "transformers": peers,
}


def filled(text: str, known: Mapping[str, Any]) -> str:
    """The page with its tables as the records have them."""
    for name, made in TABLES.items():
        begin = f"<!-- {name} -->"
        if text.count(begin) != 1:
            fail(f"{PAGE} has the line {begin} {text.count(begin)} times; expected once")
        table = "\n".join([begin, "", *made(known), "", "<!-- end -->"])
        text = re.sub(
            f"{re.escape(begin)}.*?<!-- end -->", lambda _, new=table: new, text, flags=re.S
        )
    return text


def main(argv):
    if len(argv) > 1:
        fail(f"'{argv[1]}' is not a flag; flags begin with --")
    if not RECORD.exists():
        fail(f"{RECORD} is not here; python -m launch.finetuning measures what is in it")
    known = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), known), encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
