"""What every test process needs to know before jax, TensorFlow or transformers is imported.

Plain assignments, so that processes started by tests inherit them.
"""

import os
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".cache" / "jax"

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # else libtpu asks a cloud's metadata server, and waits
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["HF_HUB_OFFLINE"] = "1"
# One compilation cache for all workers, the processes they start, and the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
