"""Which of several texts is right."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from plmjax.objectives.labelled import Pooled, train_of_rows
from plmjax.types import Batch, Loss, Mean, Train


class MultipleChoice(Pooled):
    """Cross-entropy over options, each a text with one number from the head (Devlin et al. 2019,
    section 4.4; transformers' models of that name).

    Attributes: as of `Pooled`; `classes` is how many options an example has at most.
    """

    keys: ClassVar[tuple[str, ...]] = ("label", "option_weights")
    """The batch keys beside the text's."""

    def __call__(self, batch: Batch, *, train: Train) -> Loss:
        """The loss of a batch.

        Args:
          batch: `tokens`, `token_types`, `attention_mask` int [B, O, L]; `option_weights` float
            [B, O], 0 where there is no option; `label` int [B]; `label_weights` float [B].
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
        """
        (logits_BO, lm), labels_B = self.scores(batch, train), batch["label"]
        losses_B = optax.softmax_cross_entropy_with_integer_labels(logits_BO, labels_B)
        weights_B = batch["label_weights"]
        accuracy = Mean.of(logits_BO.argmax(-1) == labels_B, weights_B)
        return self.loss_of(Mean.of(losses_B, weights_B), lm, {"task_accuracy": accuracy})

    def logits(self, batch: Batch, train: Train = False) -> jax.Array:
        """The number of each option: float32 [B, O]; one that is not there has none."""
        return self.scores(batch, train)[0]

    @nn.compact
    def scores(self, batch: Batch, train: Train = False) -> tuple[jax.Array, Mean | None]:
        """The logits, and the loss of the next tokens where it is asked for."""
        texts, shape = self.texts(batch, train), batch["tokens"].shape[:-1]
        x_RD = texts.states.reshape(-1, texts.states.shape[-1])
        logits_R1 = self.scored(x_RD, texts.transform, 1, train_of_rows(train, shape))
        logits_BO, there_BO = logits_R1.reshape(shape), batch["option_weights"] > 0
        return jnp.where(there_BO, logits_BO, jnp.finfo(jnp.float32).min), texts.lm
