"""One-dimensional checksummed arrays on disk: zarr3, sharded, with a crc32c for every chunk.

tensorstore writes them, and reads them where they are remote (gs://, s3://). On a local disk the
shards are mapped into memory, which costs a tenth: a chunk is checked when it is first touched.
"""

import hashlib
import json
import mmap
import tempfile
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import tensorstore as ts
from etils import epath

from plmjax.errors import UserError

_CHUNK = 1 << 14  # elements that are read and checked together
_SHARD_BYTES = 1 << 24  # of a file
_CACHE_BYTES = 256 << 20  # of decoded chunks of remote arrays
_HELD_BYTES = 1 << 30  # a whole array up to this size is held in memory, a larger one in a file
_METADATA = "zarr.json"
_REMEDY = "prepare the data again, or put an intact copy in its place"
_NO_CHUNK = np.uint64(2**64 - 1)


def is_remote(path: str) -> bool:
    """Whether a path is one such as gs://bucket/folder."""
    return "://" in path


class ArrayWriter:
    """An array that grows by whole shards, so that no shard is written twice."""

    def __init__(self, path: str, dtype: np.dtype):
        self.length = 0
        self._path = path
        self._dtype = np.dtype(dtype)
        shard = max(1, _SHARD_BYTES // (_CHUNK * self._dtype.itemsize)) * _CHUNK
        self._buffer = np.zeros(shard, self._dtype)
        self._filled = 0
        self._digest = hashlib.sha256()
        metadata = _metadata(self._dtype, shard)
        spec = {**_spec(path), "metadata": metadata, "store_data_equal_to_fill_value": True}
        self._array = _writing(ts.open(spec, create=True, delete_existing=True))

    def append(self, values: np.ndarray) -> None:
        """Appends values [N] of any dtype that the array's can hold.

        Raises:
          OSError: where the disk is full.
        """
        values = np.ascontiguousarray(values, self._dtype)
        self._digest.update(values)
        while len(values):
            count = min(len(values), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + count] = values[:count]
            self._filled += count
            self.length += count
            values = values[count:]
            if self._filled == len(self._buffer):
                self._flush()

    def finish(self) -> dict[str, Any]:
        """Writes what is left and returns the array's part of the manifest."""
        self._flush()
        metadata = epath.Path(self._path) / _METADATA
        return {
            "dtype": self._dtype.name,
            "shape": [self.length],
            "sha256": self._digest.hexdigest(),
            "metadata_sha256": hashlib.sha256(metadata.read_bytes()).hexdigest(),
        }

    def _flush(self) -> None:
        if self._filled:
            start = self.length - self._filled
            self._array = _writing(self._array.resize(exclusive_max=[self.length]))
            _writing(self._array[start : self.length].write(self._buffer[: self._filled]))
            self._filled = 0


def open_array(path: str, manifest: Mapping[str, Any]) -> "MappedArray | RemoteArray":
    """Opens what `ArrayWriter.finish` returned this part of a manifest for.

    Raises:
      UserError: where it is missing, or not the one of the manifest.
    """
    file = epath.Path(path) / _METADATA
    try:
        text = file.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"the token store lacks {file} ({reason}); {_REMEDY}") from None
    if hashlib.sha256(text).hexdigest() != manifest["metadata_sha256"]:
        raise UserError(f"{file} is damaged, or is not the one of its manifest; {_REMEDY}")
    metadata = json.loads(text)
    dtype, length = metadata["data_type"], metadata["shape"][0]
    if [dtype, length] != [manifest["dtype"], *manifest["shape"]]:
        raise UserError(
            f"{path} holds {length} x {dtype} but its manifest says "
            f"{manifest['shape'][0]} x {manifest['dtype']}; {_REMEDY}"
        )
    return (RemoteArray if is_remote(path) else MappedArray)(path, metadata)


