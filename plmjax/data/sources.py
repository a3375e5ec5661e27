"""Where text comes from: named samples and the user's own files."""

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from etils import epath

from plmjax.data.pydoc_sample import PydocSample
from plmjax.data.sentences import split_sentences
from plmjax.errors import UserError


class Source(Protocol):
    """Text, document by document, in an order that never changes."""

    name: str

    @property
    def total_bytes(self) -> int:
        """How many raw bytes `documents` goes through, for a progress bar."""

    def fingerprint(self) -> str:
        """Hex digest of the raw content."""

    def documents(self, advance: Callable[[int], None] = ...) -> Iterator[list[str]]:
        """Yields documents as lists of sentences, and reports raw bytes to `advance`."""


def open_source(name: str) -> Source:
    """The source called `name`: `sample:pydoc`, or `text:` and a path or glob.

    Raises:
      UserError: for an unknown name, and where no file matches.
    """
    if name == PydocSample.name:
        return PydocSample()
    if name.startswith("text:"):
        return TextFiles(name.removeprefix("text:"))
    raise UserError(
        f"data source '{name}' is unknown; give '{PydocSample.name}' or 'text:/path/to/*.txt'"
    )


class TextFiles:
    """The source `text:GLOB`: UTF-8 files, with blank lines between documents.

    Within a document each line is a piece of text that is split further into sentences, so that
    one sentence per line (the format of google-research/bert) and one paragraph per line both
    work. The end of a file ends a document.
    """

    def __init__(self, pattern: str):
        self.name = f"text:{pattern}"
        self._paths = _matches(os.path.expanduser(pattern))
        self.total_bytes = sum(path.stat().length for path in self._paths)
        if not self.total_bytes:
            raise UserError(f"the text files of '{self.name}' are empty; give files with text")

    def fingerprint(self) -> str:
        """Hex digest over the contents of all files, in the order of their paths."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(f"{path.stat().length}\0".encode())
            with _opened(path) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def documents(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[list[str]]:
        """Yields each document as a list of sentences.

        Raises:
          UserError: where a file is not UTF-8; its name and the offset of the byte are told.
        """
        for path in self._paths:
            sentences: list[str] = []
            for line in _utf8_lines(path, advance):
                if line.strip():
                    sentences.extend(split_sentences(line))
                elif sentences:
                    yield sentences
                    sentences = []
            if sentences:
                yield sentences


def _matches(pattern: str) -> list[epath.Path]:
    fixed = pattern
    while any(wildcard in fixed for wildcard in "*?["):
        fixed = os.path.dirname(fixed)
    root = epath.Path(fixed or ".")
    if fixed == pattern:
        paths = [root]
    else:
        paths = sorted(root.glob(pattern[len(fixed) :].lstrip("/"))) if root.is_dir() else []
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise UserError(f"no file matches 'text:{pattern}'; give a path or a quoted glob of files")
    return paths


def _opened(path: epath.Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; check its permissions") from None


def _utf8_lines(path: epath.Path, advance: Callable[[int], None]) -> Iterator[str]:
    offset = 0
    with _opened(path) as file:
        for line in file:
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path} is not UTF-8: byte 0x{line[error.start]:02x} at offset "
                    f"{offset + error.start}; convert it (iconv -t utf-8) or leave it out"
                ) from None
            offset += len(line)
            advance(len(line))
            yield text.removeprefix("\ufeff")
