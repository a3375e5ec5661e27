"""Where compiled programs are kept from one process to the next."""

import hashlib
import os
import platform
import tempfile
from pathlib import Path

import jax

NOWHERE = "none"
GIB = 2**30


def default_folder() -> str:
    """`plmjax/compiled` in the user's folder of caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(caches, "plmjax", "compiled")


def keep_compiled(folder: str, most_bytes: int) -> str:
    """Turns jax's persistent compilation cache on; call it before anything is compiled.

    A program that took more than a second to compile is read when it is needed again, for as long
    as it is among those last used. Where nothing else is asked for and jax's own settings name a
    folder, such as JAX_COMPILATION_CACHE_DIR, they stay as they are.

    Args:
      folder: local, or one such as gs://bucket/folder; `none` keeps nothing; empty for
        `default_folder`.
      most_bytes: of all files; the longest unused are removed beyond it.

    Returns:
      Why nothing is kept, if that is not what was asked for; else nothing.
    """
    if folder == NOWHERE:
        jax.config.update("jax_enable_compilation_cache", False)
        return ""
    if not folder and jax.config.jax_compilation_cache_dir:
        return ""
    folder = os.path.expanduser(folder or default_folder())
    if "://" not in folder:
        try:
            folder = _usable(os.path.join(folder, machine()))
        except OSError as error:
            return f"compiled programs are not kept: cannot use {folder}: {error.strerror}"
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_max_size", most_bytes)
    return ""


def machine() -> str:
    """A name for machines whose processors understand the same instructions.

    XLA compiles for the processor that it finds, and a program from a home directory that several
    machines share may be one that another cannot run.
    """
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        about = platform.processor()
    # Of the first core; x86 has `flags`, Arm `Features`.
    first = about.partition("\n\n")[0].splitlines()
    wanted = [line for line in first if line.startswith(("model name", "flags", "Features"))]
    digest = hashlib.sha256("\n".join(wanted or first).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"


def _usable(folder: str) -> str:
    """The folder, made and written to.

    Raises:
      OSError: where that cannot be.
    """
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder
