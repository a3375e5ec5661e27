"""A sentence with the tags that a model has given its words, beside the true ones.

Entities are in brackets with their types, words of Chinese have a sign at each boundary, and other
tags stand behind their words.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from plmjax.data.labelled.tagging import spaced
from plmjax.evals.metrics.tagging import SPANS, Span, tagged_words

RIGHT, WRONG = "green", "bold red"
COLOURS = ("cyan", "magenta", "yellow", "blue", "bright_green", "bright_cyan", "bright_magenta")
BOUNDARIES = {"right": ("│", RIGHT), "missed": ("┊", WRONG), "invented": ("╳", WRONG)}
"""Signs between words."""


class Tagged(NamedTuple):
    """How many mistakes there are; what is said of them; the sentence."""

    wrong: int
    told: Text
    sentence: Text


def tagged_text(
    words: Sequence[str], truth: Sequence[str], said: Sequence[str], metric: str
) -> Tagged:
    """A sentence to look at.

    Args:
      words: of the sentence.
      truth, said: a tag for each.
      metric: by which they are measured, which tells what the tags mean.
    """
    if metric in SPANS:
        return _of_entities(spaced(words), *map(SPANS[metric], (truth, said)))
    if metric == "tagged_segmentation_f1":
        return _of_words(words, tagged_words(truth), tagged_words(said))
    return _of_tags(words, truth, said)


def _of_entities(pieces: Sequence[str], truth: list[Span], said: list[Span]) -> Tagged:
    true, found = set(truth), set(said)
    counts = {"right": true & found, "missed": true - found, "invented": found - true}
    told = ", ".join(f"{len(spans)} {what}" for what, spans in counts.items() if spans)
    wrong, parts = len(true ^ found), []
    for group in _overlapping(sorted(true | found)):
        whole = Span(group[0].start, max(span.end for span in group))
        parts.append((whole, _shown(pieces, whole, group, true, found)))
    first = Text(told or "no entity", WRONG if wrong else RIGHT)
    return Tagged(wrong, first, _filled(pieces, Span(0, len(pieces)), parts))


def _overlapping(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans in their order, those together that share words."""
    groups: list[list[Span]] = []
    end = 0
    for span in spans:
        if groups and span.start < end:
            groups[-1].append(span)
        else:
            groups.append([span])
        end = max(end, span.end)
    return groups


def _shown(
    pieces: Sequence[str], whole: Span, group: list[Span], true: set[Span], found: set[Span]
) -> Text:
    """Entities that share words, as they are said and as they are."""
    if len(group) == 1:
        (span,) = group
        what = "" if span in true & found else " missed" if span in true else " invented"
        return _bracketed(pieces, span, what)
    if len(group) == 2 and group[0][:2] == group[1][:2]:
        said, truth = sorted(group, key=lambda span: span in true)
        return _bracketed(pieces, said, f", it is {truth.type}")
    said, truth = (
        _filled(pieces, whole, [(span, _bracketed(pieces, span)) for span in group if span in some])
        for some in (found, true)
    )
    return Text.assemble(("<", WRONG), said, ("; it is ", WRONG), truth, (">", WRONG))


def _filled(pieces: Sequence[str], whole: Span, parts: Sequence[tuple[Span, Text]]) -> Text:
    """The words of a span, with texts in place of some of them; without a blank before."""
    text, at = Text(), whole.start
    for span, shown in parts:
        between = "".join(pieces[at : span.start])
        blank = " " * pieces[span.start].startswith(" ")
        text.append((between + blank).lstrip() if not text else between + blank)
        text.append(shown)
        at = span.end
    rest = "".join(pieces[at : whole.end])
    return text.append(rest if text else rest.lstrip())


def _bracketed(pieces: Sequence[str], span: Span, what: str = "") -> Text:
    words = "".join(pieces[span.start : span.end]).lstrip()
    name = f" {span.type}" if span.type else ""
    return Text(f"[{words}{name}{what}]", WRONG if what else colour(span.type))


def colour(type_: str) -> str:
    """The colour of a type, the same in every sentence."""
    return COLOURS[sum(type_.encode()) % len(COLOURS)]


def _of_words(letters: Sequence[str], truth: list[Span], said: list[Span]) -> Tagged:
    true, found = ({span.start for span in spans} - {0} for spans in (truth, said))
    sentence, counts = Text(), collections.Counter()
    for at, letter in enumerate(letters):
        if at in true | found:
            kind = "right" if at in true & found else "missed" if at in true else "invented"
            counts[kind] += 1
            sentence.append(*BOUNDARIES[kind])
        sentence.append(letter)
    wrong = counts["missed"] + counts["invented"]
    told = [f"{counts[kind]} {kind} {BOUNDARIES[kind][0]}" for kind in BOUNDARIES if counts[kind]]
    first = Text(", ".join(told) or "one word", WRONG if wrong else RIGHT)
    return Tagged(wrong, first, sentence)


def _of_tags(words: Sequence[str], truth: Sequence[str], said: Sequence[str]) -> Tagged:
    sentence, wrong = Text(), 0
    for word, true, tag in zip(spaced(words), truth, said, strict=True):
        sentence.append(word)
        sentence.append(f"/{tag}", colour(tag) if tag == true else WRONG)
        if tag != true:
            sentence.append(f"(it is {true})", RIGHT)
            wrong += 1
    told = f"{len(words) - wrong} of {len(words)} tags right"
    return Tagged(wrong, Text(told, WRONG if wrong else RIGHT), sentence)
