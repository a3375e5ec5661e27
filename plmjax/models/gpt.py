"""GPT-1 (Radford et al. 2018), GPT-2 (2019) and the decoders of their shape.

Sources: openai/finetune-transformer-lm, openai/gpt-2, NVIDIA/Megatron-LM; sizes of CPM-1 from
TsinghuaAI/CPM-1-Pretrain.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.models.base import TransformerConfig
from plmjax.nn.blocks import Block
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout, layer_norm
from plmjax.nn.stack import Stack
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, POSITIONS, WIDTH, constrain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TransformerConfig):
    """All there is to know of a GPT.

    max_positions: rows of the position table, the longest sequence.
    norm_first: GPT-2's order, with a norm at the end; GPT-1's norms follow the residual sums.
    position_range: deviation of fresh positions. scale_residual: whether fresh kernels whose result
      is added to the residual are smaller by the root of their number, as GPT-2's paper says and
      its released code does not.
    """

    vocab_size: int = 50257
    max_positions: int = 1024
    norm_first: bool = True
    layer_norm_epsilon: float = 1e-5
    position_range: float = 0.01
    scale_residual: bool = True
    mask_value: float = -1e10

    @property
    def longest(self) -> int:
        """The longest sequence."""
        return self.max_positions

    @property
    def layers(self) -> tuple[LayerSettings, ...]:
        """What each layer is."""
        scale = (2 * self.num_layers) ** -0.5 if self.scale_residual else 1.0
        layer = self.layer(
            norm_first=self.norm_first, residual_range=self.initializer_range * scale
        )
        return (layer,) * self.num_layers


def _size(num_layers: int, hidden_size: int, num_heads: int, **fields) -> Config:
    shape = {"num_layers": num_layers, "hidden_size": hidden_size, "num_heads": num_heads}
    return Config(**shape, mlp_size=4 * hidden_size, **fields)


_GPT1 = {"norm_first": False, "position_range": 0.02, "scale_residual": False, "mask_value": -1e9}
_CPM = {"vocab_size": 30_000, "mask_value": -1e4}

PRESETS = {
    "gpt1": _size(12, 768, 12, vocab_size=40_478, max_positions=512, **_GPT1),
    "gpt2-small": _size(12, 768, 12),
    "gpt2-medium": _size(24, 1024, 16),
    "gpt2-large": _size(36, 1280, 20),
    "gpt2-xl": _size(48, 1600, 25),
    "cpm-small": _size(12, 768, 12, **_CPM),
    "cpm-medium": _size(24, 1024, 16, **_CPM),
    "cpm-large": _size(32, 2560, 32, **_CPM),
    "megatron-355m": _size(24, 1024, 16, vocab_size=51_200),
    "megatron-2.5b": _size(54, 1920, 20, vocab_size=51_200),
    "megatron-8.3b": _size(72, 3072, 24, vocab_size=51_200),
}
"""The published sizes."""


@flax.struct.dataclass
class Output:
    """What the decoder computes.

    hidden_BLD: the last layer, after the final norm where there is one.
    all_hidden_NBLD: None, or the embeddings and every layer's output, N = num_layers + 1; the last
      is hidden_BLD.
    """

    hidden_BLD: jax.Array
    all_hidden_NBLD: jax.Array | None


class Gpt(nn.Module):
    """The decoder; its head is the token table."""

    config: Config

    def setup(self):
        c = self.config
        self.token_table = TokenTable(
            c.vocab_size, c.hidden_size, c.vocab_multiple, c.initializer_range, c.dtype
        )
        init = named(bert_normal(c.position_range), POSITIONS, EMBED)
        shape = (c.max_positions, c.hidden_size)
        self.position_table = self.param("position_embedding", init, shape)
        self.decoder = Stack(Block, c.layers, c.scan, c.remat)
        if c.norm_first:
            self.final_norm = layer_norm(c.layer_norm_epsilon, c.dtype)

    def __call__(
        self,
        tokens_BL: jax.Array,
        attention_mask_BL: jax.Array,
        *,
        train: bool,
        all_hidden: bool = False,
        positions_BL: jax.Array | None = None,
        segment_ids_BL: jax.Array | None = None,
        start: jax.Array | None = None,
    ) -> Output:
        """Runs the layers; each place sees itself and those before it.

        With `start` the tokens are the places `start` to start + L - 1 of M, and what earlier calls
        left of the others is read from the collection `cache`: apply with `mutable=["cache"]` and
        hand the cache that comes back to the next call.

        Args:
          tokens_BL: int ids in [0, vocab_size).
          attention_mask_BL: int, 1 for real tokens, 0 for padding; of all M places with `start`.
          train: whether dropout is on; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
          positions_BL: int from 0; the places 0, 1, 2, ... where None.
          segment_ids_BL: int; tokens attend only to those with the same number. None for one text.
          start: int scalar.
        """
        c = self.config
        visible = Visible(attention_mask_BL, segment_ids_BL, causal=True, start=start)
        places_L = visible.query_places(tokens_BL.shape[1])
        rows = places_L if positions_BL is None else positions_BL
        x_BLD = self.token_table(tokens_BL) + self.position_table.astype(c.dtype)[rows]
        x_BLD = dropout(x_BLD, c.hidden_dropout, self, train)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)
        hidden_BLD, layers_NBLD = self.decoder(x_BLD, visible, train, all_hidden)
        if c.norm_first:
            hidden_BLD = self.final_norm(hidden_BLD)
        if all_hidden:
            layers_NBLD = jnp.concatenate([x_BLD[None], layers_NBLD[:-1], hidden_BLD[None]])
        return Output(hidden_BLD, layers_NBLD)

    def logits(self, hidden_BLD: jax.Array) -> jax.Array:
        """Scores of the next token at each place: float32 [B, L, V], V padded."""
        return self.token_table.logits(hidden_BLD)
