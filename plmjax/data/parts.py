"""Parts: what a worker makes of a unit, in one file that is complete or not there."""

import collections
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from plmjax.errors import UserError

_MAGIC = b"plmjax part 2\n"
_HEADER = struct.Struct("<QQQ")  # documents, sentences and tokens of a block; all 0 at the end
_CRC = struct.Struct("<I")


class Block(NamedTuple):
    """Some documents, one after the other.

    Attributes:
      held_out_D: uint8, 1 for those that are never trained on.
      hashes_D2: uint64, of the text.
      document_lengths_D: uint32, sentences of each document.
      sentence_lengths_S: uint32, tokens of each sentence.
      flags_T: uint8, see `plmjax.data.flags`.
      tokens_T: uint32 in files; any int elsewhere.
    """

    held_out_D: np.ndarray
    hashes_D2: np.ndarray
    document_lengths_D: np.ndarray
    sentence_lengths_S: np.ndarray
    flags_T: np.ndarray
    tokens_T: np.ndarray

    def only(self, keep_D: np.ndarray) -> "Block":
        """The documents where `keep_D` is True."""
        if keep_D.all():
            return self
        keep_S = np.repeat(keep_D, self.document_lengths_D)
        keep_T = np.repeat(keep_S, self.sentence_lengths_S)
        return Block(
            self.held_out_D[keep_D],
            self.hashes_D2[keep_D],
            self.document_lengths_D[keep_D],
            self.sentence_lengths_S[keep_S],
            self.flags_T[keep_T],
            self.tokens_T[keep_T],
        )


_DTYPES = Block("u1", "<u8", "<u4", "<u4", "u1", "<u4")


def part_path(folder: epath.Path, key: str) -> epath.Path:
    """Where the part of a unit with this key is."""
    return folder / f"{key}.part"


def part_key(job: str, *unit: Any) -> str:
    """A name that changes with the work (`job`, a digest) and with what it is done to."""
    return hashlib.sha256("\0".join(map(str, (job, *unit))).encode()).hexdigest()[:32]


def write_part(
    path: epath.Path, blocks: Iterator[Block], counts: Callable[[], collections.Counter]
) -> dict[str, int]:
    """Writes blocks and then the counts, under another name until all is there.

    Raises:
      OSError: where the disk is full or cannot be written.
    """
    partial = path.parent / f"{path.name}.partial"
    with partial.open("wb") as file:
        file.write(_MAGIC)
        for block in blocks:
            sizes = len(block.held_out_D), len(block.sentence_lengths_S), len(block.tokens_T)
            arrays = zip(block, _DTYPES, strict=True)
            content = [np.ascontiguousarray(array, dtype).tobytes() for array, dtype in arrays]
            _write(file, _HEADER.pack(*sizes), content)
        told = dict(sorted((key, int(count)) for key, count in counts().items() if count))
        text = json.dumps(told).encode()
        _write(file, _HEADER.pack(0, 0, 0), [struct.pack("<Q", len(text)), text])
    partial.replace(path)
    return told


def read_part(path: epath.Path) -> Iterator[Block]:
    """Yields the blocks of a part.

    Raises:
      UserError: where it is damaged.
    """
    for block in _read(path):
        if isinstance(block, Block):
            yield block


def read_counts(path: epath.Path) -> dict[str, int]:
    """What was counted when the part was made."""
    return next(counts for counts in _read(path, skip=True) if isinstance(counts, dict))


def read_hashes(path: epath.Path) -> Iterator[np.ndarray]:
    """Yields the hashes of a part's documents, [D, 2] uint64 a block."""
    for block in _read(path, skip=True):
        if isinstance(block, np.ndarray):
            yield block


def _write(file: Any, header: bytes, content: list[bytes]) -> None:
    crc = zlib.crc32(header)
    for piece in content:
        crc = zlib.crc32(piece, crc)
    file.write(b"".join((header, *content, _CRC.pack(crc))))


def _read(path: epath.Path, skip: bool = False) -> Iterator[Block | dict[str, int] | np.ndarray]:
    """Yields blocks, or with `skip` their hashes without a check, and the counts at the end."""
    damaged = UserError(f"the part {path} is damaged; remove it and start the same command again")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise damaged
        while True:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise damaged
            documents, sentences, tokens = _HEADER.unpack(header)
            if not documents:
                length = file.read(8)
                text = file.read(int.from_bytes(length, "little"))
                crc = zlib.crc32(text, zlib.crc32(length, zlib.crc32(header)))
                if file.read() != _CRC.pack(crc):
                    raise damaged
                yield json.loads(text)
                return
            sizes = (documents, 2 * documents, documents, sentences, tokens, tokens)
            counts = [n * np.dtype(d).itemsize for n, d in zip(sizes, _DTYPES, strict=True)]
            if skip:
                file.seek(counts[0], 1)
                yield np.frombuffer(file.read(counts[1]), _DTYPES.hashes_D2).reshape(-1, 2)
                file.seek(sum(counts[2:]) + _CRC.size, 1)
                continue
            data = file.read(sum(counts))
            if file.read(_CRC.size) != _CRC.pack(zlib.crc32(data, zlib.crc32(header))):
                raise damaged
            places = np.cumsum([0, *counts])
            arrays = [
                np.frombuffer(data[begin:end], dtype)
                for begin, end, dtype in zip(places, places[1:], _DTYPES, strict=False)
            ]
            arrays[1] = arrays[1].reshape(-1, 2)
            yield Block(*arrays)
