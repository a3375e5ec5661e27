"""From a unit of a source to documents, for every kind of file."""

import collections
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from plmjax.data import tables
from plmjax.data.cleaning import Document
from plmjax.data.dialogues import turns_of
from plmjax.data.files import is_blank, lines, opened, text_bytes
from plmjax.data.samples import SAMPLES
from plmjax.errors import UserError

LONGEST_DOCUMENT = 16 << 20
"""Bytes; a longer document is cut at a line end."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """A piece of a source that one worker turns into one part of the store.

    Attributes:
      source: the source's name.
      kind, options: of the source.
      path: of the file, or what a library calls it.
      begin, end: bytes of a file of lines, row groups of a Parquet file, a shard of a TensorFlow
        dataset; end None for all.
      size: raw bytes, for the progress bar.
      mark: changes when the content does.
    """

    source: str
    kind: str
    options: tuple[tuple[str, str], ...]
    path: str
    begin: int
    end: int | None
    size: int
    mark: str


@dataclasses.dataclass
class Reading:
    """How a unit is read: whom to tell of bytes, what to do with those that are not UTF-8."""

    unit: Unit
    advance: Callable[[int], None]
    strict: bool
    counts: collections.Counter

    def decoded(self, data: bytes, offset: int) -> str | None:
        """The text of UTF-8 bytes; None where they are none and that is counted."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.strict:
                raise UserError(
                    f"{self.unit.path} is not UTF-8: byte 0x{data[error.start]:02x} at offset "
                    f"{offset + error.start}; convert it (iconv -t utf-8), leave it out, or "
                    "prepare with --invalid_utf8=skip"
                ) from None
            self.counts["invalid_utf8"] += 1
            return None
        if self.strict and "\0" in text:
            place = offset + data.index(b"\0")
            raise UserError(
                f"{self.unit.path} is not text: byte 0x00 at offset {place}; leave it out, or "
                "prepare with --invalid_utf8=skip"
            )
        if "\0" in text:
            self.counts["invalid_utf8"] += 1
            return None
        return text.replace("\ufeff", "") if "\ufeff" in text else text


def documents(
    unit: Unit,
    advance: Callable[[int], None] = lambda _: None,
    *,
    strict: bool = True,
    counts: collections.Counter | None = None,
) -> Iterator[Document]:
    """Yields the documents of a unit.

    Args:
      unit: from `Source.units`.
      advance: is told of the raw bytes gone by.
      strict: whether bytes that are not UTF-8 are an error, or leave their document out.
      counts: where `invalid_utf8` and such are counted.

    Raises:
      UserError: for what cannot be read, with file and offset.
    """
    reading = Reading(unit, advance, strict, collections.Counter() if counts is None else counts)
    fixed = dict(unit.options).get("language", "")
    for document in _READERS[unit.kind](reading):
        yield document._replace(language=fixed) if fixed and not document.language else document


def _of_text(reading: Reading, blank_ends: bool = True) -> Iterator[Document]:
    block: list[bytes] = []
    begin = size = 0
    for offset, line in _lines(reading):
        ended = blank_ends and is_blank(line)
        too_long = size + len(line) > LONGEST_DOCUMENT
        if block and (ended or too_long):
            reading.counts["long_documents_cut"] += not ended
            yield from _of_block(reading, block, begin)
            block, size = [], 0
        if not ended:
            begin = begin if block else offset
            block.append(line)
            size += len(line)
    if block:
        yield from _of_block(reading, block, begin)


def _of_block(reading: Reading, block: list[bytes], offset: int) -> Iterator[Document]:
    text = reading.decoded(b"".join(block), offset)
    if text is not None:
        yield Document(text.split("\n"))


def _of_lines(reading: Reading) -> Iterator[Document]:
    for offset, line in _lines(reading):
        if not is_blank(line):
            yield from _of_block(reading, [line], offset)


def _of_jsonl(reading: Reading) -> Iterator[Document]:
    for offset, line in _lines(reading):
        text = None if is_blank(line) else reading.decoded(line, offset)
        if text is None:
            continue
        place = f"{reading.unit.path} at offset {offset}"
        try:
            record = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{place}: no JSON ({error}); a line holds one object") from None
        yield from _of_record(reading, record, place)


