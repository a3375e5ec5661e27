"""What is measured of a poem, given as its lines without marks."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from plmjax.evals.poetry.sounds import LEVEL, OBLIQUE, Sounds

Lines = Sequence[str]


def is_valid(body: str, width: int, count: int) -> bool:
    """Whether a body is `count` lines of `width` characters, ， and 。 behind them by turns.

    A single line is the second of a couplet, with 。 behind it.
    """
    size = width + 1
    if len(body) != size * count:
        return False
    lines = [body[at : at + size] for at in range(0, len(body), size)]
    marks = "。" if count == 1 else "，。" * count
    if any(not line[:-1].isalpha() or "[" in line for line in lines):
        return False
    return all(line[-1] == mark for line, mark in zip(lines, marks, strict=False))


def rhymes(lines: Lines, sounds: Sounds) -> bool | None:
    """Whether the even lines end in one rhyme, by some reading of each; None where none is known.

    What is not known is passed over; two known ends are the least.
    """
    known = [found for line in lines[1::2] if line and (found := sounds(line[-1]))]
    if len(known) < 2:
        return None
    return bool(set.intersection(*({rhyme for rhyme, _ in found} for found in known)))


@dataclasses.dataclass(frozen=True)
class Tones:
    """Rules of tone that were looked at, and those that no reading of the characters keeps."""

    rules: int
    broken: int


def tones(lines: Lines, sounds: Sounds) -> Tones:
    """How a regular poem keeps the rules of regulated verse.

    Of the second, fourth and sixth characters: in a line they alternate; those of a couplet's two
    lines are opposite; the second of a couplet's first line is that of the line before. And even
    lines end level, odd ones but the first oblique. A rule is not looked at where a sound is not
    known.

    Args:
      lines: of 5 or 7 characters each.
      sounds: of a character.
    """
    rules = broken = 0

    def tones_at(line: int, place: int) -> frozenset[str]:
        return frozenset(tone for _, tone in sounds(lines[line][place]))

    def look(one: frozenset[str], other: frozenset[str], alike: bool) -> None:
        nonlocal rules, broken
        if one and other:
            rules += 1
            opposite = {LEVEL: OBLIQUE, OBLIQUE: LEVEL}
            wanted = one if alike else frozenset(opposite[tone] for tone in one)
            broken += not wanted & other

    for number, line in enumerate(lines):
        even = range(1, len(line) - 1, 2)
        for place in even[:-1]:
            look(tones_at(number, place), tones_at(number, place + 2), alike=False)
        if number % 2:
            for place in even:
                look(tones_at(number - 1, place), tones_at(number, place), alike=False)
            look(tones_at(number, len(line) - 1), frozenset(LEVEL), alike=True)
        elif number:
            look(tones_at(number - 1, 1), tones_at(number, 1), alike=True)
            look(tones_at(number, len(line) - 1), frozenset(OBLIQUE), alike=True)
    return Tones(rules, broken)


def distinct(poems: Iterable[Lines], size: int = 2) -> float:
    """The share of rows of `size` characters in a line that are different ones (Li et al. 2016).

    It falls with the number of poems: compare as many.
    """
    seen: collections.Counter[str] = collections.Counter()
    for lines in poems:
        for line in lines:
            seen.update(line[at : at + size] for at in range(len(line) - size + 1))
    return len(seen) / max(seen.total(), 1)


def obeyed(lines: Lines, heads: str) -> int:
    """How many lines begin as the acrostic says."""
    return sum(line[:1] == head for line, head in zip(lines, heads, strict=False))
