"""A run's folder: what it was started with, and whether another start continues it."""

import contextlib
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from plmjax.errors import UserError

MAY_CHANGE = ("checkpoint.", "corpus.cache_dir", "data.prefetch", "train.profile_steps")
"""Settings that change nothing of what is computed; a run may be continued with other values."""

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers"),
    *("tensorflow-cpu", "tensorflow", "tensorstore", "ml-collections"),
)


class Workdir:
    """The folder of one run: `run.json`, `metrics.jsonl`, `checkpoints/`, `events/`, ..."""

    def __init__(self, path: epath.PathLike):
        """Names the folder; nothing is created before `begin`."""
        self.path = epath.Path(path)
        self.run_file = self.path / "run.json"

    def stored_config(self) -> dict[str, Any] | None:
        """The config of the run that lives here; None if there is none.

        Raises:
          UserError: if the folder holds something else, or `run.json` cannot be read.
        """
        if not self.run_file.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise UserError(
                    f"--workdir={self.path} is not empty and has no run.json, so it is not the"
                    " folder of a run; name another or empty it"
                )
            return None
        try:
            return json.loads(self.run_file.read_text())["config"]
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{self.run_file} is not readable ({error}); name another --workdir"
            ) from None

    def check_same_run(self, config: Mapping[str, Any]) -> None:
        """Refuses to mix two runs in one folder.

        Raises:
          UserError: with the settings in which `config` differs from the run that lives here.
        """
        stored = self.stored_config()
        if stored is None:
            return
        theirs, ours = flatten(stored), flatten(json.loads(json.dumps(config)))
        changed = [
            f"{key} was {theirs.get(key)!r}, is {ours.get(key)!r}"
            for key in sorted(theirs | ours)
            if theirs.get(key) != ours.get(key) and not key.startswith(MAY_CHANGE)
        ]
        if changed:
            raise UserError(
                f"--workdir={self.path} holds another run: {'; '.join(changed)}."
                " Name another --workdir, or set these back to resume it"
            )

    def begin(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Writes `run.json` at the first start, and adds the start to it at later ones."""
        starts = []
        if self.run_file.exists():
            starts = json.loads(self.run_file.read_text())["starts"]
        start = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": " ".join(sys.argv),
            "git": git_revision(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "backend": jax.default_backend(),
            "processes": jax.process_count(),
            "python": sys.version.split()[0],
            "packages": package_versions(),
        }
        run = {"config": config, **facts, "starts": [*starts, start]}
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.run_file, json.dumps(run, indent=1) + "\n")


def write_whole(path: epath.Path, text: str) -> None:
    """Replaces a file at once: whoever reads it sees the old text or the new one."""
    beside = path.parent / f"{path.name}.new"
    beside.write_text(text)
    beside.replace(path)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what a run computes."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def git_revision() -> str:
    """The revision of the code, with `+changes` if it was edited; empty outside a repository."""
    folder = epath.Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True)
        return done.stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        return revision + "+changes" * bool(revision and git("status", "--porcelain", "-uno"))
    except OSError:
        return ""
