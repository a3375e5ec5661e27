"""Where metrics go: `metrics.jsonl` and TensorBoard events."""

import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from plmjax.train.workdir import write_whole

FILE = "metrics.jsonl"


class MetricsWriter:
    """Appends records to `metrics.jsonl` and to event files under `events/`.

    A resumed run goes on from its checkpoint: records of later steps, and a line that was cut off
    in the middle, are dropped first, so that the file has each step once.
    """

    def __init__(self, workdir: epath.PathLike, step: int):
        """Opens the files to go on after `step`, 0 for a fresh run."""
        self._path = epath.Path(workdir) / FILE
        records = [record for record in read_records(self._path) if record["step"] <= step]
        self._lines = [json.dumps(record) for record in records]
        # Object stores cannot append; there the file is written anew at each flush.
        self._remote = "://" in str(workdir)
        write_whole(self._path, "".join(line + "\n" for line in self._lines))
        self._file = None if self._remote else open(os.fspath(self._path), "a")  # noqa: SIM115
        self._events = EventFileWriter(os.fspath(epath.Path(workdir) / "events"))
        # Tells TensorBoard to forget what an interrupted start logged beyond this step.
        start = SessionLog(status=SessionLog.START)
        self._events.add_event(Event(step=step + 1, session_log=start))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one record.

        Args:
          step: how many updates were made.
          values: name -> number; the part before the first `/` groups curves in TensorBoard.
        """
        line = json.dumps({"step": step, **values})
        if self._file:
            self._file.write(line + "\n")
            self._file.flush()
        else:
            self._lines.append(line)
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._events.add_event(Event(step=step, summary=Summary(value=scalars)))

    def flush(self) -> None:
        """Returns when all records are in the files."""
        if self._remote:
            write_whole(self._path, "".join(line + "\n" for line in self._lines))
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        self.flush()
        if self._file:
            self._file.close()
        self._events.close()


class NoWriter:
    """Stands for MetricsWriter in processes whose records another one writes."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def flush(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read_records(path: epath.PathLike) -> list[dict[str, Any]]:
    """The complete records of a `metrics.jsonl`, in order; none if there is no file."""
    path = epath.Path(path)
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # cut off by a kill in the middle of a write
    return records
