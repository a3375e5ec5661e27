"""What the processes of a run settle between them before the first step."""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jaxlib

from plmjax import experiment
from plmjax.data.preparation import PreparedCorpus
from plmjax.errors import UserError
from plmjax.evals.report import Report
from plmjax.experiment import Settings
from plmjax.parallel.processes import CONNECT_SECONDS, Group
from plmjax.train.checkpoints import Checkpoints
from plmjax.train.workdir import Workdir, flatten

PREPARATION_SECONDS = 24 * 3600.0
"""How long the others wait while one process prepares the corpus or reads a checkpoint through."""

MAY_DIFFER = ("corpus.cache_dir", "corpus.store")
"""Where a process finds the corpus; that its content is the same is checked by digest."""

_VISIBLE_SECONDS = 60.0  # a network file system may show a file late


def check_same_start(group: Group, settings: Settings, workdir: str) -> None:
    """Raises a UserError in every process where one has another config, code or jax."""
    if group.size == 1:
        return
    given = flatten(dataclasses.asdict(settings))
    record = {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "the digest of plmjax's code": code_digest(),
        "--workdir": workdir,
        **{f"config.{key}": value for key, value in given.items() if key not in MAY_DIFFER},
    }
    group.check_same("start", record, CONNECT_SECONDS)


def check_same_resolved(group: Group, settings: Settings, corpus: PreparedCorpus) -> None:
    """The same for what became of them: another machine may have another corpus, or dtype."""
    if group.size == 1:
        return
    resolved = {key: settings.model[key] for key in ("vocab_size", "dtype")}
    record = {f"config.model.{key}": value for key, value in resolved.items()}
    record["the corpus's digest"] = corpus.digest[:12]
    group.check_same("resolved", record, CONNECT_SECONDS)


def code_digest() -> str:
    """Of every source file of the package, as it is on this machine."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def open_corpus(group: Group, settings: Settings) -> PreparedCorpus:
    """Prepares the corpus once on each machine, or once in all where they share a disk."""
    if group.size == 1:
        return experiment.open_corpus(settings)
    mine, corpus = group.turn(), None
    for turn in range(3):
        if turn == mine:
            corpus = experiment.open_corpus(settings, quiet=not group.first)
        group.gather(f"corpus/{turn}", "", PREPARATION_SECONDS, "the preparation of the corpus")
    return corpus


def standing(
    group: Group, checkpoints: Checkpoints, work: Workdir, steps: int
) -> tuple[int | None, bool]:
    """The newest intact checkpoint, as rank 0 finds it, and whether the run is complete."""

    def look() -> tuple[int | None, bool]:
        newest, report = checkpoints.newest_intact(), Report.read(work.path)
        return newest, bool(report) and report.step == newest == steps

    what = "the checkpoints to be looked through"
    newest, complete = group.decided("standing", look, PREPARATION_SECONDS, what)
    return newest, complete


def begin_together(group: Group, work: Workdir, begin: Callable[[], Any]) -> None:
    """Lets rank 0 `begin` the run in its folder when all have found nothing wrong.

    Raises:
      UserError: where another process does not see that folder.
    """
    group.gather("checked", "", PREPARATION_SECONDS, "the beginning")
    group.decided("begun", begin, CONNECT_SECONDS, "run.json to be written")
    end = time.monotonic() + _VISIBLE_SECONDS
    while not work.run_file.exists():
        if time.monotonic() > end:
            raise UserError(
                f"{group.name(group.rank)} does not see {work.run_file}, which rank 0 has written;"
                " name a --workdir that all processes share"
            )
        time.sleep(0.5)
