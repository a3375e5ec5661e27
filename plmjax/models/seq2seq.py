"""What encoder-decoder families have in common."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax

from plmjax.errors import UserError
from plmjax.models.base import TransformerConfig
from plmjax.nn.layer_settings import LayerSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TransformerConfig):
    """The values of a family with two stacks; num_layers, num_heads and mlp_size are the encoder's.

    num_decoder_layers, num_decoder_heads, decoder_mlp_size: the decoder's; 0 for the encoder's.
    """

    num_decoder_layers: int = 0
    num_decoder_heads: int = 0
    decoder_mlp_size: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not self.head_size and self.hidden_size % (self.num_decoder_heads or 1):
            raise UserError(
                f"config.model.hidden_size={self.hidden_size} is not divisible by"
                f" config.model.num_decoder_heads={self.num_decoder_heads}"
            )

    @property
    def decoder_depth(self) -> int:
        """N of the decoder."""
        return self.num_decoder_layers or self.num_layers

    @property
    def decoder_heads(self) -> int:
        """H of the decoder, in its attention to itself and to the source."""
        return self.num_decoder_heads or self.num_heads

    @property
    def decoder_head_width(self) -> int:
        """K of the decoder."""
        return self.head_size or self.hidden_size // self.decoder_heads

    @property
    def decoder_mlp_width(self) -> int:
        """F of the decoder."""
        return self.decoder_mlp_size or self.mlp_size

    def decoder_layer(self, **fields: Any) -> LayerSettings:
        """`layer` with the decoder's values, which looks at the source too."""
        return self.layer(
            **{
                "num_heads": self.decoder_heads,
                "head_size": self.decoder_head_width,
                "mlp_size": self.decoder_mlp_width,
                "cross": True,
                **fields,
            }
        )


@flax.struct.dataclass
class Output:
    """What an encoder-decoder computes.

    hidden_BLD: the decoder's last layer, after its final norm where there is one.
    source_BSD: the same of the encoder, what the decoder looks at.
    all_hidden_NBLD, all_source_NBSD: None, or the embeddings and every layer's output of the
      decoder and of the encoder, N their number of layers + 1; the last is the one above.
    """

    hidden_BLD: jax.Array
    source_BSD: jax.Array
    all_hidden_NBLD: jax.Array | None = None
    all_source_NBSD: jax.Array | None = None


def forward_flops(
    encoder: Sequence[LayerSettings],
    decoder: Sequence[LayerSettings],
    width: int,
    rows: int,
    source_length: int,
    length: int,
) -> float:
    """Floating-point operations of matrix products in the layers, in one forward pass.

    A multiply-add counts two. Attention counts the pairs that the causal mask leaves, padding
    included. Lookups, norms, softmax, activations and the head do not count.

    Args:
      encoder, decoder: what each layer is.
      width: D.
      rows: B.
      source_length: S.
      length: L, of the decoder.
    """

    def of_layer(s: LayerSettings, tokens: int, pairs: float) -> float:
        inner = s.num_heads * s.head_size
        kernels = 4 * width * inner + (3 if s.gated else 2) * width * s.mlp_size
        return tokens * kernels + 2 * pairs * inner

    def of_cross(s: LayerSettings) -> float:
        inner = s.num_heads * s.head_size
        return 2 * inner * (width * (length + source_length) + length * source_length)

    causal = length * (length + 1) / 2
    total = sum(of_layer(s, source_length, source_length**2) for s in encoder)
    total += sum(of_layer(s, length, causal) + of_cross(s) for s in decoder)
    return 2.0 * rows * total
