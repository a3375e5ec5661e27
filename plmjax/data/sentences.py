"""From running text to sentences, for English and Chinese."""

import re
from collections.abc import Iterator

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_ENDING = re.compile(
    rf"""
    [.!?…。！？；](?:  # first, by itself: this is what a text is searched for
    # Latin: a stop, a space, a new beginning
    (?<=[.!?…])["'’”)\]]*\s+(?=["'‘“(\[]*[A-Z0-9À-Þ{_HAN}])
    # Chinese: the last of some stops or an ellipsis is enough, unless a quote or title goes on
    | (?: (?<=[。！？；])(?![。！？；…]) | (?<=……)(?![。！？；…]) )
      [”’」』）】]*+(?![，、：。！？；》])
    # the same with half-width stops
    | (?<=[{_HAN}][!?])(?=[{_HAN}“‘「『（《])
    )
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"""(?:^|[\s("'“‘\[])
    (?: e\.g | i\.e | cf | vs | etc | resp | approx | al | no | nos | fig | figs | eq | eqs | eqn
      | sec | ch | vol | pp | ed | eds | ref | refs | mr | mrs | ms | dr | prof | st | jr | sr
      | inc | ltd | co | corp | dept | est | viz | w\.r\.t | a\.k\.a | u\.s | u\.k
      | jan | feb | mar | apr | jun | jul | aug | sep | sept | oct | nov | dec
      | [A-Za-z] )
    \.$""",
    re.VERBOSE | re.IGNORECASE,
)
# These end a sentence as often as not, so a capital after them decides for an ending.
_MAY_END = re.compile(r"\b(?:etc|al|inc|ltd|co|corp|no|[IVX])\.$", re.IGNORECASE)


LONGEST_SENTENCE = 1 << 16
"""Characters; what has no end within them is cut at white space, so that memory is bounded."""


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, in order; none is empty.

    A sentence ends at `.`, `!`, `?` or `…` (with closing quotes and brackets) before white space
    and a capital or a digit. Common abbreviations (`e.g.`, `Fig.`, initials) do not end one. In
    Chinese it ends at the last of a run of `。！？；` or at `……`, with closing quotes and brackets,
    unless a comma or another stop follows these, and at `!` or `?` between Chinese characters.
    White space inside a sentence becomes single spaces.
    """
    text = " ".join(text.split())
    if len(text) <= LONGEST_SENTENCE and not _ENDING.search(
        text
    ):  # most lines, and four times as fast
        return [text] if text else []
    pieces = (text[start:end].strip() for start, end in _spans(text))
    return [piece for piece in pieces if piece]


def cut_sentences(text: str) -> list[str]:
    """The same sentences with all white space kept: joined, they are `text` again.

    White space between two sentences begins the second.
    """
    return [text[start:end] for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _ENDING.finditer(text):
        end = match.end()
        while end > start and text[end - 1].isspace():
            end -= 1
        if end == start or _is_abbreviated(
            text[max(start, end - 16) : end], text[match.end() : match.end() + 1]
        ):
            continue
        yield from _short_spans(text, start, end)
        start = end
    if start < len(text):
        yield from _short_spans(text, start, len(text))


def _short_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > LONGEST_SENTENCE:
        limit = start + LONGEST_SENTENCE
        space = max(text.rfind(" ", start + 1, limit), text.rfind("\n", start + 1, limit))
        cut = space if space > start else limit
        yield start, cut
        start = cut
    yield start, end


def _is_abbreviated(tail: str, following: str) -> bool:
    if not _ABBREVIATION.search(tail):
        return False
    return not (following.isupper() and _MAY_END.search(tail))