class _Array:
    """What both kinds share: the sizes that the metadata gives."""

    def __init__(self, path: str, metadata: Mapping[str, Any]):
        self.path = path
        self.length: int = metadata["shape"][0]
        self.dtype = np.dtype(metadata["data_type"])
        self._shard: int = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
        self._chunk: int = metadata["codecs"][0]["configuration"]["chunk_shape"][0]

    def read_ranges(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The elements of ranges [N], one range after the other: an array [sum(lengths)]."""
        raise NotImplementedError

    def read_all(self) -> np.ndarray:
        """The whole array; beyond 1 GiB a memory map of an unnamed file, so that it can be swapped.

        Raises:
          UserError: where a chunk is damaged.
        """
        if self.length * self.dtype.itemsize <= _HELD_BYTES:
            whole = np.empty(self.length, self.dtype)
        else:
            file = tempfile.TemporaryFile()  # noqa: SIM115 (the map keeps it)
            whole = np.memmap(file, self.dtype, "w+", shape=(self.length,))
        for start in range(0, self.length, self._shard):
            count = min(self._shard, self.length - start)
            whole[start : start + count] = self.read_ranges(np.array([start]), np.array([count]))
        return whole


class MappedArray(_Array):
    """An array on a local disk; every failure to read it is a UserError that names the file."""

    def __init__(self, path: str, metadata: Mapping[str, Any]):
        super().__init__(path, metadata)
        self._bytes = self._chunk * self.dtype.itemsize
        self._shards: dict[int, memoryview] = {}
        # Of each chunk: whether it was found intact, and where in its shard it begins.
        self._checked = np.zeros(-(-self.length // self._chunk), bool)
        self._offsets = np.zeros(len(self._checked), np.int64)

    def read_ranges(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """As the base class says; a UserError for a chunk that is damaged."""
        lengths = np.asarray(lengths, np.int64)
        size, chunk, shard = self.dtype.itemsize, self._chunk, self._shard
        out = np.empty(int(lengths.sum()), self.dtype)
        if not len(out):
            return out
        nonempty = lengths > 0
        starts, lengths = np.asarray(starts, np.int64)[nonempty], lengths[nonempty]
        if starts.min() < 0 or (starts + lengths).max() > self.length:
            raise IndexError(f"{self.path} has {self.length} elements, asked for more")
        counts = (starts + lengths - 1) // chunk - starts // chunk + 1
        if (counts > 1).any():  # cut at the borders of chunks
            row = np.repeat(np.arange(len(starts)), counts)
            turn = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
            begins = np.where(turn > 0, (starts[row] // chunk + turn) * chunk, starts[row])
            ends = np.minimum((begins // chunk + 1) * chunk, (starts + lengths)[row])
            starts, lengths = begins, ends - begins
        chunks = starts // chunk
        self._check(chunks)
        begins = self._offsets[chunks] + (starts - chunks * chunk) * size
        sizes = lengths * size
        filled = np.cumsum(sizes)
        target, shards = memoryview(out.view(np.uint8)), self._shards
        lists = (starts // shard, begins, begins + sizes, filled - sizes, filled)
        for number, begin, end, to, until in zip(*(x.tolist() for x in lists), strict=True):
            target[to:until] = shards[number][begin:end]
        return out

    def damage(self) -> list[str]:
        """What is wrong with its files, one line each; none where it is intact."""
        found = []
        for number in range(-(-self.length // self._shard)):
            try:
                self._map(number)
            except UserError as error:
                found.append(str(error))
                continue
            chunks = self._shard // self._chunk
            for index in range(number * chunks, min((number + 1) * chunks, len(self._checked))):
                try:
                    self._check_chunk(index)
                except UserError as error:
                    found.append(str(error))
        return found

    def _check(self, chunks: np.ndarray) -> None:
        for index in np.unique(chunks[~self._checked[chunks]]).tolist():
            self._check_chunk(index)

    def _check_chunk(self, index: int) -> None:
        chunks = self._shard // self._chunk
        content = self._map(index // chunks)
        offset = int(self._offsets[index])
        given = content[offset + self._bytes : offset + self._bytes + 4]
        # Each chunk is one pass over its bytes, once in a process.
        crc = google_crc32c.value(bytes(content[offset : offset + self._bytes]))
        if crc != int.from_bytes(given, "little"):
            raise UserError(
                f"the token store is damaged: {self._file(index // chunks)}, chunk "
                f"{index % chunks} (elements from {index * self._chunk} on) fails its checksum; "
                f"{_REMEDY}"
            )
        self._checked[index] = True

    def _map(self, number: int) -> memoryview:
        """The content of a shard, whose index is checked."""
        if number in self._shards:
            return self._shards[number]
        path = self._file(number)
        chunks = self._shard // self._chunk
        present = min(chunks, len(self._checked) - number * chunks)
        index_bytes = chunks * 16 + 4
        try:
            with open(path, "rb") as file:
                content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # ValueError: an empty file
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"the token store lacks {path} ({reason}); {_REMEDY}") from None
        index = bytes(content[-index_bytes:])
        whole = len(content) == present * (self._bytes + 4) + index_bytes
        if not whole or google_crc32c.value(index[:-4]) != int.from_bytes(index[-4:], "little"):
            what = "its index fails its checksum" if whole else f"it has {len(content)} bytes"
            raise UserError(f"the token store is damaged: {path}, {what}; {_REMEDY}")
        places = np.frombuffer(index[:-4], "<u8").reshape(chunks, 2)
        sizes_fit = (places[:present, 1] == self._bytes + 4).all()
        if not sizes_fit or (places[present:] != _NO_CHUNK).any():
            raise UserError(f"the token store is damaged: {path}, a wrong index; {_REMEDY}")
        self._offsets[number * chunks : number * chunks + present] = places[:present, 0]
        self._shards[number] = content
        return content

    def _file(self, number: int) -> str:
        return f"{self.path}/c/{number}"


class RemoteArray(_Array):
    """An array that tensorstore reads, from gs:// and such; it checks every chunk it reads."""

    def __init__(self, path: str, metadata: Mapping[str, Any]):
        super().__init__(path, metadata)
        spec = {
            **_spec(path),
            # A missing file must not read as zeros.
            "fill_missing_data_reads": False,
            "context": {"cache_pool": {"total_bytes_limit": _CACHE_BYTES}},
        }
        self._array = self._reading(ts.open(spec, open=True, read=True))

    def read_ranges(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """As the base class says; a UserError for a chunk that is damaged."""
        ranges = zip(starts.tolist(), lengths.tolist(), strict=True)
        reads = [self._array[start : start + length].read() for start, length in ranges if length]
        return np.concatenate([np.zeros(0, self.dtype), *map(self._reading, reads)])

    def damage(self) -> list[str]:
        """What is wrong with its files, one line a shard; none where it is intact."""
        found = []
        for start in range(0, self.length, self._shard):
            count = min(self._shard, self.length - start)
            try:
                self.read_ranges(np.array([start]), np.array([count]))
            except UserError as error:
                found.append(str(error))
        return found

    def _reading(self, future: Any) -> Any:
        try:
            return future.result()
        except (ValueError, OSError) as error:  # tensorstore's message names the file and chunk
            message = " ".join(str(error).split(" [tensorstore_spec=")[0].split())
            raise UserError(
                f"the token store is damaged: {self.path}: {message}; {_REMEDY}"
            ) from None


def _writing(future: Any) -> Any:
    try:
        return future.result()
    except ValueError as error:  # tensorstore gives even a full disk as a ValueError
        raise OSError(str(error).split(" [tensorstore_spec=")[0]) from None


def _spec(path: str) -> dict[str, Any]:
    local = {"driver": "file", "path": f"{path}/"}
    return {"driver": "zarr3", "kvstore": f"{path}/" if "://" in path else local}


def _metadata(dtype: np.dtype, shard: int) -> dict[str, Any]:
    checked = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "crc32c"},
    ]
    sharding = {"chunk_shape": [_CHUNK], "codecs": checked, "index_codecs": checked}
    return {
        "shape": [0],
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard]}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
