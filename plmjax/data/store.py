"""The token store: checksummed, random-access arrays of one split of a corpus.

Each array is a zarr3 array in tensorstore's sharded layout with a crc32c per chunk, on local disk
or wherever else tensorstore reads and writes (gs://, s3://).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorstore as ts

from plmjax.errors import UserError

TOKENS, SENTENCE_OFFSETS, DOCUMENT_OFFSETS = "tokens", "sentence_offsets", "document_offsets"
_CHUNK = 1 << 14  # elements that are read and checked together
_SHARD = 1 << 22  # elements per file
_CACHE_BYTES = 256 << 20  # of decoded chunks, for stores that are not held in memory
_HELD_BYTES = 1 << 30  # tokens of a split up to this size are read once and held in memory


def smallest_token_dtype(vocab_size: int) -> np.dtype:
    """The dtype that the store gives token ids: uint16 where they fit, or else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


class SplitWriter:
    """Writes documents to the arrays of one split; nothing counts until `finish` has returned."""

    def __init__(self, folder: str, token_dtype: np.dtype):
        self._tokens = _ArrayWriter(f"{folder}/{TOKENS}", token_dtype)
        self._sentences = _ArrayWriter(f"{folder}/{SENTENCE_OFFSETS}", np.dtype(np.int64))
        self._documents = _ArrayWriter(f"{folder}/{DOCUMENT_OFFSETS}", np.dtype(np.int64))
        self._sentences.append(np.zeros(1, np.int64))
        self._documents.append(np.zeros(1, np.int64))

    def add_document(self, sentences: Iterable[np.ndarray]) -> None:
        """Appends a document: the ids of its sentences. Empty sentences and documents are left out.

        Raises:
          OSError: where the disk is full.
        """
        sentences = [sentence for sentence in sentences if len(sentence)]
        if not sentences:
            return
        ends = self._tokens.length + np.cumsum([len(sentence) for sentence in sentences])
        self._tokens.append(np.concatenate(sentences))
        self._sentences.append(ends)
        self._documents.append(np.array([self._sentences.length - 1]))

    def finish(self) -> dict[str, Any]:
        """Writes what is left and returns the split's part of the manifest."""
        writers = {
            TOKENS: self._tokens,
            SENTENCE_OFFSETS: self._sentences,
            DOCUMENT_OFFSETS: self._documents,
        }
        return {
            "documents": self._documents.length - 1,
            "sentences": self._sentences.length - 1,
            "tokens": self._tokens.length,
            "arrays": {name: writer.finish() for name, writer in writers.items()},
        }


