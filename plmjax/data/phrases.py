"""A user's dictionary of phrases or entities, and where its entries stand in a text."""

import functools
import hashlib
import os
import re

import ahocorasick_rs

from plmjax.data.samples import SAMPLES
from plmjax.data.tokenizers.base import read_file
from plmjax.errors import UserError

# Letters and digits of scripts that put spaces between words; an entry must not begin or end within
# a run of them: "art" is not in "party". Han, kana and the scripts of South-East Asia do without.
_SPACED = re.compile(
    "[^\\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_COUNT = re.compile(r"[\t ]+\d+(?:[\t ]+[A-Za-z]{1,6})?$")


class Dictionary:
    """Entries, and an automaton that finds them all in one pass over a text.

    Attributes:
      entries: sorted, each once.
    """

    def __init__(self, entries: list[str]):
        self.entries = tuple(sorted({entry for entry in entries if entry}))

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of the entries; their order in the file does not matter."""
        return hashlib.sha256("\n".join(self.entries).encode()).hexdigest()

    @functools.cached_property
    def _automaton(self) -> ahocorasick_rs.AhoCorasick:
        return ahocorasick_rs.AhoCorasick(self.entries, store_patterns=False)

    def matches(self, text: str) -> list[tuple[int, int]]:
        """Pairs (begin, end) of characters, ascending, none overlapping.

        Of the entries at word borders the leftmost is taken, of those that begin together the
        longest, and the search goes on behind it. Letters count with their case.
        """
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        spans = [(begin, -end) for _, begin, end in found if _at_borders(text, begin, end)]
        spans.sort()
        chosen, behind = [], 0
        for begin, negative_end in spans:
            if begin >= behind:
                behind = -negative_end
                chosen.append((begin, behind))
        return chosen


def read_dictionary(path: str | os.PathLike) -> Dictionary:
    """Reads a dictionary: UTF-8, an entry a line.

    Behind an entry, after white space, a count and a tag as in jieba's dictionaries may stand; they
    are not used. An entry that itself ends in a number is kept whole if a tab follows it.

    Raises:
      UserError: where the file is missing, not UTF-8, or has no entry.
    """
    content = dictionary_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} is not UTF-8 at offset {error.start} (line {line}); give a dictionary in UTF-8"
        ) from None
    dictionary = Dictionary([_entry(line) for line in text.split("\n")])
    if not dictionary.entries:
        raise UserError(f"{path} has no entries; give a dictionary with an entry a line")
    return dictionary


def dictionary_bytes(path: str | os.PathLike) -> bytes:
    """The file of a dictionary; of `sample:NAME` the names that are marked in that text.

    Raises:
      UserError: where there is none, or it cannot be read.
    """
    kind, _, name = str(path).partition(":")
    if kind != "sample":
        return read_file(path, "dictionary (a text file, an entry a line)")
    entries = SAMPLES[name]().entities() if name in SAMPLES else []
    if not entries:
        raise UserError(
            f"{path} has no names marked; give the path of a dictionary, or sample:people_daily"
        )
    return "".join(f"{entry}\t\n" for entry in entries).encode()


def _entry(line: str) -> str:
    if "\t" in line:
        return line.split("\t")[0].strip()
    return _COUNT.sub("", line.strip())


def _at_borders(text: str, begin: int, end: int) -> bool:
    return not (
        (begin > 0 and _SPACED.match(text[begin]) and _SPACED.match(text[begin - 1]))
        or (end < len(text) and _SPACED.match(text[end - 1]) and _SPACED.match(text[end]))
    )
