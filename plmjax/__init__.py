"""plmjax: pretraining language models in JAX, TPU first."""

import sys

from plmjax.host_memory import computes_on_cpu, keep_freed_memory

__version__ = "0.1.0"

# `python -m plmjax.VERB`, and nothing else has been imported: numpy and jax start threads that get
# arenas of their own. A library leaves the allocator of the process it is imported by alone.
if sys.argv[:1] == ["-m"] and computes_on_cpu():
    keep_freed_memory()
