"""Parameters as decoding reads them: once for every token."""

from typing import Any

import jax
import jax.numpy as jnp

from plmjax.nn.stack import unstacked

CAST = ("kernel", "embedding", "position_embedding", "query_embedding")
"""Parameters that layers cast to the dtype of activations before anything else."""


def prepared(params: Any, dtype: str, unroll: bool) -> Any:
    """Parameters of a model, in the dtype that is computed with, and layer by layer.

    The results are the same: what a step would cast and slice for each token is done once.

    Args:
      params: of the model.
      dtype: of its activations.
      unroll: whether layers that are stacked are taken apart.
    """

    def cast(path: Any, x: jax.Array) -> jax.Array:
        # What stays on the host would be sent to the device for each call.
        x = jnp.asarray(x)
        return x.astype(dtype) if path[-1].key in CAST else x

    params = jax.tree_util.tree_map_with_path(cast, params)
    return unstacked(params) if unroll else params
