"""Makes a corpus to train on of a collection of poems: a file a form, a poem a line."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from plmjax.data.poetry import cleaning
from plmjax.data.poetry.forms import FORMS, REGULAR, Poem, parsed
from plmjax.data.poetry.reading import collection, records
from plmjax.data.poetry.script import SCRIPTS, converter
from plmjax.errors import UserError
from plmjax.settings import choose

TWICE = "there before, or with the same two first lines"
HELD_OUT = "held_out.txt"
ACROSTIC = "acrostic_"
COUNTS = "counts.json"
_TEMPLATES = {"wulu": (2, 4), "qilu": (2, 4)}  # where a lüshi's couplets of opposites begin


@dataclasses.dataclass(frozen=True)
class CorpusSettings:
    """What is made of a collection.

    Attributes:
      script: `simplified` or `as_is`.
      held_out: share of the poems, by their first two lines, that is not trained on; nor is what
        would be derived of them.
      longest: characters of a text, at most.
      longest_theme: a longer title is left away.
    """

    script: str = "simplified"
    held_out: float = 0.01
    longest: int = 126
    longest_theme: int = 16

    def __post_init__(self):
        choose(self.script, dict.fromkeys(SCRIPTS), "--script")
        if not 0 <= self.held_out < 1:
            raise UserError(f"--held_out={self.held_out} is not a share; give 0 <= held_out < 1")


def build_corpus(folder: str, out: str, settings: CorpusSettings) -> dict[str, dict[str, int]]:
    """Writes the corpus to `out`: FORM.txt, acrostic_FORM.txt, held_out.txt and counts.json.

    Args:
      folder: in the layout of chinese-poetry.
      out: a folder that does not exist, or is empty.
      settings: what is made of it.

    Returns:
      `counts.json`: `read` and `left_out` by reason; `written` by file.

    Raises:
      UserError: for a folder without poems or files of another layout, and an `out` with content.
    """
    target = Path(out).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--out={out} is not empty; name a folder that does not exist yet")
    files, convert = collection(folder), converter(settings.script)
    counts = {"read": collections.Counter(), "left_out": collections.Counter()}
    written = collections.Counter()
    poems = list(_distinct(_cleaned(files, convert, settings, counts), counts["left_out"]))
    if not poems:
        raise UserError(f"--corpus={folder} has no poem of a form that is known; see {FORMS_KNOWN}")
    target.mkdir(parents=True, exist_ok=True)
    texts = collections.defaultdict(list)
    for poem in poems:
        if _is_held_out(poem, settings.held_out):
            texts[HELD_OUT].append(poem.text)
            continue
        texts[f"{poem.form}.txt"].append(poem.text)
        for name, made in derived(poem):
            texts[name].append(made.text)
    for name, lines in texts.items():
        lines = list(dict.fromkeys(lines))
        written[name] = len(lines)
        (target / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    counts["written"] = written
    told = {part: dict(sorted(found.items())) for part, found in counts.items()}
    (target / COUNTS).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    return told


FORMS_KNOWN = ", ".join(FORMS)


def derived(poem: Poem) -> Iterator[tuple[str, Poem]]:
    """What else is learned from a poem, with the file it belongs in.

    Of a lüshi its two middle couplets, first line to second; of every regular poem the acrostic,
    whose theme is the first characters of its lines.
    """
    for begin in _TEMPLATES.get(poem.form, ()):
        first, second = poem.lines[begin : begin + 2]
        yield "couplet.txt", Poem("couplet", first, f"{second}。")
    if poem.form in REGULAR:
        heads = "".join(line[0] for line in poem.lines)
        yield f"{ACROSTIC}{poem.form}.txt", dataclasses.replace(poem, theme=heads)


def training_poems(folder: str) -> list[Poem]:
    """The poems of a corpus that are trained on, without what is derived of them.

    Raises:
      UserError: where the folder is no such corpus.
    """
    return [p for form in (*REGULAR, "ci") for p in read_poems(Path(folder) / f"{form}.txt")]


def held_out_poems(folder: str) -> list[Poem]:
    """The poems of a corpus that are not trained on.

    Raises:
      UserError: where the folder is no such corpus.
    """
    return read_poems(Path(folder) / HELD_OUT)


def read_poems(path: Path) -> list[Poem]:
    """The poems of a file that `build_corpus` wrote; none where a form has no file.

    Raises:
      UserError: where the folder is no such corpus, and for a line that is no poem.
    """
    if not (path.parent / COUNTS).exists():
        raise UserError(
            f"{path.parent} is no corpus of poems; make one: python -m plmjax.poems --corpus=FOLDER"
            f" --out={path.parent}"
        )
    if not path.exists():
        return []
    poems = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        poem = parsed(line)
        if poem is None:
            raise UserError(f"{path}: line {number + 1} is no poem; make the corpus again")
        poems.append(poem)
    return poems


def _cleaned(files, convert, settings: CorpusSettings, counts: dict) -> Iterator[Poem]:
    for path in files:
        kind = "ci" if path.name.startswith("ci.") else "poems"
        for record in records(path):
            counts["read"][kind] += 1
            made = cleaning.cleaned(record, settings.longest, settings.longest_theme)
            if isinstance(made, str):
                counts["left_out"][made] += 1
                continue
            # Converted as a whole, for characters whose simple form depends on their neighbours.
            form, theme, body, tune = convert("\n".join(dataclasses.astuple(made))).split("\n")
            yield Poem(form, theme, body, tune)


def _distinct(poems: Iterable[Poem], left_out: collections.Counter) -> Iterator[Poem]:
    seen = set()
    for poem in poems:
        key = _beginning(poem)
        if key in seen:
            left_out[TWICE] += 1
            continue
        seen.add(key)
        yield poem


def _beginning(poem: Poem) -> str:
    return poem.form + "".join(poem.lines[:2])


def _is_held_out(poem: Poem, share: float) -> bool:
    digest = hashlib.sha256("".join(poem.lines[:2]).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
