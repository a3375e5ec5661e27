"""TensorFlow as a host library: imported late, and kept off the accelerators."""

import functools
import os
from types import ModuleType


@functools.cache
def tensorflow() -> ModuleType:
    """The tensorflow module, with every GPU hidden from it: they belong to JAX.

    Imported on the first call, because the import takes seconds and a program that reads no data
    does not need it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # of no use here, and it prints a notice
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    return tf
