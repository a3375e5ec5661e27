"""The Transformer block."""

import flax.linen as nn
import jax

from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.attention import SelfAttention, Visible
from plmjax.nn.dense import dense
from plmjax.nn.initializers import bert_normal
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout, layer_norm
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, MLP, WIDTH, constrain


class Block(nn.Module):
    """Attention and feed-forward, each followed by dropout, the residual sum and a layer norm.

    Post-norm, as published in Attention Is All You Need and in BERT.
    """

    settings: LayerSettings

    @nn.compact
    def __call__(self, x_BLD: jax.Array, visible: Visible, train: bool) -> jax.Array:
        """One layer.

        Args:
          x_BLD: float, `dtype`.
          visible: which keys may be attended to.
          train: whether dropout is on; needs the rng `dropout`.

        Returns:
          float [B, L, D], `dtype`.
        """
        s = self.settings
        attended_BLD = SelfAttention(s, name="attention")(x_BLD, visible, train)
        attended_BLD = dropout(attended_BLD, s.hidden_dropout, self, train)
        x_BLD = self._norm("attention_norm")(x_BLD + attended_BLD)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)

        init, width = bert_normal(s.initializer_range), x_BLD.shape[-1]
        mlp_in = dense(s.mlp_size, (EMBED, MLP), (MLP,), init, s.dtype, "mlp_in")
        mlp_out = dense(width, (MLP, EMBED), (WIDTH,), init, s.dtype, "mlp_out")
        hidden_BLF = ACTIVATIONS[s.activation](mlp_in(x_BLD))
        hidden_BLD = mlp_out(constrain(hidden_BLF, BATCH, LENGTH, MLP))
        hidden_BLD = dropout(hidden_BLD, s.hidden_dropout, self, train)
        x_BLD = self._norm("mlp_norm")(x_BLD + hidden_BLD)
        return constrain(x_BLD, BATCH, LENGTH, WIDTH)

    def _norm(self, name: str) -> nn.LayerNorm:
        return layer_norm(self.settings.layer_norm_epsilon, self.settings.dtype, name)
