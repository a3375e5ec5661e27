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
from plmjax.models.seq2seq import Output
from plmjax.nn.blocks import Block
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout, layer_norm
from plmjax.nn.stack import Stack
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, POSITIONS, WIDTH, constrain


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
        train: bool,
        all_hidden: bool,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The last layer, and None or the embeddings and every layer.

        Args:
          x_BLD: float, `dtype`, the tokens' vectors.
          rows: int [L] or [B, L], of the position table.
          visible: which keys may be attended to.
          train: whether dropout is on; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
        """
        c = self.config
        init = named(bert_normal(c.initializer_range), POSITIONS, EMBED)
        table = self.param("position_embedding", init, (c.max_positions, c.hidden_size))
        x_BLD += table.astype(c.dtype)[rows]
        x_BLD = layer_norm(c.layer_norm_epsilon, c.dtype, "embedding_norm")(x_BLD)
        x_BLD = dropout(x_BLD, c.hidden_dropout, self, train)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)
        stack = Stack(Block, self.layers, c.scan, c.remat, name="stack")
        hidden_BLD, layers_NBLD = stack(x_BLD, visible, train, all_hidden)
        if all_hidden:
            layers_NBLD = jnp.concatenate([x_BLD[None], layers_NBLD])
        return hidden_BLD, layers_NBLD


class Bart(nn.Module):
    """Encoder and decoder; the head is the token table."""

    config: Config

    def setup(self):
        c = self.config
        self.token_table = TokenTable(
            c.vocab_size, c.hidden_size, c.vocab_multiple, c.initializer_range, c.dtype
        )
        self.encoder = Half(c, c.encoder_layers)
        self.decoder = Half(c, c.decoder_layers)

    def __call__(
        self,
        tokens_BS: jax.Array,
        source_mask_BS: jax.Array,
        decoder_tokens_BL: jax.Array,
        decoder_mask_BL: jax.Array,
        *,
        train: bool,
        all_hidden: bool = False,
        source_positions_BS: jax.Array | None = None,
        positions_BL: jax.Array | None = None,
        source_segment_ids_BS: jax.Array | None = None,
        segment_ids_BL: jax.Array | None = None,
    ) -> Output:
        """`encode`, then `decode` of all places at once; see there for the arguments."""
        source_BSD, all_source_NBSD = self.encode(
            tokens_BS,
            source_mask_BS,
            train=train,
            all_hidden=all_hidden,
            positions_BS=source_positions_BS,
            segment_ids_BS=source_segment_ids_BS,
        )
        hidden_BLD, all_hidden_NBLD = self.decode(
            decoder_tokens_BL,
            decoder_mask_BL,
            source_BSD,
            source_mask_BS,
            train=train,
            all_hidden=all_hidden,
            positions_BL=positions_BL,
            source_segment_ids_BS=source_segment_ids_BS,
            segment_ids_BL=segment_ids_BL,
        )
        return Output(hidden_BLD, source_BSD, all_hidden_NBLD, all_source_NBSD)

    def encode(
        self,
        tokens_BS: jax.Array,
        source_mask_BS: jax.Array,
        *,
        train: bool,
        all_hidden: bool = False,
        positions_BS: jax.Array | None = None,
        segment_ids_BS: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Encodes the source.

        Args:
          tokens_BS: int ids in [0, vocab_size).
          source_mask_BS: int, 1 for real tokens, 0 for padding.
          train: whether dropout is on; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
          positions_BS: int from 0; the places 0, 1, 2, ... where None, as in Hugging Face's code.
            fairseq counts real tokens only, which differs where padding stands in front.
          segment_ids_BS: int; tokens attend only to those with the same number. None for one text.

        Returns:
          float [B, S, D], `dtype`, and None or [N, B, S, D] as in `Output`.
        """
        visible = Visible(source_mask_BS, segment_ids_BS)
        rows = self._rows(visible, tokens_BS, positions_BS)
        return self.encoder(self._looked_up(tokens_BS), rows, visible, train, all_hidden)

    def decode(
        self,
        decoder_tokens_BL: jax.Array,
        decoder_mask_BL: jax.Array,
        source_BSD: jax.Array | None,
        source_mask_BS: jax.Array,
        *,
        train: bool,
        all_hidden: bool = False,
        positions_BL: jax.Array | None = None,
        source_segment_ids_BS: jax.Array | None = None,
        segment_ids_BL: jax.Array | None = None,
        start: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Decodes; each place sees itself, those before it, and the whole source.

        With `start` the tokens are the places `start` to start + L - 1 of M, and what earlier calls
        left of the others is read from the collection `cache`: apply with `mutable=["cache"]` and
        hand the cache that comes back to the next call. The first call has the source.

        Args:
          decoder_tokens_BL: int ids in [0, vocab_size): the target one place to the right.
          decoder_mask_BL: int, 1 for real tokens, 0 for padding; of all M places with `start`.
          source_BSD: what `encode` returned; None where a cache has it.
          source_mask_BS: as for `encode`.
          train, all_hidden: as for `encode`.
          positions_BL: as `positions_BS` of `encode`.
          source_segment_ids_BS, segment_ids_BL: int; tokens attend only to those with the same
            number, in the source too. Both or none, and none with `start`.
          start: int scalar.

        Returns:
          float [B, L, D], `dtype`, and None or [N, B, L, D] as in `Output`.
        """
        visible = Visible(
            decoder_mask_BL,
            segment_ids_BL,
            causal=True,
            start=start,
            source_BSD=source_BSD,
            source_mask_BS=source_mask_BS,
            source_segments_BS=source_segment_ids_BS,
        )
        rows = self._rows(visible, decoder_tokens_BL, positions_BL)
        return self.decoder(self._looked_up(decoder_tokens_BL), rows, visible, train, all_hidden)

    def logits(self, hidden_BLD: jax.Array) -> jax.Array:
        """Scores of the next token at each place: float32 [B, L, V], V padded."""
        return self.token_table.logits(hidden_BLD)

    @nn.nowrap
    def forward_flops(self, rows: int, source_length: int, length: int) -> float:
        """Operations of matrix products in one forward pass over [rows, source_length] and
        [rows, length]; see `seq2seq.forward_flops` for what counts."""
        c = self.config
        layers = c.encoder_layers, c.decoder_layers
        return seq2seq.forward_flops(*layers, c.hidden_size, rows, source_length, length)

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
