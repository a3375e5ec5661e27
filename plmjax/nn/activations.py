"""Activation functions by the names that configs use."""

from collections.abc import Callable
from functools import partial

import jax


def _recomputed(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Keeps only the input for the backward pass.

    The intermediate results are as large as the input, the largest array of a layer, and cheaper
    to compute again than to write and read. Under a scan no barrier is needed to keep it so.
    """
    return jax.checkpoint(function, prevent_cse=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    # google-research/bert; Hugging Face calls it gelu_new
    "gelu_tanh": _recomputed(partial(jax.nn.gelu, approximate=True)),
    # erf: fairseq; Hugging Face calls it gelu
    "gelu": _recomputed(partial(jax.nn.gelu, approximate=False)),
    "relu": jax.nn.relu,
    "tanh": jax.numpy.tanh,
}
