"""What is left out of a corpus or changed before it is tokenised, every case counted."""

import collections
import dataclasses
import re
import unicodedata
from typing import NamedTuple

from plmjax.errors import UserError

FORMS = ("none", "NFC", "NFKC")
# Categories Cc (but tab, line feed and carriage return) and the noncharacter that marks byte order.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")


class Document(NamedTuple):
    """A document as a source gives it.

    Attributes:
      pieces: its text: lines, or, where `whole`, what is not to be split further.
      whole: whether `pieces` are the sentences (translation pairs, sources that split themselves).
      language: the tag it carries; empty where it has none.
      group: documents of one group are held out together; empty where its own text decides.
    """

    pieces: list[str]
    whole: bool = False
    language: str = ""
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """What is left out or changed.

    Attributes:
      duplicates: `keep`, or `drop` for all but the first of documents with the same text.
      min_chars: shorter documents are left out.
      max_chars: longer documents are left out; 0 for no limit.
      unicode: `NFC` or `NFKC` normalises; `none` leaves text as it is.
      invalid_utf8: `error` stops at a byte that is not UTF-8; `skip` leaves its document out.
      control: `keep`, or `remove` for control characters but tab and line ends.
      languages: tags of the documents to keep, with commas between; empty keeps all.
    """

    duplicates: str = "keep"
    min_chars: int = 0
    max_chars: int = 0
    unicode: str = "none"
    invalid_utf8: str = "error"
    control: str = "keep"
    languages: str = ""

    def __post_init__(self):
        choices = {
            "duplicates": ("keep", "drop"),
            "unicode": FORMS,
            "invalid_utf8": ("error", "skip"),
            "control": ("keep", "remove"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)} is none of {', '.join(known)}")
        for name in ("min_chars", "max_chars"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)} is negative; give 0 for no limit")
        if 0 < self.max_chars < self.min_chars:
            raise UserError(f"max_chars={self.max_chars} is less than min_chars={self.min_chars}")

    def apply(self, document: Document, counts: collections.Counter) -> Document | None:
        """The cleaned document, or None where it is left out; the reason is added to `counts`."""
        counts["documents_read"] += 1
        if self.languages and document.language not in self.languages.split(","):
            counts["other_language"] += 1
            return None
        pieces = document.pieces
        if self.control == "remove":
            found = [_CONTROL.subn("", piece) for piece in pieces]
            counts["control_characters"] += sum(count for _, count in found)
            pieces = [piece for piece, _ in found]
        if self.unicode != "none":
            pieces = [unicodedata.normalize(self.unicode, piece) for piece in pieces]
        length = sum(map(len, pieces))
        if length < self.min_chars:
            counts["too_short"] += 1
            return None
        if self.max_chars and length > self.max_chars:
            counts["too_long"] += 1
            return None
        return document if pieces is document.pieces else document._replace(pieces=pieces)


REASONS = {
    "duplicates": "duplicates left out",
    "too_short": "too short",
    "too_long": "too long",
    "other_language": "of other languages",
    "invalid_utf8": "not UTF-8",
    "control_characters": "control characters removed",
    "empty_files": "empty files",
    "empty": "without text",
    "incomplete_pairs": "pairs with an empty side",
    "long_documents_cut": "overlong documents cut",
    "long_sentences_cut": "overlong sentences cut",
}
"""What each count means; those of `Cleaning` and of the reading of sources."""


def report(counts: dict[str, int]) -> str:
    """The counts that are not zero, in words: `3 too short, 1 not UTF-8`."""
    told = [f"{counts[key]:,} {words}" for key, words in REASONS.items() if counts.get(key)]
    return ", ".join(told)
