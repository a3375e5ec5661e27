"""A run's folder: what it was started with, and whether another start continues it."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from plmjax.errors import UserError

MAY_CHANGE = (
    *("checkpoint.", "corpus.cache_dir", "data.prefetch", "guard.", "mesh.", "sharding."),
    *("model.attention_implementation", "model.sequence_attention"),
    *("train.accumulate", "train.profile_steps", "train.stall_seconds"),
)
"""Settings that do not change the mathematics; a run may go on with other values. Those of the
guard do, once there is a bad update: a run that has ended at one goes on with another policy."""

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers"),
    *("tensorflow-cpu", "tensorflow", "tensorstore", "ml-collections"),
)


class Workdir:
    """The folder of one run: `run.json`, `metrics.jsonl`, `checkpoints/`, `events/`, ..."""

    def __init__(self, path: epath.PathLike, given_as: str = "--workdir"):
        """Names the folder; nothing is created before `begin`.

        Args:
          path: may be relative, or begin with ~; `self.path` does neither.
          given_as: what the user set to `path`, for messages.

        Raises:
          UserError: for an empty path.
        """
        if not os.fspath(path):
            raise UserError(f"{given_as}= is empty; name a folder")
        self.name = f"{given_as}={os.fspath(path)}"
        self.path = absolute(path)
        self.run_file = self.path / "run.json"

    def stored(self) -> dict[str, Any] | None:
        """`run.json` of the run that lives here, as `begin` wrote it; None if there is none.

        Raises:
          UserError: if the folder holds something else, or `run.json` cannot be read.
        """
        if not self.run_file.exists():
            # A kill in the middle of the first `begin` leaves the unfinished file.
            strangers = {path.name for path in self._inside()} - {_unfinished(self.run_file).name}
            if strangers:
                raise UserError(
                    f"{self.name} has {min(strangers)} in it and no run.json, so it is not the"
                    " folder of a run; name another or empty it"
                )
            return None
        try:
            run = json.loads(self.run_file.read_text())
            kinds = {"config": dict, "corpus": dict, "parameters": int}
            kinds |= {"rewinds": list, "starts": list}
            run = {"rewinds": [], **run}  # older versions did not write them
            wrong = [key for key, kind in kinds.items() if not isinstance(run[key], kind)]
        except (ValueError, KeyError, TypeError) as error:
            wrong = [f"{type(error).__name__}: {error}"]
        if wrong:
            raise UserError(
                f"{self.run_file} is not the record of a run ({wrong[0]}); put it back, or name"
                " another folder"
            )
        return run

    def stored_config(self) -> dict[str, Any] | None:
        """The config of the run that lives here; None if there is none. Raises as `stored`."""
        run = self.stored()
        return run and run["config"]

    def check_writable(self) -> None:
        """Raises a UserError if it can be seen beforehand that a local folder cannot be written."""
        if "://" in str(self.path):
            return
        folder = pathlib.Path(self.path)
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise UserError(f"{self.name}: {folder} is a file; name a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{self.name}: no permission to write in {folder}; name another folder")

    def check_same_run(
        self,
        config: Mapping[str, Any],
        corpus: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuses to mix two runs in one folder.

        Args:
          config: of the run that is to begin.
          corpus: its corpus, if it is known, with `digest` as `begin` takes it.
          defaults: of settings that the run that lives here may be too old to have; they leave
            everything as it was.

        Raises:
          UserError: with the settings in which it differs from the run that lives here.
        """
        run = self.stored()
        if run is None:
            return
        added = flatten(json.loads(json.dumps(defaults or {})))
        theirs, ours = flatten(run["config"]), flatten(json.loads(json.dumps(config)))
        theirs |= {key: value for key, value in added.items() if key in ours.keys() - theirs}
        if corpus:
            theirs["the corpus"] = str(run["corpus"].get("digest"))[:12]
            ours["the corpus"] = corpus["digest"][:12]
        changed = [
            f"{key} was {theirs.get(key)!r}, is {ours.get(key)!r}"
            for key in sorted(theirs | ours)
            if theirs.get(key) != ours.get(key) and not key.startswith(MAY_CHANGE)
        ]
        if changed:
            raise UserError(
                f"{self.name} holds another run: {'; '.join(changed)}."
                " Name another --workdir, or set these back to resume it"
            )

    def begin(self, config: Mapping[str, Any], corpus: Mapping[str, str], parameters: int) -> None:
        """Writes `run.json` at the first start, and adds the start to it at later ones.

        Args:
          config: all settings, resolved.
          corpus: `digest` of all it holds, `vocabulary`, the digest of its tokenizer, and `path`.
          parameters: how many the model has.
        """
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
        starts = (self.stored() or {"starts": []})["starts"]
        run = {"config": config, "corpus": corpus, "parameters": parameters}
        run |= {"rewinds": self.rewinds()}
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.run_file, json.dumps({**run, "starts": [*starts, start]}, indent=1) + "\n")

    def rewinds(self) -> list[dict[str, Any]]:
        """What `add_rewind` was given since the run began, in order."""
        return (self.stored() or {"rewinds": []})["rewinds"]

    def add_rewind(self, rewind: Mapping[str, Any]) -> None:
        """Adds to `run.json` that the run goes back; its batches depend on it from now on."""
        run = self.stored()
        run["rewinds"].append(dict(rewind))
        write_whole(self.run_file, json.dumps(run, indent=1) + "\n")

    def _inside(self) -> list[epath.Path]:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.name} is a file; name a folder")
        return list(self.path.iterdir()) if self.path.exists() else []


def write_whole(path: epath.Path, text: str) -> None:
    """Replaces a file at once: whoever reads it sees the old text or the new one.

    On a local disk the new text is there when this returns, even if the machine fails after it.
    """
    beside = _unfinished(path)
    try:
        beside.write_text(text)
        _sync(beside)
        beside.replace(path)
        _sync(path.parent)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _sync(path: epath.Path) -> None:
    """Waits until a local file or folder is on the disk."""
    if "://" in str(path):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unfinished(path: epath.Path) -> epath.Path:
    return path.parent / f"{path.name}.new"


def absolute(path: epath.PathLike) -> epath.Path:
    """`path` from the root on, which Orbax insists on; ~ is the home, gs:// stays as it is."""
    if "://" in os.fspath(path):
        return epath.Path(path)
    return epath.Path(os.path.abspath(os.path.expanduser(path)))


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
