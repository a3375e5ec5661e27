"""The manifest of a token store: what is in it and how it was made, with checksums of all."""

import hashlib
import importlib.metadata
import json
import platform
from typing import Any

from etils import epath

from plmjax.errors import UserError

FORMAT = 2  # goes up with every change of what is stored
FILE = "manifest.json"
_REMEDY = "remove the folder and prepare the data again"


def write_manifest(folder: epath.Path, manifest: dict[str, Any]) -> None:
    """Writes it with its checksum, whole or not at all.

    Raises:
      OSError: where the disk is full or cannot be written.
    """
    manifest = {"format": FORMAT, "checksum": _checksum(manifest), **manifest}
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    partial.replace(folder / FILE)


def read_manifest(folder: epath.Path) -> dict[str, Any]:
    """What `write_manifest` was given.

    Raises:
      UserError: where there is none, or it is damaged or of another format.
    """
    path = folder / FILE
    if not folder.exists():
        raise UserError(
            f"there is no store at {folder}; check the path, or make one with "
            f"python -m plmjax.prepare --out={folder} --source=..."
        )
    try:
        manifest = json.loads(path.read_bytes().decode())
        made_as, checksum = manifest.pop("format"), manifest.pop("checksum", None)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{folder} is no complete prepared corpus ({path.name}: {type(error).__name__}: "
            f"{reason}); {_REMEDY}"
        ) from None
    if made_as != FORMAT:
        raise UserError(
            f"{folder} has format {made_as}, this version reads {FORMAT}; prepare the data again"
        )
    if checksum != _checksum(manifest):
        raise UserError(f"{path} is damaged: it fails its checksum; {_REMEDY}")
    return manifest


def sha256_of(path: epath.Path) -> str:
    """Hex digest of a small file.

    Raises:
      UserError: where it is missing.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"the token store lacks {path} ({error.strerror}); {_REMEDY}") from None


def digest_of_source(made: dict[str, Any]) -> str:
    """Hex digest of every array of a source."""
    splits = made["splits"].values()
    arrays = [array["sha256"] for split in splits for array in split["arrays"].values()]
    return hashlib.sha256("\0".join(arrays).encode()).hexdigest()


def digest_of_store(tokenizer_digest: str, sources: dict[str, Any]) -> str:
    """Hex digest of the tokenizer and of every array of every source."""
    parts = [tokenizer_digest]
    for name, made in sources.items():
        parts += [name, made["digest"]]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of what decides the bytes of a store."""
    packages = ("numpy", "tensorstore", "tokenizers")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found}


def _checksum(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
