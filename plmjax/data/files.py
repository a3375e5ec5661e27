"""Files of text, local or remote, compressed or not: finding them, opening them, reading lines."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import zstandard
from etils import epath

from plmjax.errors import UserError

LONGEST_LINE = 32 << 20
"""Bytes; a longer line is no line of text. Work on one takes some twenty times its size."""

_COPIED = 1 << 20  # bytes that a decompressor asks for at once
_ZSTD_COPIED = 1 << 14  # the same for zstd, which gives all that these bytes hold, maybe megabytes
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}
_ENDINGS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".xz": "xz", ".bz2": "bzip2"}
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile)


def matches(pattern: str) -> list[epath.Path]:
    """The files of a path or glob (`*`, `?`, `[...]`, `**`), in the order of their paths.

    Raises:
      UserError: where there is none.
    """
    pattern = os.path.expanduser(pattern)
    fixed = pattern
    while any(wildcard in fixed for wildcard in "*?["):
        fixed = os.path.dirname(fixed)
    root = epath.Path(fixed or ".")
    below = pattern[len(fixed) :].lstrip("/")
    try:
        if not below:
            found = [root]
        elif "://" in fixed:
            found = list(root.glob(below)) if root.is_dir() else []
        else:  # epath would refuse `**`, which is dear elsewhere
            found = map(epath.Path, pathlib.Path(root).glob(below))
        found = sorted((path for path in found if path.is_file()), key=str)
    except (OSError, ImportError, NotImplementedError, ValueError) as error:
        raise UserError(f"cannot look for '{pattern}': {error}; give another path") from None
    if not found:
        raise UserError(f"no file matches '{pattern}'; give a path or a quoted glob of files")
    return found


def compression(path: epath.Path) -> str | None:
    """`gzip`, `zstd`, `xz` or `bzip2` by the file's first bytes or its ending; None for neither."""
    with opened(path) as file:
        begin = file.read(6)
    if not begin:
        return None
    by_magic = (name for magic, name in _MAGIC.items() if begin.startswith(magic))
    return next(by_magic, _ENDINGS.get(path.suffix))


def opened(path: epath.Path) -> BinaryIO:
    """The file's bytes as they are.

    Raises:
      UserError: where it cannot be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; check its permissions") from None


@contextlib.contextmanager
def text_bytes(path: epath.Path, advance: Callable[[int], None]) -> Iterator[BinaryIO]:
    """The file's content, decompressed; `advance` is told of the raw bytes that were read.

    Raises:
      UserError: where the file cannot be read, or its compression is broken.
    """
    kind = compression(path)
    with opened(path) as raw:
        counted = io.BufferedReader(_Counted(raw, advance), _COPIED)
        stream = _decompressed(counted, kind)
        try:
            yield stream
        except _BROKEN as error:
            what = " ".join(str(error).split())
            raise UserError(
                f"{path} is broken: no whole {kind} file ({what}); fetch it again or leave it out"
            ) from None
        except OSError as error:
            if kind is None or error.errno is not None:
                raise
            raise UserError(
                f"{path} is broken: no whole {kind} file ({error}); fetch it again or leave it out"
            ) from None


def _decompressed(raw: BinaryIO, kind: str | None) -> BinaryIO:
    if kind == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _COPIED)
    if kind == "xz":
        return io.BufferedReader(lzma.LZMAFile(raw), _COPIED)
    if kind == "bzip2":
        return io.BufferedReader(bz2.BZ2File(raw), _COPIED)
    if kind == "zstd":
        return io.BufferedReader(_Zstd(raw), _COPIED)
    return raw


class _Counted(io.RawIOBase):
    """Passes reads on and reports how many bytes they gave."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]):
        self._file = file
        self._advance = advance

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._advance(len(data))
        return len(data)


class _Zstd(io.RawIOBase):
    """Decompresses frame after frame; the library's own reader takes a cut file for a whole one."""

    def __init__(self, raw: BinaryIO):
        self._raw = raw
        # 2**31 is the widest window there is (zstd --ultra --long=31).
        self._engine = zstandard.ZstdDecompressor(max_window_size=2**31)
        self._frame = None
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._waiting:
            data = self._frame.unused_data if self._frame and self._frame.eof else b""
            data = data or self._raw.read(_ZSTD_COPIED)
            if not data:
                if self._frame and not self._frame.eof:
                    raise EOFError("it ends too early")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._engine.decompressobj()
            self._waiting = memoryview(self._frame.decompress(data))
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count


def lines(
    file: BinaryIO, name: str, offset: int = 0, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Pairs (offset, line with its end) of the lines that begin before `end`.

    Args:
      file: stands at `offset`, which begins a line.
      name: of the file, for messages.
      offset: in the decompressed content.
      end: None for all lines.

    Raises:
      UserError: for a line longer than LONGEST_LINE.
    """
    while end is None or offset < end:
        line = file.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{name} has no line end in the {LONGEST_LINE >> 20} MiB from offset {offset} on; "
                "is it text? put line ends into it, or leave it out"
            )
        yield offset, line
        offset += len(line)


def line_start(file: BinaryIO, position: int, name: str) -> int:
    """The offset of the first line of an uncompressed file that begins at or after `position`."""
    if position == 0:
        return 0
    file.seek(position - 1)
    while True:
        block = file.read(1 << 16)
        if not block:
            return file.tell()
        found = block.find(b"\n")
        if found >= 0:
            return file.tell() - len(block) + found + 1
        if file.tell() - position > LONGEST_LINE:
            return next(iter(lines(file, name, position)))[0]


def is_blank(line: bytes) -> bool:
    """Whether a line of UTF-8 is white space alone, U+3000 and such included."""
    if not line.strip():
        return True
    # Only such short lines of other scripts are worth decoding.
    return len(line) < 256 and not line.isascii() and not line.decode("utf-8", "replace").strip()
