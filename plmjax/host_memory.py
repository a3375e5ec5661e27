"""How the host's allocator behaves under XLA on CPU."""

import ctypes
import importlib.util
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h
_NEVER = -1


def computes_on_cpu() -> bool:
    """Whether jax will compute on the CPU, as far as can be told before it is imported."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked:
        return asked.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))


def keep_freed_memory() -> None:
    """Lets glibc keep what a step frees, for the next step; does nothing on other systems.

    XLA on CPU allocates a step's buffers anew each time. By default glibc gives large ones back to
    the kernel, and the next step faults every page in again: a seventh of a small model's step, and
    a third where a buffer is larger than 64 MiB, which only the main arena holds. Threads that have
    allocated before this is called may have another arena for good.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_ARENA_MAX, 1)
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_TOP_PAD, 64 << 20)
