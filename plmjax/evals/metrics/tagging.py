"""Figures of tagged tokens: entities by their spans, parts of speech, words of Chinese.

Entities are scored as `conlleval` does (Tjong Kim Sang & De Meulder 2003), whose way with tags that
do not fit together seqeval has, too: no tag is thrown away, a span begins wherever one has to.
"""

import collections
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from plmjax.errors import UserError

OUTSIDE = "O"
# What a prefix does: begins a span, ends it, both, or neither. M is BMES's I; L and U are BILOU's.
_BEGINS = frozenset("BSU")
_ENDS = frozenset("ESLU")
_PREFIXES = frozenset("BIMESLU")


class Span(NamedTuple):
    """Tokens `start` to `end` (not included) of a sentence, from 0, and what they are."""

    start: int
    end: int
    type: str = ""


def entities(tags: Sequence[str]) -> list[Span]:
    """The spans that tags `B-PER`, `I-PER`, `O` mark: BIO (IOB1, IOB2), BIOES, BMES or BILOU.

    A span begins at a B, S or U, at another type than that of the tag before, behind an O and
    behind an E, S, L or U; it ends before the next one, before an O and behind an E, S, L or U. So
    an I that stands first opens a span, and a span that no E closes is one all the same.

    Args:
      tags: one a token; a type may have hyphens (`B-work-of-art`) or be absent (`B`, `I`).

    Returns:
      the spans in order.

    Raises:
      UserError: for a tag with another prefix, which is one without: see `plain_entities`.
    """
    spans: list[Span] = []
    start, type_before, ended = None, "", False
    for at, tag in enumerate(tags):
        prefix, _, type_ = tag.partition("-")
        if tag != OUTSIDE and prefix not in _PREFIXES:
            raise UserError(
                f"the tag '{tag}' does not begin with one of {' '.join(sorted(_PREFIXES))} and a "
                "hyphen; tags that are types alone are scored with 'plain_entity_f1'"
            )
        fresh = tag == OUTSIDE or ended or prefix in _BEGINS or type_ != type_before
        if start is not None and fresh:
            spans.append(Span(start, at, type_before))
            start = None
        if tag == OUTSIDE:
            type_before, ended = "", False
            continue
        if start is None:
            start = at
        type_before, ended = type_, prefix in _ENDS
    if start is not None:
        spans.append(Span(start, len(tags), type_before))
    return spans


def plain_entities(tags: Sequence[str]) -> list[Span]:
    """The spans of tags without prefixes (`PER PER O LOC`): the longest runs of one type.

    Two entities of one type that touch are one span: such tags cannot tell.

    Args:
      tags: one a token, `O` outside.

    Returns:
      the spans in order.
    """
    spans: list[Span] = []
    for at, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        if spans and spans[-1].end == at and spans[-1].type == tag:
            spans[-1] = spans[-1]._replace(end=at + 1)
        else:
            spans.append(Span(at, at + 1, tag))
    return spans


SPANS = {"entity_f1": entities, "plain_entity_f1": plain_entities}
"""What finds the entities of tags, by the metric that scores them."""


def tagged_words(tags: Sequence[str]) -> list[Span]:
    """The words that a tag for each character marks: B M E S or B I, every character in one word.

    A word begins at a B and an S, behind an E and an S, and at the first character.

    Args:
      tags: one a character.

    Returns:
      the words in order, from 0 to the last character without a gap.

    Raises:
      UserError: for a tag that is none of B I M E S.
    """
    if unknown := set(tags) - set("BIMES"):
        raise UserError(f"the tag '{min(unknown)}' marks no words; expected B M E S or B I")
    starts = [at for at in range(1, len(tags)) if tags[at] in "BS" or tags[at - 1] in "ES"]
    return [Span(*ends) for ends in itertools.pairwise([0, *starts, len(tags)])] if tags else []