class SplitReader:
    """One split of a prepared corpus.

    Attributes:
      sentence_offsets: int64 [S + 1], the token at which each sentence starts, and the end.
      document_offsets: int64 [D + 1], the sentence at which each document starts, and the end.
    """

    def __init__(self, folder: str, manifest: Mapping[str, Any], held_bytes: int = _HELD_BYTES):
        """Opens the split whose manifest part `SplitWriter.finish` returned.

        Tokens of up to `held_bytes` are read and verified now; larger ones as they are needed.

        Raises:
          UserError: where an array is missing, damaged, or not the one of the manifest.
        """
        arrays = manifest["arrays"]
        self.path = folder
        self.sentence_offsets = _open(folder, SENTENCE_OFFSETS, arrays).read_all()
        self.document_offsets = _open(folder, DOCUMENT_OFFSETS, arrays).read_all()
        self._array = _open(folder, TOKENS, arrays)
        held = self._array.length * self._array.dtype.itemsize <= held_bytes
        self._held = self._array.read_all() if held else None

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.document_offsets) - 1

    @property
    def sentences(self) -> int:
        """How many sentences there are."""
        return len(self.sentence_offsets) - 1

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self._array.length

    def read(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The tokens of many ranges, one range after the other: an array [sum(lengths)].

        Args:
          starts: int64 [N], the first token of each range.
          lengths: int [N], how many tokens each range has.

        Raises:
          UserError: where a chunk is damaged; its file is named.
        """
        if self._held is None:
            return self._array.read_ranges(starts, lengths)
        before = np.cumsum(lengths) - lengths
        return self._held[np.arange(lengths.sum()) + np.repeat(starts - before, lengths)]

    def blocks(self, size: int = 1 << 20) -> Iterator[np.ndarray]:
        """All tokens of the split, in order, in arrays of up to `size`."""
        for start in range(0, self.tokens, size):
            length = min(size, self.tokens - start)
            yield self.read(np.array([start]), np.array([length]))


class _ArrayWriter:
    """A one-dimensional array that grows by whole shards, so that no shard is written twice."""

    def __init__(self, path: str, dtype: np.dtype):
        self.length = 0
        self._dtype = dtype
        self._written = 0
        self._pending: list[np.ndarray] = []
        self._digest = hashlib.sha256()
        spec = {**_spec(path), "metadata": _metadata(dtype), "store_data_equal_to_fill_value": True}
        self._array = _writing(ts.open(spec, create=True, delete_existing=True))

    def append(self, values: np.ndarray) -> None:
        values = np.ascontiguousarray(values, self._dtype)
        self._digest.update(values)
        self._pending.append(values)
        self.length += len(values)
        if self.length - self._written >= _SHARD:
            self._write((self.length - self._written) // _SHARD * _SHARD)

    def finish(self) -> dict[str, Any]:
        self._write(self.length - self._written)
        return {
            "dtype": self._dtype.name,
            "shape": [self.length],
            "sha256": self._digest.hexdigest(),
        }

    def _write(self, count: int) -> None:
        if not count:
            return
        values = np.concatenate(self._pending)
        start, end = self._written, self._written + count
        self._array = _writing(self._array.resize(exclusive_max=[end]))
        _writing(self._array[start:end].write(values[:count]))
        self._pending = [values[count:]]
        self._written = end


class _ArrayReader:
    """A one-dimensional array of the store; every failure to read it is a UserError."""

    def __init__(self, path: str, manifest: Mapping[str, Any]):
        self._path = path
        spec = {
            **_spec(path),
            # A missing file must not read as zeros.
            "fill_missing_data_reads": False,
            "context": {"cache_pool": {"total_bytes_limit": _CACHE_BYTES}},
        }
        self._array = self._reading(ts.open(spec, open=True, read=True))
        self.length = self._array.shape[0]
        self.dtype = self._array.dtype.numpy_dtype
        if [self.dtype.name, self.length] != [manifest["dtype"], *manifest["shape"]]:
            raise UserError(
                f"{path} holds {self.length} x {self.dtype.name} but its manifest says "
                f"{manifest['shape'][0]} x {manifest['dtype']}; {_REMEDY}"
            )

    def read_all(self) -> np.ndarray:
        return self._reading(self._array.read())

    def read_ranges(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        ranges = zip(starts.tolist(), lengths.tolist(), strict=True)
        reads = [self._array[start : start + length].read() for start, length in ranges]
        return np.concatenate([np.zeros(0, self.dtype), *map(self._reading, reads)])

    def _reading(self, future: Any) -> Any:
        try:
            return future.result()
        except (ValueError, OSError) as error:  # tensorstore's message names the file and chunk
            message = " ".join(str(error).split(" [tensorstore_spec=")[0].split())
            raise UserError(
                f"the token store at {self._path} is damaged: {message}; {_REMEDY}"
            ) from (None)


_REMEDY = "remove the prepared folder and start again to rebuild it"


def _open(folder: str, name: str, arrays: Mapping[str, Any]) -> _ArrayReader:
    return _ArrayReader(f"{folder}/{name}", arrays[name])


def _writing(future: Any) -> Any:
    try:
        return future.result()
    except ValueError as error:  # tensorstore gives even a full disk as a ValueError
        raise OSError(str(error).split(" [tensorstore_spec=")[0]) from None


def _spec(path: str) -> dict[str, Any]:
    local = {"driver": "file", "path": f"{path}/"}
    return {"driver": "zarr3", "kvstore": f"{path}/" if "://" in path else local}


def _metadata(dtype: np.dtype) -> dict[str, Any]:
    checked = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "crc32c"},
    ]
    sharding = {"chunk_shape": [_CHUNK], "codecs": checked, "index_codecs": checked}
    return {
        "shape": [0],
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [_SHARD]}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
