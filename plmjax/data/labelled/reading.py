"""From a file of a labelled set to rows: the formats by name."""

from collections.abc import Callable, Iterable, Sequence

from etils import epath

from plmjax.data import tables
from plmjax.data.labelled.choices import (
    read_c3,
    read_copa,
    read_race,
    read_rocstories,
    read_story_cloze,
)
from plmjax.data.labelled.clue import read_chid, read_cluener, read_csl
from plmjax.data.labelled.delimited import read_csv, read_tsv
from plmjax.data.labelled.json_rows import read_json, read_json_or_lines, read_jsonl
from plmjax.data.labelled.questions import read_cmrc, read_squad
from plmjax.data.labelled.rows import Row, Say, existing, to_stderr
from plmjax.data.labelled.segmented import read_conllu_characters, read_segmented
from plmjax.data.labelled.superglue import read_cluewsc, read_multirc, read_record, read_wsc
from plmjax.data.labelled.tagged import read_columns, read_conllu, read_weibo
from plmjax.data.labelled.xnli import read_xnli
from plmjax.errors import UserError
from plmjax.settings import choose

_COMPRESSED = (".gz", ".zst", ".zstd", ".xz", ".bz2")


def read_parquet(path: str) -> Iterable[Row]:
    """Rows of a Parquet file, with all its columns; needs pyarrow.

    Raises:
      UserError: where the file cannot be read or is empty, or pyarrow is not installed.
    """
    file = str(existing(path))
    number = 0
    for number, (_, fields) in enumerate(tables.records("parquet", file, 0, None, []), 1):
        yield Row(fields, f"{path}, row {number}")
    if not number:
        raise UserError(f"{path} has no rows")


_WITH_COLUMNS: dict[str, Callable[..., Iterable[Row]]] = {
    "tsv": read_tsv,
    "csv": read_csv,
    "columns": read_columns,
    "weibo": read_weibo,
}
_SAYING: dict[str, Callable[..., Iterable[Row]]] = {
    "qqp": lambda path, say: read_tsv(path, say=say, drop_short=True),
    "cmrc": lambda path, say: read_cmrc(path, say=say),
    "chid": lambda path, say: read_chid(path, say=say),
    "cluener": lambda path, say: read_cluener(path, say=say),
}
_PLAIN: dict[str, Callable[[str], Iterable[Row]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "conllu": read_conllu,
    "conllu_characters": read_conllu_characters,
    "segmented": read_segmented,
    "parquet": read_parquet,
    "squad": read_squad,
    "c3": read_c3,
    "race": read_race,
    "story_cloze": read_story_cloze,
    "rocstories": read_rocstories,
    "copa": read_copa,
    "multirc": read_multirc,
    "record": read_record,
    "wsc": read_wsc,
    "cluewsc": read_cluewsc,
    "csl": read_csl,
    "xnli": read_xnli,
}
FORMATS = tuple(sorted([*_WITH_COLUMNS, *_SAYING, *_PLAIN]))
"""The names that `read_rows` takes as `format`."""

_JSON = "json or jsonl"  # what `.json` says; the content decides
_BY_ENDING = {
    ".json": _JSON,
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".conll": "columns",
    ".bio": "columns",
    ".bmes": "columns",
    ".conllu": "conllu",
    ".parquet": "parquet",
}


def read_rows(
    path: str, format: str = "", columns: Sequence[str] = (), *, say: Say = to_stderr
) -> list[Row]:
    """The rows of a file of a labelled set, in its order; nothing is left out unsaid.

    Args:
      path: of the file, compressed or not; of RACE, of the folder.
      format: one of FORMATS; "" for what the file's ending says. What the rows of a format have as
        fields is said by its reader (`read_squad` for `squad`, and so on).
      columns: the names of the columns, for `tsv` and `csv` files without a header line, where the
        last may be `*name`, a list of all further cells, and for `columns`.
      say: is told in a line what a format's convention drops or mends: `qqp`'s short rows,
        `cmrc`'s starts, tags of `cluener`'s nested entities; stderr by default.

    Raises:
      UserError: where the file is missing, cannot be read, has no rows or is of another format.
    """
    kind = format or _by_ending(path)
    if kind != _JSON:
        choose(kind, dict.fromkeys(FORMATS), "format")
    if isinstance(columns, str):
        raise UserError(f"columns='{columns}'; give a list of names")
    if kind in _WITH_COLUMNS:
        return list(_WITH_COLUMNS[kind](path, columns))
    if columns:
        raise UserError(f"columns are of {', '.join(_WITH_COLUMNS)}; format='{kind}' has its own")
    if kind in _SAYING:
        return list(_SAYING[kind](path, say))
    return list(read_json_or_lines(path) if kind == _JSON else _PLAIN[kind](path))


def _by_ending(path: str) -> str:
    file = epath.Path(path)
    name = file.stem if file.suffix in _COMPRESSED else file.name
    ending = epath.Path(name).suffix
    if ending not in _BY_ENDING:
        existing(path)
        raise UserError(
            f"{path} has the ending '{ending}', which says no format; give one of "
            f"{', '.join(FORMATS)}"
        )
    return _BY_ENDING[ending]
