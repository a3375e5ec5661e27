"""The feed-forward half of a layer."""

import flax.linen as nn
import jax

from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.dense import dense
from plmjax.nn.initializers import kernel_init
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, MLP, WIDTH, constrain
from plmjax.types import Train


class Mlp(nn.Module):
    """A projection to F, an activation, and a projection back.

    With `gated` the activated projection is multiplied by another that is linear (Shazeer 2020).
    """

    settings: LayerSettings

    @nn.compact
    def __call__(self, x_BLD: jax.Array, train: Train) -> jax.Array:
        """Float [B, L, D] to the same."""
        s, width = self.settings, x_BLD.shape[-1]

        def inner(name: str) -> jax.Array:
            init, axes = kernel_init(s, width), (EMBED, MLP)
            return dense(s.mlp_size, axes, (MLP,), init, s.dtype, name, s.bias)(x_BLD)

        hidden_BLF = ACTIVATIONS[s.activation](inner("in"))
        if s.gated:
            hidden_BLF = hidden_BLF * inner("gate")
        hidden_BLF = constrain(hidden_BLF, BATCH, LENGTH, MLP)
        hidden_BLF = dropout(hidden_BLF, s.mlp_dropout, self, train)
        out, axes = kernel_init(s, s.mlp_size, adds=True), (MLP, EMBED)
        return dense(width, axes, (WIDTH,), out, s.dtype, "out", s.bias)(hidden_BLF)
