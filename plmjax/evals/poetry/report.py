"""What a set of poems comes to, and the table of several."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from plmjax.evals.poetry.copying import Copies
from plmjax.evals.poetry.measures import distinct, is_valid, obeyed, rhymes, tones
from plmjax.evals.poetry.sounds import Sounds


@dataclasses.dataclass(frozen=True)
class Shape:
    """Width and number of the lines of a form; 0 where they differ."""

    width: int
    lines: int


@dataclasses.dataclass(frozen=True)
class Found:
    """What a set of poems comes to. Shares are of 1; None where there is nothing to count.

    poems: how many. valid: share with the form's number of lines and characters, and its marks.
    rhymed: share of those whose even lines end in one rhyme. broken_tones: share of the rules of
    tone that are not kept. distinct_2: see `measures.distinct`, of `compared` poems.
    overlap: mean, longest_overlap: most characters in a row that stand in a poem that was trained
    on. lines_taken: share of lines that are lines of such poems. obeyed: share of poems whose lines
    begin as the acrostic says; obeyed_lines: of lines.
    """

    poems: int
    valid: float | None
    rhymed: float | None
    broken_tones: float | None
    distinct_2: float
    compared: int
    overlap: float
    longest_overlap: int
    lines_taken: float
    obeyed: float | None = None
    obeyed_lines: float | None = None


@dataclasses.dataclass(frozen=True)
class Written:
    """A poem to measure.

    body: with marks. lines: without. heads: the acrostic it was to be. width: of its lines, where
    the form does not say: of the line that it answers.
    """

    body: str
    lines: tuple[str, ...]
    heads: str = ""
    width: int = 0


def measured(
    poems: Sequence[Written], shape: Shape, sounds: Sounds, copies: Copies, compared: int = 0
) -> Found:
    """Measures poems of one form.

    Args:
      poems: one or more.
      shape: of the form.
      sounds: of characters.
      copies: what was trained on.
      compared: of how many poems distinct-2 is taken, so that sets of different numbers can be
        compared; 0 for all.
    """
    told = [p for p in poems if shape.lines and (shape.width or p.width)]
    valid = [is_valid(p.body, shape.width or p.width, shape.lines) for p in told]
    kept = [p for p, ok in zip(told, valid, strict=True) if ok and shape.lines > 1]
    rhyming = [found for p in kept if (found := rhymes(p.lines, sounds)) is not None]
    toned = [tones(p.lines, sounds) for p in kept]
    rules = sum(t.rules for t in toned)
    lines = [p.lines for p in poems]
    overlaps, total = copies.longest(lines), sum(map(len, lines))
    first = poems[: compared or len(poems)]
    acrostics = [p for p in poems if p.heads]
    said = sum(len(p.heads) for p in acrostics)
    kept_heads = [obeyed(p.lines, p.heads) for p in acrostics]
    whole = sum(n == len(p.heads) for n, p in zip(kept_heads, acrostics, strict=True))
    return Found(
        poems=len(poems),
        valid=_share(sum(valid), len(valid)),
        rhymed=_share(sum(rhyming), len(rhyming)),
        broken_tones=_share(sum(t.broken for t in toned), rules),
        distinct_2=distinct(p.lines for p in first),
        compared=len(first),
        overlap=statistics.fmean(overlaps),
        longest_overlap=max(overlaps),
        lines_taken=sum(map(copies.lines_taken, lines)) / max(total, 1),
        obeyed=_share(whole, len(acrostics)),
        obeyed_lines=_share(sum(kept_heads), said),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


HEAD = (
    *("form", "poems", "valid form", "rhymed", "tones broken", "distinct-2"),
    *("overlap, mean", "longest", "lines taken", "acrostic"),
)


def table(found: Mapping[str, Found]) -> str:
    """The figures of each set as a table in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD)]
    for name, f in found.items():
        rows.append(
            (
                *(name, f"{f.poems}", _percent(f.valid), _percent(f.rhymed)),
                *(_percent(f.broken_tones), f"{f.distinct_2:.3f} of {f.compared}"),
                *(f"{f.overlap:.1f}", f"{f.longest_overlap}", _percent(f.lines_taken)),
                _percent(f.obeyed),
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"
