"""The run that was never stopped, made once for all workers."""

import dataclasses
import fcntl
from pathlib import Path

import pytest

from tests.run import tiny, verb


@dataclasses.dataclass(frozen=True)
class Reference:
    """`config`: the flag that names the config file. `workdir`: of the finished run."""

    config: str
    workdir: Path
    out: str


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Reference:
    """A run of the tiny config from beginning to end, in one process."""
    base = tmp_path_factory.getbasetemp()
    # Under xdist each worker has a folder of its own in one that they share.
    folder = (base.parent if base.name.startswith("popen-") else base) / "reference"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = folder / "log"
        config = tiny.write_run(folder) if not log.exists() else f"--config={folder}/config.py"
        if not log.exists():
            ended = verb.forked(config, f"--workdir={folder}/workdir")
            assert ended.code == 0, ended.err
            log.write_text(ended.out)
    return Reference(config, folder / "workdir", log.read_text())
