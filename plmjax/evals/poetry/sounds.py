"""How characters sound: by today's Mandarin, or by a rhyme book."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from plmjax.errors import UserError

LEVEL, OBLIQUE = "平", "仄"
_TONES = {"平": LEVEL, "上": OBLIQUE, "去": OBLIQUE, "入": OBLIQUE, "仄": OBLIQUE}

# The thirteen tracks (十三辙) of Mandarin: finals that rhyme.
_TRACKS = (
    "a ia ua",
    "o e uo",
    "ê ie ve üe",
    "i v ü er -i",
    "u",
    "ai uai",
    "ei ui uei",
    "ao iao",
    "ou iu iou",
    "an ian uan van üan",
    "en in un uen vn ün",
    "ang iang uang",
    "eng ing ueng ong iong",
)
_TRACK_OF = {final: number for number, track in enumerate(_TRACKS) for final in track.split()}

Sounds = Callable[[str], frozenset[tuple[str, str]]]
"""From a character to its sounds, (rhyme, LEVEL or OBLIQUE) each; none where it is not known."""


@dataclasses.dataclass(frozen=True)
class Book:
    """A rhyme book: the rhymes and tones of each character."""

    entries: dict[str, frozenset[tuple[str, str]]]

    def __call__(self, character: str) -> frozenset[tuple[str, str]]:
        return self.entries.get(character, frozenset())


def rhyme_book(path: str) -> Book:
    """Reads a rhyme book: lines of a tone (平 上 去 入), a rhyme and its characters.

    `平 一东 东同铜桐筒童僮瞳`; a # begins a comment.

    Raises:
      UserError: where there is no such file, or a line is not of this form.
    """
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--rhyme_book={path} cannot be read ({error}); give a text file") from None
    found: dict[str, set[tuple[str, str]]] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) < 3 or words[0] not in _TONES:
            raise UserError(
                f"{path}: line {number} is no tone, rhyme and characters, such as '平 一东 东同铜'"
            )
        tone = words[0]
        for character in "".join(words[2:]):
            # Of the same name in two tones are two rhymes.
            found.setdefault(character, set()).add((f"{tone}{words[1]}", _TONES[tone]))
    if not found:
        raise UserError(f"{path} has no rhymes; give lines such as '平 一东 东同铜'")
    return Book({character: frozenset(sounds) for character, sounds in found.items()})


def mandarin() -> Sounds:
    """The sounds of today, by pypinyin: thirteen tracks of rhymes; tones 1 and 2 are level.

    Characters that have lost their entering tone count as what they are now.

    Raises:
      UserError: where pypinyin is missing.
    """
    try:
        import pypinyin
    except ImportError:
        raise UserError(
            "rhymes by today's sounds need pypinyin, which is not installed:"
            " pip install pypinyin; or give --rhyme_book=FILE"
        ) from None

    @functools.cache
    def sounds(character: str) -> frozenset[tuple[str, str]]:
        style = pypinyin.Style
        options = {"heteronym": True, "strict": True, "errors": lambda _: [""]}
        finals = pypinyin.pinyin(character, style=style.FINALS_TONE3, **options)[0]
        found = set()
        for final in finals:
            tone, plain = final[-1:], final.rstrip("012345")
            if plain in _TRACK_OF and tone in "1234":
                level = LEVEL if tone in "12" else OBLIQUE
                found.add((str(_TRACK_OF[plain]), level))
        return frozenset(found)

    return sounds
