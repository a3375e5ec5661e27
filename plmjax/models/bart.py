"""BART (Lewis et al. 2019), as in facebookresearch/fairseq fairseq/models/bart.

An encoder like BERT's and a decoder like GPT-1's that also looks at the encoder's last layer; one
token table for both and for the output. Its vocabulary is GPT-2's in fairseq's order.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.errors import UserError
from plmjax.models import seq2seq
from plmjax.nn.blocks import Block
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout, layer_norm
from plmjax.nn.stack import Stack
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import BATCH, EMBED, POSITIONS, RESIDUAL_LENGTH, WIDTH, constrain
from plmjax.types import Train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Config):
    """All there is to know of a BART.

    max_positions: rows of each of the two position tables. first_position: the row of the first
      token; fairseq has rows for padding before it, which nobody reads.
    mlp_dropout: of the feed-forward's inner layer; fairseq's code has none here and none of
      probabilities.
    scale_embedding: whether tokens' vectors are multiplied by the root of D (mBART).
    """

    vocab_size: int = 50265
    num_layers: int = 6
    activation: str = "gelu"
    attention_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    mask_value: float = -1e9
    max_positions: int = 1026
    first_position: int = 2
    mlp_dropout: float = 0.0
    scale_embedding: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.first_position < self.max_positions:
            raise UserError(
                f"config.model.max_positions={self.max_positions} leaves no place after the"
                f" config.model.first_position={self.first_position} rows before the first token"
            )

    @property
    def longest(self) -> int:
        """The longest sequence, of the source and of the target."""
        return self.max_positions - self.first_position

    @property
    def encoder_layers(self) -> tuple[LayerSettings, ...]:
        """What each layer of the encoder is."""
        return (self.layer(mlp_dropout=self.mlp_dropout),) * self.num_layers

    @property
    def decoder_layers(self) -> tuple[LayerSettings, ...]:
        """What each layer of the decoder is."""
        return (self.decoder_layer(mlp_dropout=self.mlp_dropout),) * self.decoder_depth


PRESETS = {
    "base": Config(),
    "large": Config(num_layers=12, hidden_size=1024, num_heads=16, mlp_size=4096),
}
"""The published sizes."""


class Half(nn.Module):
    """The encoder or the decoder: positions, a norm, and layers.

    Attributes:
      layers: what each layer is.
    """

    config: Config
    layers: tuple[LayerSettings, ...]

    @nn.compact
    def __call__(
        self,
        x_BLD: jax.Array,
        rows: jax.Array,
        visible: Visible,
        train: Train,
        all_hidden: bool,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The last layer, and None or the embeddings and every layer.

        Args:
          x_BLD: float, `dtype`, the tokens' vectors.
          rows: int [L] or [B, L], of the position table.
          visible: which keys may be attended to.
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
        """
        c = self.config
        init = named(bert_normal(c.initializer_range), POSITIONS, EMBED)
        table = self.param("position_embedding", init, (c.max_positions, c.hidden_size))
        x_BLD += table.astype(c.dtype)[rows]
        x_BLD = layer_norm(c.layer_norm_epsilon, c.dtype, "embedding_norm")(x_BLD)
        x_BLD = dropout(x_BLD, c.hidden_dropout, self, train)
        x_BLD = constrain(x_BLD, BATCH, RESIDUAL_LENGTH, WIDTH)
        stack = Stack(Block, self.layers, c.scan, c.remat, name="stack")
        hidden_BLD, layers_NBLD = stack(x_BLD, visible, train, all_hidden)
        if all_hidden:
            layers_NBLD = jnp.concatenate([x_BLD[None], layers_NBLD])
        return hidden_BLD, layers_NBLD


class Bart(seq2seq.EncoderDecoder):
    """Encoder and decoder; the head is the token table."""

    config: Config

    def setup(self):
        c = self.config
        self.token_table = TokenTable(
            c.vocab_size, c.hidden_size, c.vocab_multiple, c.initializer_range, c.dtype
        )
        self.encoder = Half(c, c.encoder_layers)
        self.decoder = Half(c, c.decoder_layers)

    def run(
        self,
        half: nn.Module,
        tokens_BL: jax.Array,
        visible: Visible,
        positions_BL: jax.Array | None,
        train: Train,
        all_hidden: bool,
    ) -> tuple[jax.Array, jax.Array | None]:
        """See `EncoderDecoder`.

        Places are counted with padding, as in Hugging Face's code. fairseq counts real tokens only,
        which differs where padding stands in front.
        """
        rows = self._rows(visible, tokens_BL, positions_BL)
        return half(self._looked_up(tokens_BL), rows, visible, train, all_hidden)

    def logits(self, hidden_BLD: jax.Array) -> jax.Array:
        """Scores of the next token at each place: float32 [B, L, V], V padded."""
        return self.token_table.logits(hidden_BLD)

    def _looked_up(self, tokens_BL: jax.Array) -> jax.Array:
        c = self.config
        x_BLD = self.token_table(tokens_BL)
        return x_BLD * c.hidden_size**0.5 if c.scale_embedding else x_BLD

    @nn.nowrap
    def _rows(
        self, visible: Visible, tokens_BL: jax.Array, positions_BL: jax.Array | None
    ) -> jax.Array:
        places = visible.query_places(tokens_BL.shape[1]) if positions_BL is None else positions_BL
        return places + self.config.first_position
