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
from plmjax.parallel.rules import EMBED, VOCAB, WIDTH


class MaskedLMHead(nn.Module):
    """Dense, activation and layer norm, then the tied token table with a bias of its own.

    Without `bias` only the vocabulary has one (ModernBERT).
    Source: google-research/bert run_pretraining.py, get_masked_lm_output.
    """

    activation: str
    layer_norm_epsilon: float
    initializer_range: float
    dtype: DTypeLike
    bias: bool = True

    @nn.compact
    def __call__(self, x_BMD: jax.Array, token_table: TokenTable) -> jax.Array:
        """Logits of every token at each of M positions: float32 [B, M, V], V padded."""
        width, init = token_table.width, bert_normal(self.initializer_range)
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
        return token_table.logits(x_BMD, bias_V)
