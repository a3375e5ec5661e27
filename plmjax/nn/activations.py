"""Activation functions by the names that configs use."""

from collections.abc import Callable
from functools import partial

import jax

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),  # google-research/bert; HF "gelu_new"
    "gelu": partial(jax.nn.gelu, approximate=False),  # erf: fairseq, HF "gelu"
    "relu": jax.nn.relu,
    "tanh": jax.numpy.tanh,
}
