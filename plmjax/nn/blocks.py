"""The Transformer block."""

from collections.abc import Callable

import flax.linen as nn
import jax

from plmjax.nn.attention import Attention
from plmjax.nn.efficient import kinds
from plmjax.nn.efficient.bigbird import BigBirdAttention
from plmjax.nn.efficient.fastformer import FastformerAttention
from plmjax.nn.efficient.linear import LinearAttention
from plmjax.nn.efficient.linformer import LinformerAttention
from plmjax.nn.efficient.longformer import LongformerAttention
from plmjax.nn.efficient.performer import PerformerAttention
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.mlp import Mlp
from plmjax.nn.norms import NORMS, dropout
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import BATCH, RESIDUAL_LENGTH, WIDTH, constrain
from plmjax.types import Train

ATTENTIONS: dict[type[kinds.Kind], type[Attention]] = {
    kinds.Full: Attention,
    kinds.Longformer: LongformerAttention,
    kinds.BigBird: BigBirdAttention,
    kinds.Linear: LinearAttention,
    kinds.Performer: PerformerAttention,
    kinds.Linformer: LinformerAttention,
    kinds.Fastformer: FastformerAttention,
}
"""The self-attention of each kind."""


class Block(nn.Module):
    """Attention and feed-forward, each with dropout, a residual sum and a norm.

    The norm comes after the sum, as in Attention Is All You Need and in BERT, or with `norm_first`
    before the layer, as in GPT-2. With `cross`, attention to the source stands between the two.
    """

    settings: LayerSettings

    @nn.compact
    def __call__(
        self, x_BLD: jax.Array, visible: Visible, train: Train, asks_BLD: jax.Array | None = None
    ) -> jax.Array:
        """One layer.

        Args:
          x_BLD: float, `dtype`.
          visible: which keys may be attended to.
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
          asks_BLD: what queries are made of, where it is not x_BLD (PanGu's query layer).

        Returns:
          float [B, L, D], `dtype`.
        """
        s = self.settings
        attention, mlp = ATTENTIONS[type(s.attention)](s, name="attention"), Mlp(s, name="mlp")
        norm = "attention_norm" if s.attention_norm else ""

        def attend(x_BLD: jax.Array) -> jax.Array:
            asks = x_BLD if asks_BLD is None else asks_BLD
            return attention(asks, visible, train, keys_BMD=x_BLD)

        x_BLD = self._added(x_BLD, attend, norm, train)
        if s.cross:
            cross = Attention(s, cross=True, name="cross")
            x_BLD = self._added(x_BLD, lambda x: cross(x, visible, train), "cross_norm", train)
        return self._added(x_BLD, lambda x: mlp(x, train), "mlp_norm", train)

    def _added(
        self, x_BLD: jax.Array, part: Callable[[jax.Array], jax.Array], name: str, train: Train
    ) -> jax.Array:
        """The residual with what one part of the layer makes of it."""
        s = self.settings
        norm = NORMS[s.norm](s.layer_norm_epsilon, s.dtype, name) if name else lambda x: x
        made_BLD = part(norm(x_BLD) if s.norm_first else x_BLD)
        made_BLD = dropout(made_BLD, s.hidden_dropout, self, train)
        x_BLD = x_BLD + made_BLD if s.norm_first else norm(x_BLD + made_BLD)
        return constrain(x_BLD, BATCH, RESIDUAL_LENGTH, WIDTH)
