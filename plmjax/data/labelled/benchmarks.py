"""Published labelled sets by name, and the reading of a split of one from its folder."""

from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from plmjax.data.labelled.benchmark import Benchmark
from plmjax.data.labelled.chinese_sets import CHINESE, CLUE, FEWCLUE
from plmjax.data.labelled.english_sets import GLUE, MULTILINGUAL, OTHERS, SUPERGLUE
from plmjax.data.labelled.reading import read_rows
from plmjax.data.labelled.rows import Row, Say, counted, no_field, to_stderr
from plmjax.data.labelled.tfds_sets import is_tfds, read_tfds
from plmjax.errors import UserError
from plmjax.settings import choose

BENCHMARKS: Mapping[str, Benchmark] = {
    **GLUE,
    **SUPERGLUE,
    **CLUE,
    **FEWCLUE,
    **CHINESE,
    **MULTILINGUAL,
    **OTHERS,
}
_COMPRESSED = ("", ".gz", ".zst", ".xz", ".bz2")


def read_set(name: str, folder: str, split: str, *, say: Say = to_stderr) -> list[Row]:
    """The rows of a split of a published set, its labels as the file has them.

    Args:
      name: one of BENCHMARKS.
      folder: the set's own, with its files under one of their published names, maybe compressed;
        or its name in tensorflow-datasets, as `tfds:glue/sst2`.
      split: one of the set's: `train`, `dev`, `test` and others.
      say: is told of rows that are dropped by convention; stderr by default.

    Raises:
      UserError: where a file is missing or wrong, or a row lacks its text or, in a labelled file,
        its label.
    """
    benchmark = choose(name, BENCHMARKS, "benchmark")
    part = choose(split, benchmark.splits, f"split of {name}")
    if is_tfds(folder):
        own = read_tfds(name, folder, split, part.only)
        return list(_checked(own, benchmark, part.labelled, f"{folder}, {split}", say))
    rows = []
    for path in set_files(name, folder, split):
        columns = part.columns or benchmark.columns
        format = part.format or benchmark.format
        own = _only(read_rows(path, format, columns, say=say), part.only, path)
        rows += _checked(own, benchmark, part.labelled, path, say)
    return rows


def set_files(name: str, folder: str, split: str) -> list[str]:
    """The files of a split of a published set; several where they belong together, as C3's.

    Args:
      name, folder, split: see `read_set`.

    Raises:
      UserError: where they are not there, with the names that were tried and what is there.
    """
    part = choose(split, choose(name, BENCHMARKS, "benchmark").splits, f"split of {name}")
    root = epath.Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"there is no folder {folder}; name the one with the files of {name}")
    for files in part.files:
        found = [_found(root, file) for file in files.split(" + ")]
        if all(found):
            return [str(path) for path in found]
    there = sorted(path.name for path in root.iterdir())
    raise UserError(
        f"{folder} has no {split} of {name}: expected {' or '.join(part.files)}; "
        + (f"there are: {', '.join(there[:10])}" if there else "it is empty")
    )


def label_name(value: Any) -> str:
    """A label as BENCHMARKS names it: `0` for the number 0, `true` for JSON's true."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _only(rows: list[Row], only: Mapping[str, str], path: str) -> list[Row]:
    kept = [row for row in rows if all(row.fields.get(k) == v for k, v in only.items())]
    if not kept:
        what = ", ".join(f"{name} is {value}" for name, value in only.items())
        raise UserError(f"{path} has no rows whose {what}; is it the published file?")
    return kept


def _found(root: epath.Path, file: str) -> epath.Path | None:
    paths = (root / f"{file}{ending}" for ending in _COMPRESSED)
    return next((path for path in paths if path.exists()), None)


def _checked(
    rows: list[Row], benchmark: Benchmark, labelled: bool, path: str, say: Say
) -> Iterator[Row]:
    """Yields the rows that have what the benchmark says; those without a gold label are counted."""
    wanted = [benchmark.text, benchmark.second, *benchmark.others, benchmark.options]
    without = 0
    for row in rows:
        for name in filter(None, wanted):
            if name not in row.fields:
                raise no_field(row.fields, name, row.where)
        if labelled and _label(row, benchmark.label) in benchmark.dropped:
            without += 1
            continue
        yield row
    if without:
        marks = ", ".join(f"'{label}'" for label in benchmark.dropped)
        what = f"whose {benchmark.label} is {marks}"
        say(f"{path}: {without} of {counted(len(rows), 'row')} dropped, {what}")


def _label(row: Row, name: str) -> str:
    value = row.fields.get(name)
    if name not in row.fields:
        raise no_field(row.fields, name, row.where)
    if value is None or value == "":
        raise UserError(f"{row.where} has an empty '{name}'; a labelled file has one in each row")
    return label_name(value)
