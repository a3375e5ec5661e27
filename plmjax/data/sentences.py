"""From running text to sentences, for English and Chinese."""

import re

_ENDING = re.compile(
    r"""
    (?<=[.!?])["'’”)\]]*\s+(?=["'‘“(\[]*[A-Z0-9À-Þ])  # Latin: a stop, a space, a new beginning
    | (?<=[。！？；])[”’」』）]*                          # Chinese: a stop is enough
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


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, in order; none is empty.

    A sentence ends at `.`, `!` or `?` (with closing quotes and brackets) before white space and a
    capital or a digit, and at `。！？；`. Common abbreviations (`e.g.`, `Fig.`, initials) do not
    end one. White space inside a sentence becomes single spaces.
    """
    text = " ".join(text.split())
    sentences = []
    start = 0
    for match in _ENDING.finditer(text):
        candidate = text[start : match.end()].rstrip()
        if not candidate or _is_abbreviated(candidate, text[match.end() :][:1]):
            continue
        sentences.append(candidate)
        start = match.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences


def _is_abbreviated(candidate: str, following: str) -> bool:
    tail = candidate[-16:]
    if not _ABBREVIATION.search(tail):
        return False
    return not (following.isupper() and _MAY_END.search(tail))
