"""Walks through a whole store and finds what is damaged, missing or does not fit together."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from etils import epath

from plmjax.data import manifest, store
from plmjax.data.arrays import open_array
from plmjax.errors import UserError

_BLOCK = 1 << 20


def verify(folder: epath.Path, advance: Callable[[int], None] = lambda _: None) -> list[str]:
    """What is wrong with a store, one line each; an empty list for an intact one.

    Every byte is read: the manifest and the tokenizer's files, every chunk with its checksum, and
    each array as a whole against the manifest's SHA-256.

    Args:
      folder: of the store.
      advance: is told of the bytes of arrays gone by.

    Raises:
      UserError: where there is no manifest, or it is damaged itself.
    """
    about = manifest.read_manifest(folder)
    problems = list(_files(folder, about))
    for name, source in about["sources"].items():
        for split, part in source["splits"].items():
            vocab_size = about["tokenizer"]["vocab_size"]
            problems += _split(f"{folder}/{name}/{split}", part, vocab_size, advance)
        if manifest.digest_of_source(source) != source["digest"]:
            problems.append(f"{folder / manifest.FILE}: the digest of '{name}' is not its arrays'")
    return problems


def total_bytes(folder: epath.Path) -> int:
    """How many bytes of arrays there are to go through."""
    about = manifest.read_manifest(folder)
    parts = [part for source in about["sources"].values() for part in source["splits"].values()]
    arrays = [array for part in parts for array in part["arrays"].values()]
    return sum(array["shape"][0] * np.dtype(array["dtype"]).itemsize for array in arrays)


def _files(folder: epath.Path, about: dict[str, Any]) -> Iterator[str]:
    for name, expected in about["tokenizer"]["files"].items():
        try:
            if manifest.sha256_of(folder / name) != expected:
                yield f"{folder / name} fails its checksum: it is damaged or another file"
        except UserError as error:
            yield str(error)


def _split(
    path: str, part: dict[str, Any], vocab_size: int, advance: Callable[[int], None]
) -> list[str]:
    """The problems of one split; what follows from another problem is left out."""
    problems = list(_sizes(path, part))
    if problems:
        return problems
    for name, about in part["arrays"].items():
        try:
            array = open_array(f"{path}/{name}", about)
        except UserError as error:
            problems.append(str(error))
            continue
        found = array.damage()
        problems += found
        if found:
            continue
        if message := _content(array, name, about, part, vocab_size, advance):
            problems.append(f"{path}/{name}: {message}")
    return problems


def _sizes(path: str, part: dict[str, Any]) -> Iterator[str]:
    """What the manifest says of a split against what it says of its arrays."""
    expected = {
        store.TOKENS: part["tokens"],
        store.FLAGS: part["tokens"],
        store.SENTENCE_OFFSETS: part["sentences"] + 1,
        store.DOCUMENT_OFFSETS: part["documents"] + 1,
    }
    for name, count in expected.items():
        there = part["arrays"][name]["shape"][0]
        if there != count:
            yield (
                f"{path}/{name}: the manifest gives it {there:,} elements, but {count:,} by the "
                "counts of its split"
            )


def _content(
    array: Any,
    name: str,
    about: dict[str, Any],
    part: dict[str, Any],
    vocab_size: int,
    advance: Callable[[int], None],
) -> str | None:
    """What is wrong with the values of an array whose chunks are intact."""
    digest = hashlib.sha256()
    previous, largest = -1, 0
    falls = False
    for start in range(0, array.length, _BLOCK):
        count = min(_BLOCK, array.length - start)
        values = array.read_ranges(np.array([start]), np.array([count]))
        digest.update(values)
        advance(values.nbytes)
        largest = max(largest, int(values.max()))
        if name in (store.SENTENCE_OFFSETS, store.DOCUMENT_OFFSETS):
            falls |= int(values[0]) <= previous or bool((np.diff(values) <= 0).any())
            previous = int(values[-1])
    if digest.hexdigest() != about["sha256"]:
        return "it is intact, but not the array of the manifest (SHA-256 differs)"
    ends = {store.SENTENCE_OFFSETS: part["tokens"], store.DOCUMENT_OFFSETS: part["sentences"]}
    if falls or previous != ends.get(name, previous):
        return "its offsets do not rise to the end of what they divide"
    if name == store.TOKENS and largest >= vocab_size:
        return f"it has the id {largest}, beyond a vocabulary of {vocab_size}"
    return None
