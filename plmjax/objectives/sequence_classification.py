"""A label for each text: classes, any number of them, or a number."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from plmjax.objectives.labelled import Pooled
from plmjax.types import Batch, Loss, Mean, Train


class SequenceClassification(Pooled):
    """Mean loss over texts: cross-entropy, for `multi_label` the mean of one for each class, for
    `regression` the squared error, as transformers' models of that name have them.

    Attributes: as of `Pooled`.
    """

    kind: str = "classification"

    keys: ClassVar[tuple[str, ...]] = ("label",)
    """The batch keys beside the text's."""

    def __call__(self, batch: Batch, *, train: Train) -> Loss:
        """The loss of a batch.

        Args:
          batch: `tokens`, `token_types`, `attention_mask` int [B, L], or [B, 2, L] of pairs that
            are read in both orders; `label` int [B], for multi_label float [B, C] of 0 and 1, for
            regression float [B]; `label_weights` float [B].
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
        """
        (logits_BC, lm), labels = self.scores(batch, train), batch["label"]
        weights_B, metrics = batch["label_weights"], {}
        if self.kind == "regression":
            losses_B = jnp.square(logits_BC[:, 0] - labels)
        elif self.kind == "multi_label":
            losses_B = optax.sigmoid_binary_cross_entropy(logits_BC, labels).mean(-1)
        else:
            losses_B = optax.softmax_cross_entropy_with_integer_labels(logits_BC, labels)
            metrics = {"task_accuracy": Mean.of(logits_BC.argmax(-1) == labels, weights_B)}
        return self.loss_of(Mean.of(losses_B, weights_B), lm, metrics)

    def logits(self, batch: Batch, train: Train = False) -> jax.Array:
        """What the head says of each text: float32 [B, C], of regression [B, 1]."""
        return self.scores(batch, train)[0]

    @nn.compact
    def scores(self, batch: Batch, train: Train = False) -> tuple[jax.Array, Mean | None]:
        """The logits, and the loss of the next tokens where it is asked for."""
        texts = self.texts(batch, train)
        x_BD = texts.states if texts.states.ndim == 2 else texts.states.sum(1)
        outputs = 1 if self.kind == "regression" else self.classes
        return self.scored(x_BD, texts.transform, outputs, train), texts.lm
