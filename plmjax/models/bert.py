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
from plmjax.nn.layer_settings import LayerSettings
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
    """All there is to know of a BERT, and of the encoders that differ from it by values.

    vocab_size: V. The tables have V rounded up to `vocab_multiple` rows.
    max_positions: rows of the position table, the longest sequence; 0 for no table.
    first_position: the row of the first token; RoBERTa's is 2. With it positions count the tokens
      that are not padding, and padding has the row before.
    max_relative: R of NEZHA's relative positions, in place of a table; 0 for none.
    token_types, task_types: rows of these tables; 0 for no table.
    embedding_size: E, where embeddings are narrower and projected to D (ALBERT, ELECTRA); 0 for D.
    hidden_size: D; num_heads: H, must divide D; mlp_size: F.
    groups: how many groups of layers share their parameters (ALBERT); 0 for no sharing.
    pooler: whether there is a projection of the first position.
    activation: a name of `plmjax.nn.activations`.
    mask_value: what is added to the scores of padded keys.
    dtype: of matrix products and activations; parameters are float32 always.
    scan: whether layers are stacked and scanned. remat: a name of REMAT_POLICIES.
    """

    vocab_size: int = 30522
    max_positions: int = 512
    first_position: int = 0
    max_relative: int = 0
    token_types: int = 2
    task_types: int = 0
    embedding_size: int = 0
    num_layers: int = 12
    hidden_size: int = 768
    num_heads: int = 12
    mlp_size: int = 3072
    groups: int = 0
    pooler: bool = True
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
        if not 0 <= self.groups <= self.num_layers:
            raise UserError(
                f"config.model.groups={self.groups} is no number of groups of"
                f" {self.num_layers} layers; give 0 (none share) to {self.num_layers}"
            )
        choose(self.activation, ACTIVATIONS, "config.model.activation")
        choose(self.remat, REMAT_POLICIES, "config.model.remat")
        choose(self.dtype, {"float32": 0, "bfloat16": 0}, "config.model.dtype")

    @property
    def embedding_width(self) -> int:
        """E: the width of the embedding tables."""
        return self.embedding_size or self.hidden_size

    @property
    def longest(self) -> int:
        """The longest sequence; a large number where no table limits it."""
        return self.max_positions - self.first_position if self.max_positions else 1 << 30

    @property
    def layer(self) -> LayerSettings:
        """What each layer is."""
        return LayerSettings(
            num_heads=self.num_heads,
            head_size=self.hidden_size // self.num_heads,
            mlp_size=self.mlp_size,
            activation=self.activation,
            hidden_dropout=self.hidden_dropout,
            attention_dropout=self.attention_dropout,
            initializer_range=self.initializer_range,
            residual_range=self.initializer_range,
            norm_first=False,
            layer_norm_epsilon=self.layer_norm_epsilon,
            mask_value=self.mask_value,
            max_relative=self.max_relative,
            dtype=self.dtype,
        )


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

    hidden_BLD: the last layer. pooled_BD: tanh of a projection of the first position; None without.
    all_hidden_NBLD: None, or the embeddings and every layer's output, N = num_layers + 1.
    """

    hidden_BLD: jax.Array
    pooled_BD: jax.Array | None
    all_hidden_NBLD: jax.Array | None


class Bert(nn.Module):
    """The encoder, with its pooler where it has one."""

    config: Config

    def setup(self):
        c = self.config
        init, width = bert_normal(c.initializer_range), c.embedding_width
        self.token_table = TokenTable(
            c.vocab_size, width, c.vocab_multiple, c.initializer_range, c.dtype
        )

        def table(name: str, rows: int, axis: str) -> jax.Array | None:
            return self.param(name, named(init, axis, EMBED), (rows, width)) if rows else None

        self.position_table = table("position_embedding", c.max_positions, POSITIONS)
        self.type_table = table("type_embedding", c.token_types, TYPES)
        self.task_table = table("task_embedding", c.task_types, TYPES)
        self.embedding_norm = layer_norm(c.layer_norm_epsilon, c.dtype)
        if width != c.hidden_size:
            axes = (EMBED, WIDTH)
            self.embedding_projection = dense(c.hidden_size, axes, (WIDTH,), init, c.dtype)
        self.encoder = Stack(partial(Block, c.layer), c.num_layers, c.scan, c.remat, c.groups)
        if c.pooler:
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
        tasks_BL: jax.Array | None = None,
    ) -> Output:
        """Encodes a batch.

        Args:
          tokens_BL: int ids in [0, vocab_size).
          token_types_BL: int, 0 for the first segment and its separators, 1 for the second; not
            read with fewer than two types.
          attention_mask_BL: int, 1 for real tokens, 0 for padding.
          train: whether dropout is on; needs the rng `dropout`.
          all_hidden: whether to return every layer's output.
          positions_BL: int from 0; 0, 1, 2, ... where None.
          segment_ids_BL: int; tokens attend only to those with the same number. None for one text.
          tasks_BL: int, rows of the task table; 0 where None.
        """
        c = self.config
        x_BLE = self.token_table(tokens_BL)
        if self.type_table is not None:
            types = token_types_BL if c.token_types > 1 else jnp.zeros_like(tokens_BL)
            x_BLE += self.type_table.astype(c.dtype)[types]
        if self.position_table is not None:
            rows = self._position_rows(attention_mask_BL, positions_BL)
            x_BLE += self.position_table.astype(c.dtype)[rows]
        if self.task_table is not None:
            tasks = jnp.zeros_like(tokens_BL) if tasks_BL is None else tasks_BL
            x_BLE += self.task_table.astype(c.dtype)[tasks]
        x_BLD = dropout(self.embedding_norm(x_BLE), c.hidden_dropout, self, train)
        if c.embedding_width != c.hidden_size:
            x_BLD = self.embedding_projection(x_BLD)
        x_BLD = constrain(x_BLD, BATCH, LENGTH, WIDTH)
        visible = Visible(attention_mask_BL, segment_ids_BL)
        hidden_BLD, layers_NBLD = self.encoder(x_BLD, visible, train, all_hidden)
        if all_hidden:
            layers_NBLD = jnp.concatenate([x_BLD[None], layers_NBLD])
        pooled_BD = jnp.tanh(self.pooler(hidden_BLD[:, 0])) if c.pooler else None
        return Output(hidden_BLD, pooled_BD, layers_NBLD)

    def _position_rows(self, mask_BL: jax.Array, positions_BL: jax.Array | None) -> jax.Array:
        first = self.config.first_position
        if positions_BL is None and first:
            return jnp.cumsum(mask_BL, axis=1) * mask_BL + (first - 1)
        if positions_BL is None:
            return jnp.arange(mask_BL.shape[1])
        return positions_BL + first

    @nn.nowrap
    def forward_flops(self, rows: int, length: int) -> float:
        """Floating-point operations of matrix products in one forward pass over [rows, length].

        A multiply-add counts two. Every position attends to every position, padding included, so
        attention counts in full. Lookups, norms, softmax and activations do not count.
        """
        c = self.config
        tokens = rows * length
        projections = 4 * c.hidden_size**2 + 2 * c.hidden_size * c.mlp_size
        attention = (4 if c.max_relative else 2) * length * c.hidden_size
        embedding = tokens * c.embedding_size * c.hidden_size
        pooler = rows * c.hidden_size**2 * c.pooler
        return 2.0 * (tokens * c.num_layers * (projections + attention) + pooler + embedding)
