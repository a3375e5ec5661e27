"""GPT-1 (Radford et al. 2018), GPT-2 (2019) and the decoders of their shape.

Sources: openai/finetune-transformer-lm, openai/gpt-2, NVIDIA/Megatron-LM; sizes of CPM-1 from
TsinghuaAI/CPM-1-Pretrain.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.errors import UserError
from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.attention import Visible
from plmjax.nn.blocks import Block
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.norms import dropout, layer_norm
from plmjax.nn.stack import REMAT_POLICIES, Stack
from plmjax.parallel.rules import BATCH, EMBED, LENGTH, POSITIONS, WIDTH, constrain
from plmjax.settings import choose


@dataclasses.dataclass(frozen=True)
class Config:
    """All there is to know of a GPT.

    vocab_size: V. The table has V rounded up to `vocab_multiple` rows.
    max_positions: rows of the position table, the longest sequence.
    hidden_size: D; num_heads: H, must divide D; mlp_size: F.
    norm_first: GPT-2's order, with a norm at the end; GPT-1's norms follow the residual sums.
    activation: a name of `plmjax.nn.activations`.
    position_range: deviation of fresh positions. scale_residual: whether fresh kernels whose result
      is added to the residual are smaller by the root of their number, as GPT-2's paper says and
      its released code does not.
    mask_value: what is added to the scores of keys that may not be attended to.
    dtype: of matrix products and activations; parameters are float32 always.
    scan: whether layers are stacked and scanned. remat: a name of REMAT_POLICIES.
    """

    vocab_size: int = 50257
    max_positions: int = 1024
    num_layers: int = 12
    hidden_size: int = 768
    num_heads: int = 12
    mlp_size: int = 3072
    norm_first: bool = True
    activation: str = "gelu_tanh"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    position_range: float = 0.01
    scale_residual: bool = True
    mask_value: float = -1e10
    vocab_multiple: int = 128
    dtype: str = "float32"
    scan: bool = True
    remat: str = "none"

    def __post_init__(self):
        if self.hidden_size % self.num_heads:
            raise UserError(
                f"config.model.hidden_size={self.hidden_size} is not divisible by"
                f" config.model.num_heads={self.num_heads}"
            )
        choose(self.activation, ACTIVATIONS, "config.model.activation")
        choose(self.remat, REMAT_POLICIES, "config.model.remat")
        choose(self.dtype, {"float32": 0, "bfloat16": 0}, "config.model.dtype")

    @property
    def layer(self) -> LayerSettings:
        """What each layer is."""
        scale = (2 * self.num_layers) ** -0.5 if self.scale_residual else 1.0
        return LayerSettings(
            num_heads=self.num_heads,
            head_size=self.hidden_size // self.num_heads,
            mlp_size=self.mlp_size,
            activation=self.activation,
            hidden_dropout=self.hidden_dropout,
            attention_dropout=self.attention_dropout,
            initializer_range=self.initializer_range,
            residual_range=self.initializer_range * scale,
            norm_first=self.norm_first,
            layer_norm_epsilon=self.layer_norm_epsilon,
            mask_value=self.mask_value,
            max_relative=0,
            dtype=self.dtype,
        )


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
        self.decoder = Stack(partial(Block, c.layer), c.num_layers, c.scan, c.remat)
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
    ) -> Output:
        """Runs the layers; each place sees itself and those before it.

        Args:
          tokens_BL: int ids in [0, vocab_size).
          attention_mask_BL: int, 1 for real tokens, 0 for padding.
          train: whether dropout is on; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
          positions_BL: int from 0; 0, 1, 2, ... where None.
          segment_ids_BL: int; tokens attend only to those with the same number. None for one text.
        """
        c = self.config
        rows = jnp.arange(tokens_BL.shape[1]) if positions_BL is None else positions_BL
        x_BLD = self.token_table(tokens_BL) + self.position_table.astype(c.dtype)[rows]
        x_BLD = dropout(x_BLD, c.hidden_dropout, self, train)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)
        visible = Visible(attention_mask_BL, segment_ids_BL, causal=True)
        hidden_BLD, layers_NBLD = self.decoder(x_BLD, visible, train, all_hidden)
        if c.norm_first:
            hidden_BLD = self.final_norm(hidden_BLD)
        if all_hidden:
            layers_NBLD = jnp.concatenate([x_BLD[None], layers_NBLD[:-1], hidden_BLD[None]])
        return Output(hidden_BLD, layers_NBLD)

    def logits(self, hidden_BLD: jax.Array) -> jax.Array:
        """Scores of the next token at each place: float32 [B, L, V], V padded."""
        return self.token_table.logits(hidden_BLD)
