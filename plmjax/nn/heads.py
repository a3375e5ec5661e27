"""Heads that families share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.dense import dense
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.norms import layer_norm
from plmjax.parallel.rules import EMBED, TYPES, VOCAB, WIDTH


class MaskedLMHead(nn.Module):
    """Dense, activation and layer norm, then the tied token table with a bias of its own.

    Source: google-research/bert run_pretraining.py, get_masked_lm_output. Without `transform` there
    is only the table and its bias (XLM). With `extra_width` hidden states are that much wider than
    the token table, and the rest is scored by a second table (MobileBERT). Without `bias` only the
    vocabulary has one (ModernBERT).
    """

    activation: str
    layer_norm_epsilon: float
    initializer_range: float
    dtype: DTypeLike
    transform: bool = True
    extra_width: int = 0
    bias: bool = True

    @nn.compact
    def __call__(self, x_BMD: jax.Array, token_table: TokenTable) -> jax.Array:
        """Logits of every token at each of M positions: float32 [B, M, V], V padded."""
        if self.transform:
            width = token_table.width + self.extra_width
            init = bert_normal(self.initializer_range)
            axes = (EMBED, WIDTH)
            x_BMD = dense(width, axes, (WIDTH,), init, self.dtype, "dense", self.bias)(x_BMD)
            x_BMD = ACTIVATIONS[self.activation](x_BMD)
            x_BMD = layer_norm(self.layer_norm_epsilon, self.dtype, "norm", self.bias)(x_BMD)
        bias_V = self.param(
            "output_bias",
            named(nn.initializers.zeros, VOCAB),
            (token_table.rows,),
            jnp.float32,
        )
        if not self.extra_width:
            return token_table.logits(x_BMD, bias_V)
        x_BME, rest_BMD = jnp.split(x_BMD, [token_table.width], axis=-1)
        extra_table = TokenTable(
            token_table.vocab_size,
            self.extra_width,
            token_table.multiple,
            self.initializer_range,
            self.dtype,
            name="extra_table",
        )
        return token_table.logits(x_BME, bias_V) + extra_table.logits(rest_BMD)


class DiscriminatorHead(nn.Module):
    """Whether each token is a replaced one: dense and activation without a norm, then one number.

    Source: google-research/electra run_pretraining.py, _get_discriminator_output.
    """

    activation: str
    initializer_range: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Logits that tokens are replaced: float32 [B, L]."""
        width, init = x_BLD.shape[-1], bert_normal(self.initializer_range)
        x_BLD = dense(width, (EMBED, WIDTH), (WIDTH,), init, self.dtype, "dense")(x_BLD)
        x_BLD = ACTIVATIONS[self.activation](x_BLD)
        # Its TensorFlow code names no initialiser here, which makes it this one.
        glorot = nn.initializers.glorot_uniform()
        x_BL1 = dense(1, (EMBED, TYPES), (TYPES,), glorot, self.dtype, "score")(x_BLD)
        return x_BL1[:, :, 0].astype(jnp.float32)
