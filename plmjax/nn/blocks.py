"""The Transformer block."""

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.attention import SelfAttention, Visible
from plmjax.nn.dense import dense
from plmjax.nn.initializers import bert_normal
from plmjax.nn.norms import dropout, layer_norm
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, MLP, WIDTH, constrain


class Block(nn.Module):
    """Attention and feed-forward, each followed by dropout, the residual sum and a layer norm.

    Post-norm, as published in Attention Is All You Need and in BERT.
    """

    num_heads: int
    head_size: int
    mlp_size: int
    activation: str
    hidden_dropout: float
    attention_dropout: float
    initializer_range: float
    layer_norm_epsilon: float
    mask_value: float
    dtype: DTypeLike

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
        attended_BLD = SelfAttention(
            num_heads=self.num_heads,
            head_size=self.head_size,
            dropout_rate=self.attention_dropout,
            initializer_range=self.initializer_range,
            mask_value=self.mask_value,
            dtype=self.dtype,
            name="attention",
        )(x_BLD, visible, train)
        attended_BLD = dropout(attended_BLD, self.hidden_dropout, self, train)
        x_BLD = self._norm("attention_norm")(x_BLD + attended_BLD)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)

        init, width = bert_normal(self.initializer_range), x_BLD.shape[-1]
        mlp_in = dense(self.mlp_size, (EMBED, MLP), (MLP,), init, self.dtype, "mlp_in")
        mlp_out = dense(width, (MLP, EMBED), (WIDTH,), init, self.dtype, "mlp_out")
        hidden_BLF = ACTIVATIONS[self.activation](mlp_in(x_BLD))
        hidden_BLD = mlp_out(constrain(hidden_BLF, BATCH, LENGTH, MLP))
        hidden_BLD = dropout(hidden_BLD, self.hidden_dropout, self, train)
        x_BLD = self._norm("mlp_norm")(x_BLD + hidden_BLD)
        return constrain(x_BLD, BATCH, LENGTH, WIDTH)

    def _norm(self, name: str) -> nn.LayerNorm:
        return layer_norm(self.layer_norm_epsilon, self.dtype, name)
