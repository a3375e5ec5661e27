"""Sources that a library reads: Parquet, Arrow as Hugging Face datasets save it, TFDS."""

import importlib
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from etils import epath

from plmjax.data.files import matches, opened
from plmjax.errors import UserError

_ROWS = 256  # that are in memory at once
_GROUP_BYTES = 8 << 20  # row groups of a Parquet file up to this size share a unit

Found = tuple[str, int, str, tuple[int, ...]]


def units(kind: str, target: str) -> Iterator[Found]:
    """Yields (path, bytes, mark, (begin, end)) of the pieces of a source, in order.

    Raises:
      UserError: where there is nothing to read, or a library is missing.
    """
    if kind == "parquet":
        for path in matches(target):
            yield from _row_groups(path)
    elif kind == "arrow":
        for path in _arrow_files(epath.Path(target).expanduser()):
            about = path.stat()
            yield str(path), about.length, f"{about.length} {about.mtime}", ()
    else:
        yield from _shards(target)


def records(
    kind: str, path: str, begin: int, end: int | None, fields: list[str]
) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yields (share of the piece gone by, a row as a dict with those of `fields` that it has)."""
    if kind == "tfds":
        yield from _of_tfds(path, begin)
        return
    reader = _of_parquet if kind == "parquet" else _of_arrow
    arrow = _library("pyarrow", "pyarrow")
    try:
        yield from reader(path, begin, end, fields)
    except (arrow.ArrowException, OSError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{path} is broken: {what}; fetch it again or leave it out") from None


def _library(name: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise UserError(f"such a source needs {package}: pip install {package}") from None


def _row_groups(path: epath.Path) -> Iterator[Found]:
    parquet = _library("pyarrow.parquet", "pyarrow")
    arrow = _library("pyarrow", "pyarrow")
    about = path.stat()
    mark = f"{about.length} {about.mtime}"
    try:
        with opened(path) as file:
            metadata = parquet.ParquetFile(file).metadata
    except (arrow.ArrowException, OSError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{path} is no Parquet file: {what}; leave it out") from None
    begin = size = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        size += sum(group.column(c).total_compressed_size for c in range(group.num_columns))
        if size >= _GROUP_BYTES or index == metadata.num_row_groups - 1:
            yield str(path), size, mark, (begin, index + 1)
            begin, size = index + 1, 0


def _of_parquet(path: str, begin: int, end: int | None, fields: list[str]) -> Iterator:
    parquet = _library("pyarrow.parquet", "pyarrow")
    with opened(epath.Path(path)) as raw:
        file = parquet.ParquetFile(raw)
        groups = list(range(begin, file.metadata.num_row_groups if end is None else end))
        rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        names = [name for name in fields if name in file.schema_arrow.names]
        gone = 0
        # Without columns there would be no rows, and nobody told that the field is missing.
        for batch in file.iter_batches(_ROWS, groups, names or None):
            for record in batch.to_pylist():
                gone += 1
                yield gone / rows, record


def _arrow_files(folder: epath.Path) -> list[epath.Path]:
    """The files of a dataset, or of all splits of a dictionary of them, in their own order."""
    dictionary, state = folder / "dataset_dict.json", folder / "state.json"
    try:
        if dictionary.exists():
            splits = json.loads(dictionary.read_text())["splits"]
            return [file for split in splits for file in _arrow_files(folder / split)]
        if state.exists():
            names = [file["filename"] for file in json.loads(state.read_text())["_data_files"]]
            files = [folder / name for name in names]
        else:
            files = sorted(folder.glob("*.arrow"), key=str) if folder.is_dir() else []
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder} is no folder that Hugging Face datasets saved ({type(error).__name__}: "
            f"{error}); make one with save_to_disk"
        ) from None
    missing = [file for file in files if not file.exists()]
    if missing or not files:
        lacks = missing[0] if missing else "an .arrow file"
        raise UserError(
            f"{folder} is no whole folder that Hugging Face datasets saved: it lacks {lacks}"
        )
    return files


def _of_arrow(path: str, begin: int, end: int | None, fields: list[str]) -> Iterator:
    del begin, end
    arrow = _library("pyarrow", "pyarrow")
    size = epath.Path(path).stat().length
    with opened(epath.Path(path)) as raw:
        # Streams are what datasets write; files (feather) begin with a magic word.
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        if is_file:
            reader = arrow.ipc.open_file(raw)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = arrow.ipc.open_stream(raw)
        for batch in batches:
            names = [name for name in fields if name in batch.schema.names]
            chosen = batch.select(names) if names else batch
            for start in range(0, chosen.num_rows, _ROWS):
                for record in chosen.slice(start, _ROWS).to_pylist():
                    yield raw.tell() / size, record


def tfds_builder(target: str) -> tuple[Any, str]:
    """The builder of `NAME` or `NAME:SPLIT`, a set that is on this machine, and the split; `train`
    where none is named.

    Raises:
      UserError: where TFDS does not know it, or the split is not there.
    """
    name, _, split = target.partition(":")
    tfds = _library("tensorflow_datasets", "tensorflow-datasets")
    try:
        builder = tfds.builder(name)
    except Exception as error:  # the library raises errors of its own for unknown names
        what = " ".join(str(error).partition("Available datasets")[0].split())[:200]
        raise UserError(
            f"'tfds:{name}' cannot be opened: {what.rstrip('.')}; make it with 'tfds build', and "
            "set TFDS_DATA_DIR where it is not in ~/tensorflow_datasets"
        ) from None
    split = split or "train"
    if split not in builder.info.splits:
        there = ", ".join(builder.info.splits) or f"none; tfds build {name} makes them"
        raise UserError(f"'tfds:{name}' has no split '{split}'; there are: {there}")
    return builder, split


def _shards(target: str) -> Iterator[Found]:
    builder, split = tfds_builder(target)
    about = builder.info.splits[split]
    for shard in range(about.num_shards):
        size = about.num_bytes // about.num_shards
        yield target, size, f"{builder.info.full_name} {about.num_bytes}", (shard, shard + 1)


def _of_tfds(target: str, shard: int) -> Iterator:
    from plmjax.data.host_tensorflow import tensorflow

    tensorflow()
    builder, split = tfds_builder(target)
    tfds = _library("tensorflow_datasets", "tensorflow-datasets")
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = builder.as_dataset(
        split=f"{split}[{shard}shard]", shuffle_files=False, read_config=config
    )
    rows = max(1, builder.info.splits[split].shard_lengths[shard])
    for number, record in enumerate(tfds.as_numpy(dataset)):
        yield (number + 1) / rows, record
