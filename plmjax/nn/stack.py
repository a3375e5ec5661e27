"""A stack of equal blocks: scanned, so that compile time does not grow with depth."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.nn.attention import Visible
from plmjax.parallel.rules import LAYERS

REMAT_POLICIES = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
"""What the backward pass keeps of each layer: everything, its input only, or also the results of
matrix products with weights."""


class Stack(nn.Module):
    """`num_layers` blocks in a row.

    With `scan` their parameters are stacked on a leading axis named LAYERS; without, each block
    has a subtree of its own, `layer_0`, `layer_1`, ... (the same mathematics, and what tests
    compare the scan with). Dropout is drawn independently for each layer either way.

    With `groups` (ALBERT) layers share parameters: layer i has those of group
    floor(i * groups / num_layers), whose subtrees are `group_0`, `group_1`, ...
    """

    make_block: Callable[..., nn.Module]
    num_layers: int
    scan: bool
    remat: str
    groups: int = 0

    @nn.compact
    def __call__(
        self, x_BLD: jax.Array, visible: Visible, train: bool, all_hidden: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        """Runs the layers.

        Args:
          x_BLD: float, the embeddings.
          visible: which keys may be attended to.
          train: whether dropout is on.
          all_hidden: whether to return every layer's output too.

        Returns:
          The last layer's output [B, L, D], and None or all outputs [N, B, L, D].
        """

        def body(block: nn.Module, x_BLD: jax.Array):
            x_BLD = block(x_BLD, visible, train)
            return x_BLD, (x_BLD if all_hidden else None)

        if self.remat != "none":
            # A scan body is compiled once anyway, so common subexpressions cannot undo the remat.
            body = nn.remat(body, policy=REMAT_POLICIES[self.remat], prevent_cse=not self.scan)
        if self.groups:
            return self._shared(body, x_BLD, all_hidden)
        if self.scan:
            scanned = nn.scan(
                body,
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                length=self.num_layers,
                metadata_params={nn.PARTITION_NAME: LAYERS},
            )
            return scanned(self.make_block(name="layers"), x_BLD)
        outputs = []
        for index in range(self.num_layers):
            x_BLD, output = body(self.make_block(name=f"layer_{index}"), x_BLD)
            outputs.append(output)
        return x_BLD, (jnp.stack(outputs) if all_hidden else None)

    def _shared(
        self, body: Callable, x_BLD: jax.Array, all_hidden: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        """The same with parameters that layers share."""
        of_layers = [number * self.groups // self.num_layers for number in range(self.num_layers)]
        outputs = []
        for group in range(self.groups):
            block, length = self.make_block(name=f"group_{group}"), of_layers.count(group)
            if self.scan:
                scanned = nn.scan(
                    body,
                    variable_broadcast="params",
                    split_rngs={"params": False, "dropout": True},
                    length=length,
                )
                x_BLD, output_NBLD = scanned(block, x_BLD)
                outputs.append(output_NBLD)
                continue
            for _ in range(length):
                x_BLD, output = body(block, x_BLD)
                outputs.append(output[None] if all_hidden else None)
        return x_BLD, (jnp.concatenate(outputs) if all_hidden else None)
