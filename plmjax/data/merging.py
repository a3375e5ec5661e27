"""From parts to the arrays of a store: duplicates out, then everything in corpus order."""

import collections
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from plmjax.data.formats import Unit
from plmjax.data.parts import read_counts, read_hashes, read_part
from plmjax.data.store import SplitWriter
from plmjax.data.tokenising import Job

SPLITS = ("train", "held_out")
_BUCKET_BYTES = 64 << 20
_MOST_BUCKETS = 256
_RECORD = np.dtype([("hash", "<u8", 2), ("document", "<i8")])


def merge(
    job: Job,
    units: Sequence[Unit],
    vocab_size: int,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Writes the arrays of every source that has units.

    Args:
      job: whose parts are all there.
      units: of all sources, in corpus order.
      vocab_size: V.
      advance: is told of the raw bytes whose parts were merged.

    Returns:
      For each source its `splits` and `counts`, for the manifest.

    Raises:
      UserError: for a damaged part.
      OSError: where the disk is full or cannot be written.
    """
    with _dropped(job, units) as dropped:
        return {
            name: _merge_source(job, name, units, vocab_size, dropped, advance)
            for name in dict.fromkeys(unit.source for unit in units)
        }


def _merge_source(
    job: Job,
    name: str,
    units: Sequence[Unit],
    vocab_size: int,
    dropped: "_Dropped",
    advance: Callable[[int], None],
) -> dict[str, Any]:
    counts: collections.Counter = collections.Counter()
    writers = {split: SplitWriter(f"{job.store}/{name}/{split}", vocab_size) for split in SPLITS}
    for unit in units:
        if unit.source != name:
            continue
        path = job.part(unit)
        counts.update(read_counts(path))
        for block in read_part(path):
            keep_D = dropped.next_kept(len(block.held_out_D))
            counts["duplicates"] += int(np.count_nonzero(~keep_D))
            kept = block.only(keep_D)
            for number, split in enumerate(SPLITS):
                part = kept.only(kept.held_out_D == number)
                writers[split].add(
                    part.tokens_T,
                    part.flags_T,
                    part.sentence_lengths_S,
                    part.document_lengths_D,
                )
        advance(unit.size)
    counts = {key: count for key, count in sorted(counts.items()) if count}
    return {"counts": counts, "splits": {s: writer.finish() for s, writer in writers.items()}}


@dataclasses.dataclass
class _Dropped:
    """Which documents, in corpus order, repeat an earlier one; on disk, a byte each."""

    folder: str | None = None
    marks_D: np.ndarray | None = None
    given: int = 0

    def __enter__(self) -> "_Dropped":
        return self

    def __exit__(self, *_) -> None:
        self.marks_D = None
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def next_kept(self, count: int) -> np.ndarray:
        """Bool [count]: whether each of the next documents is kept."""
        begin, self.given = self.given, self.given + count
        if self.marks_D is None:
            return np.ones(count, bool)
        return self.marks_D[begin : self.given] == 0


def _dropped(job: Job, units: Sequence[Unit]) -> _Dropped:
    """Finds the duplicates: hashes go to buckets on disk, and one bucket at a time is sorted."""
    if job.cleaning.duplicates == "keep":
        return _Dropped()
    local = None if "://" in job.parts else job.parts
    folder = tempfile.mkdtemp(prefix="duplicates-", dir=local)
    try:
        paths = [job.part(unit) for unit in units]
        documents = sum(len(hashes) for path in paths for hashes in read_hashes(path))
        size = documents * _RECORD.itemsize
        buckets = min(_MOST_BUCKETS, size // _BUCKET_BYTES + 1)
        _fill_buckets(folder, paths, buckets)
        marks_D = np.memmap(f"{folder}/marks", np.uint8, "w+", shape=(max(1, documents),))
        for bucket in range(buckets):
            records = np.fromfile(f"{folder}/{bucket}", _RECORD)
            # Stable: of equal hashes the first in corpus order stays first.
            order = np.lexsort((records["hash"][:, 1], records["hash"][:, 0]))
            hashes = records["hash"][order]
            again = np.flatnonzero((hashes[1:] == hashes[:-1]).all(1)) + 1
            marks_D[records["document"][order[again]]] = 1
            os.remove(f"{folder}/{bucket}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _Dropped(folder, marks_D)


def _fill_buckets(folder: str, paths: Sequence[epath.Path], buckets: int) -> None:
    files = [open(f"{folder}/{bucket}", "wb") for bucket in range(buckets)]  # noqa: SIM115
    try:
        document = 0
        for path in paths:
            for hashes_D2 in read_hashes(path):
                records = np.empty(len(hashes_D2), _RECORD)
                records["hash"] = hashes_D2
                records["document"] = document + np.arange(len(hashes_D2))
                document += len(hashes_D2)
                bucket_D = hashes_D2[:, 1] % np.uint64(buckets)
                for bucket in np.unique(bucket_D).tolist():
                    records[bucket_D == bucket].tofile(files[bucket])
    finally:
        for file in files:
            file.close()
