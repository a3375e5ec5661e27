"""The Transformer block."""

from collections.abc import Callable

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
    """Attention and feed-forward, each with dropout, a residual sum and a layer norm.

    The norm comes after the sum, as in Attention Is All You Need and in BERT, or with `norm_first`
    before the layer, as in GPT-2.
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
        attention, mlp = SelfAttention(s, name="attention"), self._mlp
        x_BLD = self._added(x_BLD, lambda x: attention(x, visible, train), "attention_norm", train)
        return self._added(x_BLD, mlp, "mlp_norm", train)

    def _added(
        self, x_BLD: jax.Array, half: Callable[[jax.Array], jax.Array], norm: str, train: bool
    ) -> jax.Array:
        """The residual with what one half of the layer makes of it."""
        s = self.settings
        norm = layer_norm(s.layer_norm_epsilon, s.dtype, norm)
        made_BLD = half(norm(x_BLD) if s.norm_first else x_BLD)
        made_BLD = dropout(made_BLD, s.hidden_dropout, self, train)
        x_BLD = x_BLD + made_BLD if s.norm_first else norm(x_BLD + made_BLD)
        return constrain(x_BLD, BATCH, LENGTH, WIDTH)

    def _mlp(self, x_BLD: jax.Array) -> jax.Array:
        s, width = self.settings, x_BLD.shape[-1]
        init, out = bert_normal(s.initializer_range), bert_normal(s.residual_range)
        hidden_BLF = dense(s.mlp_size, (EMBED, MLP), (MLP,), init, s.dtype, "mlp_in")(x_BLD)
        hidden_BLF = ACTIVATIONS[s.activation](hidden_BLF)
        hidden_BLF = constrain(hidden_BLF, BATCH, LENGTH, MLP)
        return dense(width, (MLP, EMBED), (WIDTH,), out, s.dtype, "mlp_out")(hidden_BLF)