def word_spans(words: Sequence[str]) -> list[Span]:
    """Where words lie in the text that they are of, in characters; empty ones are none."""
    spans, at = [], 0
    for word in words:
        if word:
            spans.append(Span(at, at + len(word)))
        at += len(word)
    return spans


def span_scores(
    references: Iterable[Iterable[Span]], predictions: Iterable[Iterable[Span]]
) -> dict[str, float]:
    """Precision, recall and F1 of exact spans with their types, counted over all sentences.

    Args:
      references: the true spans of each sentence.
      predictions: the predicted ones of each, as many sentences.

    Returns:
      precision, recall, f1; and where spans have types `TYPE/precision`, ... of each type that is
      there or predicted. 0 where nothing is predicted, or there.

    Raises:
      ValueError: for another number of sentences.
    """
    true, found, right = (collections.Counter[str]() for _ in range(3))
    for reference, prediction in zip(references, predictions, strict=True):
        reference, prediction = set(reference), set(prediction)
        for counter, spans in (
            (true, reference),
            (found, prediction),
            (right, reference & prediction),
        ):
            counter.update(span.type for span in spans)
    scores = _scores(right.total(), found.total(), true.total())
    for type_ in sorted(true | found):
        if type_:
            own = _scores(right[type_], found[type_], true[type_])
            scores |= {f"{type_}/{name}": value for name, value in own.items()}
    return scores


def _scores(right: int, found: int, true: int) -> dict[str, float]:
    return {
        "precision": right / found if found else 0.0,
        "recall": right / true if true else 0.0,
        # 2PR / (P + R) in counts, without a second rounding.
        "f1": 2 * right / (found + true) if right else 0.0,
    }


def entity_f1(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Precision, recall and F1 of entities, over all and of each type (`conlleval`).

    Args:
      references: a sentence's tags, see `entities`.
      predictions: the predicted ones. A sentence that was cut to fit a model gets `O` for the rest:
        what was cut off counts as missed.

    Returns:
      as `span_scores`.

    Raises:
      ValueError: for sentences of another length.
      UserError: as `entities`.
    """
    _lengths(references, predictions)
    return span_scores(map(entities, references), map(entities, predictions))


def plain_entity_f1(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`entity_f1` of tags that are types alone, see `plain_entities`."""
    _lengths(references, predictions)
    return span_scores(map(plain_entities, references), map(plain_entities, predictions))


def token_accuracy(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> float:
    """The share of tokens with the right tag, over all sentences: that of parts of speech.

    Args:
      references: a sentence's tags.
      predictions: the predicted ones.

    Returns:
      0 to 1.

    Raises:
      ValueError: for sentences of another length, and for no tokens.
    """
    _lengths(references, predictions)
    right = [
        one == other
        for reference, prediction in zip(references, predictions, strict=True)
        for one, other in zip(reference, prediction, strict=True)
    ]
    if not right:
        raise ValueError("there are no tokens to score")
    return sum(right) / len(right)


def segmentation_f1(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Precision, recall and F1 of words (the SIGHAN bakeoff's, Sproat & Emerson 2003).

    Args:
      references: a sentence's words.
      predictions: the predicted words of the same characters.

    Returns:
      precision, recall, f1.

    Raises:
      ValueError: for sentences of another number of characters.
    """
    _lengths(list(map("".join, references)), list(map("".join, predictions)))
    return span_scores(map(word_spans, references), map(word_spans, predictions))


def tagged_segmentation_f1(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`segmentation_f1` of a tag for each character, see `tagged_words`."""
    _lengths(references, predictions)
    return span_scores(map(tagged_words, references), map(tagged_words, predictions))


def _lengths(references: Sequence[Sequence], predictions: Sequence[Sequence]) -> None:
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} sentences and {len(predictions)} predictions")
    for at, (reference, prediction) in enumerate(zip(references, predictions, strict=True)):
        if len(reference) != len(prediction):
            raise ValueError(f"sentence {at} has {len(reference)} places, not {len(prediction)}")
