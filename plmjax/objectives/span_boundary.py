"""SpanBERT's objective: masked language modelling, and spans from the tokens on both sides."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from plmjax.errors import UserError
from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.dense import dense
from plmjax.nn.embeddings import TokenTable
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.norms import layer_norm
from plmjax.objectives.bert_pretraining import BertPretraining, states_at
from plmjax.objectives.token_prediction import cross_entropy
from plmjax.parallel.rules import EMBED, POSITIONS, TYPES, VOCAB, WIDTH
from plmjax.types import Batch, Loss, Mean, Spec


class SpanBoundary(BertPretraining):
    """BERT's objective, and each token of a masked span from the two tokens that stand outside.

    The loss is mean cross-entropy over masked tokens, plus `sbo_weight` times that over the tokens
    that the span-boundary objective predicts, each term divided by the number of its own targets.
    So has it the published code (facebookresearch/SpanBERT, criterions/spanbert_loss.py), device by
    device and with one target added to the second number, which is not done here: the loss does not
    depend on how a batch is cut. The paper (Joshi et al. 2020, section 3.2) adds both for each
    masked token; `per_masked_token` has it so.

    Which tokens are targets is the masking's choice: see `plmjax.data.maskings.span`. The label of
    sentence pairs is a term as in BERT's where the plan makes pairs; SpanBERT's does not.

    Attributes:
      sbo_weight: what the mean loss of spans is multiplied by; the published code's
        pair_loss_weight.
      max_span_targets: how many places in a span there are, from its first token on; at least those
        of the masking.
      place_width: width of the embedding of a place.
      per_masked_token: divides the term of spans by the number of masked tokens, as the paper.
    """

    sbo_weight: float = 1.0
    max_span_targets: int = 15
    place_width: int = 200
    per_masked_token: bool = False

    def __post_init__(self):
        if self.sbo_weight < 0:
            raise UserError(
                f"config.objective.sbo_weight={self.sbo_weight} is negative; give 0 or more"
            )
        for name in ("max_span_targets", "place_width"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"config.objective.{name}={getattr(self, name)} is too small; give 1 or more"
                )
        super().__post_init__()

    def setup(self):
        super().setup()
        c = self.backbone.config
        self.sbo_head = SpanBoundaryHead(
            places=self.max_span_targets,
            place_width=self.place_width,
            activation=c.activation,
            layer_norm_epsilon=c.layer_norm_epsilon,
            initializer_range=c.initializer_range,
            dtype=c.dtype,
        )

    @nn.nowrap
    def batch_keys(self) -> tuple[str, ...]:
        """The batch keys the objective reads."""
        return (*super().batch_keys(), "sbo_left", "sbo_right", "sbo_index", "sbo_weights")

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        return super().weights(batch) | {"sbo": self._divisor(batch)}

    @nn.nowrap
    def forward_flops(self, spec: Spec) -> float:
        """Operations of matrix products in a forward pass; the head of spans runs on all M slots.

        See `BertPretraining.forward_flops`.
        """
        c = self.backbone.config
        rows, slots = spec["sbo_index"][0]
        each = 2 * c.hidden_size + c.embedding_width + c.vocab_size
        places = self.max_span_targets * self.place_width
        head = c.embedding_width * (rows * slots * each + places)
        return super().forward_flops(spec) + 2.0 * head

    @nn.nowrap
    def _divisor(self, batch: Batch) -> jax.Array:
        key = "masked_weights" if self.per_masked_token else "sbo_weights"
        return batch[key].astype(jnp.float32).sum()

    def _loss(self, batch: Batch, output, logits_BMV: jax.Array) -> Loss:
        loss = super()._loss(batch, output, logits_BMV)
        left_BMD = states_at(output.hidden_BLD, batch["sbo_left"])
        right_BMD = states_at(output.hidden_BLD, batch["sbo_right"])
        table = self.backbone.token_table
        logits_BMV = self.sbo_head(left_BMD, right_BMD, batch["sbo_index"], table)
        spans, accuracy = cross_entropy(logits_BMV, batch["masked_targets"], batch["sbo_weights"])
        return Loss(
            loss.terms | {"sbo": Mean(spans.sum, self._divisor(batch))},
            loss.metrics | {"sbo_accuracy": accuracy},
            factors=(*loss.factors, ("sbo", self.sbo_weight)),
        )


class SpanBoundaryHead(nn.Module):
    """From both sides of a span and a place in it to the token there.

    Two layers, each dense, activation and layer norm; then the tied token table with a bias of its
    own. The first dense layer reads [left; right; embedding of the place]: its product is made as a
    sum, that of the places once for all slots. Source: facebookresearch/SpanBERT
    models/pair_bert.py, BertPairTargetPredictionHead.

    Attributes:
      places, place_width: rows and width of the table of places.
      activation, layer_norm_epsilon, initializer_range, dtype: as of the backbone.
    """

    places: int
    place_width: int
    activation: str
    layer_norm_epsilon: float
    initializer_range: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, left_BMD: jax.Array, right_BMD: jax.Array, place_BM: jax.Array, table: TokenTable
    ) -> jax.Array:
        """Logits of every token at each of M slots: float32 [B, M, V], V padded.

        Args:
          left_BMD, right_BMD: hidden states of the tokens on both sides.
          place_BM: int, 0 for the first token of the span.
          table: the backbone's.
        """
        init, activation = bert_normal(self.initializer_range), ACTIVATIONS[self.activation]
        shape = self.places, self.place_width
        place_table = self.param("place_embedding", named(init, POSITIONS, TYPES), shape)
        place_table = place_table.astype(self.dtype)
        axes, bias = (WIDTH,), False
        of_places = dense(table.width, (TYPES, WIDTH), axes, init, self.dtype, "place", bias)
        of_sides = dense(table.width, (TYPES, EMBED, WIDTH), axes, init, self.dtype, "sides")
        sides_BM2D = jnp.stack([left_BMD, right_BMD], axis=2)
        x_BMD = of_sides(sides_BM2D) + of_places(place_table)[place_BM]
        x_BMD = layer_norm(self.layer_norm_epsilon, self.dtype, "norm_1")(activation(x_BMD))
        x_BMD = dense(table.width, (EMBED, WIDTH), axes, init, self.dtype, "dense")(x_BMD)
        x_BMD = layer_norm(self.layer_norm_epsilon, self.dtype, "norm_2")(activation(x_BMD))
        zeros = named(nn.initializers.zeros, VOCAB)
        bias_V = self.param("output_bias", zeros, (table.rows,), jnp.float32)
        return table.logits(x_BMD, bias_V)