def _of_tsv(reading: Reading) -> Iterator[Document]:
    columns = dict(reading.unit.options).get("columns", "0+1")
    try:
        first, second = (int(number) for number in columns.split("+"))
    except ValueError:
        raise UserError(f"columns={columns} of a tsv source; give two numbers: 0+1") from None
    for offset, line in _lines(reading):
        text = None if is_blank(line) else reading.decoded(line, offset)
        if text is None:
            continue
        cells = text.rstrip("\r\n").split("\t")
        if len(cells) <= max(first, second):
            raise UserError(
                f"{reading.unit.path} at offset {offset} has {len(cells)} tab-separated columns; "
                f"expected at least {max(first, second) + 1}"
            )
        yield Document([cells[first], cells[second]], whole=True)


def _of_table(reading: Reading) -> Iterator[Document]:
    unit = reading.unit
    names = [*_fields(unit), *filter(None, [dict(unit.options).get("language_field")])]
    wanted = list(dict.fromkeys(name.partition(".")[0] for name in names))
    rows = tables.records(unit.kind, unit.path, unit.begin, unit.end, wanted)
    gone = 0
    for number, (share, record) in enumerate(rows):
        reading.advance(int(share * unit.size) - gone)
        gone = int(share * unit.size)
        yield from _of_record(reading, record, f"{unit.path}, row {number}")
    reading.advance(unit.size - gone)


def _of_sample(reading: Reading) -> Iterator[Document]:
    sample = SAMPLES[reading.unit.path]()
    for document in sample.documents(reading.advance):
        if isinstance(document, Document):
            yield document
            continue
        first, *others = document
        yield Document([first, *(sample.between + other for other in others)], whole=True)


def _of_record(reading: Reading, record: Any, place: str) -> Iterator[Document]:
    names = _fields(reading.unit)
    texts = []
    values = [_value(record, name) for name in names]
    is_dialogue = len(names) == 1 and isinstance(values[0], list)
    if is_dialogue:
        try:
            values = turns_of(values[0])
        except ValueError as error:
            raise UserError(f"{place}: the field '{names[0]}' is no dialogue: {error}") from None
        names = names * len(values)
    elif len(names) == 3 and isinstance(values[2], int):
        values[2] = str(values[2])
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bytes):
            value = reading.decoded(value, 0)
            if value is None:
                return
        if not isinstance(value, str):
            keys = ", ".join(map(str, record)) if isinstance(record, dict) else "no object"
            raise UserError(
                f"{place}: no text in the field '{name}' (there are: {keys}); name another with "
                "--field"
            )
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can write half of a surrogate pair
            if reading.strict:
                raise UserError(
                    f"{place}: half a surrogate pair in the field '{name}'; mend it, or prepare "
                    "with --invalid_utf8=skip"
                ) from None
            reading.counts["invalid_utf8"] += 1
            return
        texts.append(value)
    field = dict(reading.unit.options).get("language_field")
    language = str(_value(record, field) or "") if field else ""
    if len(names) == 1 and not is_dialogue:
        yield Document(texts[0].split("\n"), language=language)
    elif texts:
        yield Document(texts, whole=True, language=language)


def _fields(unit: Unit) -> list[str]:
    given = dict(unit.options).get("field", "text")
    names = given.split("+")
    if len(names) > 3 or not all(names):
        raise UserError(
            f"field={given}; give one field, two for translation pairs: en+zh, or three for"
            " labelled pairs: query+title+label"
        )
    return names


def _value(record: Any, name: str) -> Any:
    for key in name.split("."):
        if not isinstance(record, dict) or key not in record:
            return None
        record = record[key]
    return record


def _lines(reading: Reading) -> Iterator[tuple[int, bytes]]:
    unit = reading.unit
    path = epath.Path(unit.path)
    reading.counts["empty_files"] += not unit.size
    if unit.end is None:
        with text_bytes(path, reading.advance) as file:
            yield from lines(file, unit.path)
        return
    gone = unit.begin
    with opened(path) as file:
        file.seek(unit.begin)
        for offset, line in lines(file, unit.path, unit.begin, unit.end):
            yield offset, line
            if offset - gone > 1 << 18:
                reading.advance(offset - gone)
                gone = offset
    reading.advance(unit.end - gone)


_READERS: dict[str, Callable[[Reading], Iterator[Document]]] = {
    "text": _of_text,
    "files": functools.partial(_of_text, blank_ends=False),
    "lines": _of_lines,
    "jsonl": _of_jsonl,
    "tsv": _of_tsv,
    "parquet": _of_table,
    "arrow": _of_table,
    "tfds": _of_table,
    "sample": _of_sample,
}
