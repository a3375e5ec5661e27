"""BERT (Devlin et al. 2019), as in google-research/bert modeling.py."""

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
from plmjax.nn.dense import dense
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.norms import dropout, layer_norm
from plmjax.nn.stack import REMAT_POLICIES, Stack
from plmjax.parallel.rules import (
    BATCH,
    EMBED,
    LENGTH,
    POSITIONS,
    TYPES,
    WIDTH,
    constrain,
)
from plmjax.settings import choose


@dataclasses.dataclass(frozen=True)
class Config:
    """All there is to know of a BERT.

    vocab_size: V. The tables have V rounded up to `vocab_multiple` rows.
    max_positions: rows of the position table, the longest sequence.
    hidden_size: D; num_heads: H, must divide D; mlp_size: F.
    activation: a name of `plmjax.nn.activations`.
    mask_value: what is added to the scores of padded keys.
    dtype: of matrix products and activations; parameters are float32 always.
    scan: whether layers are stacked and scanned. remat: a name of REMAT_POLICIES.
    """

    vocab_size: int = 30522
    max_positions: int = 512
    token_types: int = 2
    num_layers: int = 12
    hidden_size: int = 768
    num_heads: int = 12
    mlp_size: int = 3072
    activation: str = "gelu_tanh"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    mask_value: float = -1e4
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


def _mini(num_layers: int, hidden_size: int) -> Config:
    return Config(
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        mlp_size=4 * hidden_size,
    )


PRESETS = {
    "tiny": _mini(2, 128),
    "mini": _mini(4, 256),
    "small": _mini(4, 512),
    "medium": _mini(8, 512),
    "base": _mini(12, 768),
    "large": _mini(24, 1024),
}
"""The released uncased sizes (google-research/bert README)."""


@flax.struct.dataclass
class Output:
    """What the encoder computes.

    hidden_BLD: the last layer. pooled_BD: tanh of a projection of the first position.
    all_hidden_NBLD: None, or the embeddings and every layer's output, N = num_layers + 1.
    """

    hidden_BLD: jax.Array
    pooled_BD: jax.Array
    all_hidden_NBLD: jax.Array | None


class Bert(nn.Module):
    """The encoder with its pooler."""

    config: Config

    def setup(self):
        c = self.config
        init = bert_normal(c.initializer_range)
        self.token_table = TokenTable(
            c.vocab_size, c.hidden_size, c.vocab_multiple, c.initializer_range, c.dtype
        )
        self.position_table = self.param(
            "position_embedding",
            named(init, POSITIONS, EMBED),
            (c.max_positions, c.hidden_size),
            jnp.float32,
        )
        self.type_table = self.param(
            "type_embedding", named(init, TYPES, EMBED), (c.token_types, c.hidden_size), jnp.float32
        )
        self.embedding_norm = layer_norm(c.layer_norm_epsilon, c.dtype)
        block = partial(
            Block,
            num_heads=c.num_heads,
            head_size=c.hidden_size // c.num_heads,
            mlp_size=c.mlp_size,
            activation=c.activation,
            hidden_dropout=c.hidden_dropout,
            attention_dropout=c.attention_dropout,
            initializer_range=c.initializer_range,
            layer_norm_epsilon=c.layer_norm_epsilon,
            mask_value=c.mask_value,
            dtype=c.dtype,
        )
        self.encoder = Stack(block, c.num_layers, c.scan, c.remat)
        self.pooler = dense(c.hidden_size, (EMBED, WIDTH), (WIDTH,), init, c.dtype)

    def __call__(
        self,
        tokens_BL: jax.Array,
        token_types_BL: jax.Array,
        attention_mask_BL: jax.Array,
        *,
        train: bool,
        all_hidden: bool = False,
        positions_BL: jax.Array | None = None,
        segment_ids_BL: jax.Array | None = None,
    ) -> Output:
        """Encodes a batch.

        Args:
          tokens_BL: int ids in [0, vocab_size).
          token_types_BL: int, 0 for the first segment and its separators, 1 for the second.
          attention_mask_BL: int, 1 for real tokens, 0 for padding.
          train: whether dropout is on; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
          positions_BL: int in [0, max_positions); 0, 1, 2, ... where None.
          segment_ids_BL: int; tokens attend only to those with the same number. None for one text.
        """
        c = self.config
        positions = jnp.arange(tokens_BL.shape[1]) if positions_BL is None else positions_BL
        x_BLD = (
            self.token_table(tokens_BL)
            + self.type_table.astype(c.dtype)[token_types_BL]
            + self.position_table.astype(c.dtype)[positions]
        )
        x_BLD = dropout(self.embedding_norm(x_BLD), c.hidden_dropout, self, train)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)
        visible = Visible(attention_mask_BL, segment_ids_BL)
        hidden_BLD, layers_NBLD = self.encoder(x_BLD, visible, train, all_hidden)
        if all_hidden:
            layers_NBLD = jnp.concatenate([x_BLD[None], layers_NBLD])
        pooled_BD = jnp.tanh(self.pooler(hidden_BLD[:, 0]))
        return Output(hidden_BLD, pooled_BD, layers_NBLD)

    @nn.nowrap
    def forward_flops(self, rows: int, length: int) -> float:
        """Floating-point operations of matrix products in one forward pass over [rows, length].

        A multiply-add counts two. Every position attends to every position, padding included, so
        attention counts in full. Lookups, norms, softmax and activations do not count.
        """
        c = self.config
        tokens = rows * length
        projections = 4 * c.hidden_size**2 + 2 * c.hidden_size * c.mlp_size
        attention = 2 * length * c.hidden_size
        pooler = rows * c.hidden_size**2
        return 2.0 * (tokens * c.num_layers * (projections + attention) + pooler)
