"""The safetensors format: a header with every tensor's place, then their bytes.

Eight bytes give the length of the header, which is JSON: for each name its dtype, its shape and
where its bytes begin and end, counted from the end of the header. Tensors are read and written one
at a time, so that memory holds one of them, whatever the size of the file.
"""

import dataclasses
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from plmjax.errors import UserError

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}
WEIGHTS_FILE = "model.safetensors"
_LONGEST_HEADER = 100_000_000  # as in the format's own implementation
_ALIGNMENT = 8


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where a tensor lies in its file: its first byte, counted from the beginning of the file."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int

    def read(self) -> np.ndarray:
        """The tensor."""
        with self.path.open("rb") as file:
            file.seek(self.begin)
            flat = np.fromfile(file, self.dtype, math.prod(self.shape))
        return flat.reshape(self.shape)

    def write(self, tensor: np.ndarray) -> None:
        """Writes the tensor, which has this shape, into the file, which has its full size."""
        assert tensor.shape == self.shape, (tensor.shape, self.shape)
        with self.path.open("r+b") as file:
            file.seek(self.begin)
            np.ascontiguousarray(tensor, self.dtype).tofile(file)


def read_header(path: Path) -> dict[str, Slot]:
    """The tensors of a file.

    Raises:
      UserError: if it is no such file, or a part of one.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _LONGEST_HEADER):
                raise ValueError("its header is cut off")
            header = json.loads(file.read(length))
        slots, end = {}, 8 + length
        for name, about in header.items():
            if name == "__metadata__":
                continue
            if about["dtype"] not in DTYPES:
                raise ValueError(f"{name} has the dtype {about['dtype']}")
            dtype, shape = np.dtype(DTYPES[about["dtype"]]), tuple(about["shape"])
            begin, last = about["data_offsets"]
            if last - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} has another size than its shape says")
            slots[name] = Slot(path, dtype, shape, 8 + length + begin)
            end = max(end, 8 + length + last)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error}); fetch it again") from None
    if size < end:
        raise UserError(f"{path} is cut off: it has {size:,} bytes of {end:,}; fetch it again")
    return slots


def lay_out(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, max_shard_bytes: int
) -> dict[str, Slot]:
    """Makes the files for tensors of these shapes, to be filled in by `Slot.write`.

    One `model.safetensors`; where that would be larger than `max_shard_bytes`, as many
    `model-00001-of-0000N.safetensors` as it takes, in the order of the names, and an index.

    Args:
      folder: exists.
      shapes: by name.
      dtype: of all of them, a name of DTYPES.
      max_shard_bytes: how large a file may be; a larger tensor has a file of its own.
    """
    item = np.dtype(DTYPES[dtype]).itemsize
    shards = _shards(
        {name: math.prod(shape) * item for name, shape in shapes.items()}, max_shard_bytes
    )
    slots, places = {}, {}
    for number, names in enumerate(shards, 1):
        file = WEIGHTS_FILE
        if len(shards) > 1:
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        places |= dict.fromkeys(names, file)
        slots |= _made(folder / file, {name: shapes[name] for name in names}, dtype)
    if len(shards) > 1:
        total = sum(math.prod(shape) for shape in shapes.values())
        about = {"total_parameters": total, "total_size": total * item}
        index = {"metadata": about, "weight_map": dict(sorted(places.items()))}
        text = json.dumps(index, indent=2) + "\n"
        (folder / f"{WEIGHTS_FILE}.index.json").write_text(text)
    return slots


def _shards(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _made(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, Slot]:
    """Makes one file with its header, of its full size."""
    item = np.dtype(DTYPES[dtype]).itemsize
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * item
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    first = 8 + len(text)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        # Says at once, and not after an hour, that the disk is full; a hole would not.
        if hasattr(os, "posix_fallocate") and end:
            os.posix_fallocate(file.fileno(), 0, first + end)
        else:
            file.truncate(first + end)
    kind = np.dtype(DTYPES[dtype])
    return {
        name: Slot(path, kind, shape, first + header[name]["data_offsets"][0])
        for name, shape in shapes.items()
    }


def of_files(paths: Iterable[Path]) -> dict[str, Slot]:
    """The tensors of several files."""
    return {name: slot for path in paths for name, slot in read_header(path).items()}
