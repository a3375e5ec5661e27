"""A label for each word."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from plmjax.nn.crf import Chain, best_tags, log_likelihood
from plmjax.nn.initializers import named
from plmjax.objectives.labelled import Labelled
from plmjax.parallel.rules import TYPES
from plmjax.types import Batch, Loss, Mean, Train


class TokenClassification(Labelled):
    """Mean cross-entropy over the first pieces of words, by dropout and one dense layer on each
    token's state (Devlin et al. 2019, section 5.3; transformers' models of that name).

    Attributes: as of `Labelled`.
      crf: whether tags are told as a sequence: what the layer says of each word, and how well tags
        follow each other, which is learned; pieces without a tag are passed over. The loss is the
        negative logarithm of the sequence's probability, divided by the number of words, and what
        is said is the most probable sequence (Lample et al. 2016; pytorch-crf's `token_mean`). What
        tags say of each other begins at 0 and is learned at the head's rate, which
        `config.transfer.head_rate` multiplies: by 2e-5 alone it hardly moves.
    """

    crf: bool = False

    keys: ClassVar[tuple[str, ...]] = ("tags", "tag_weights")
    """The batch keys beside the text's."""

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        return {"task": (batch["tag_weights"] * batch["label_weights"][:, None]).sum()}

    def __call__(self, batch: Batch, *, train: Train) -> Loss:
        """The loss of a batch.

        Args:
          batch: `tokens`, `token_types`, `attention_mask`, `tags` int [B, L]; `tag_weights` float
            [B, L], 0 where there is no tag and 1 where one is; `label_weights` float [B].
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
        """
        (scores_BLC, chain), tags_BL = self.scores(batch, train), batch["tags"]
        weights_BL = batch["tag_weights"] * batch["label_weights"][:, None]
        if chain is None:
            losses_BL = optax.softmax_cross_entropy_with_integer_labels(scores_BLC, tags_BL)
            loss, found_BL = Mean.of(losses_BL, weights_BL), scores_BLC.argmax(-1)
        else:
            present_BL = batch["tag_weights"] > 0
            likely_B = log_likelihood(scores_BLC, tags_BL, present_BL, chain)
            loss = Mean(-(likely_B * batch["label_weights"]).sum(), weights_BL.sum())
            still = jax.lax.stop_gradient((scores_BLC, chain))
            found_BL = best_tags(still[0], present_BL, still[1])
        return Loss({"task": loss}, {"task_accuracy": Mean.of(found_BL == tags_BL, weights_BL)})

    def logits(self, batch: Batch, train: Train = False) -> jax.Array:
        """What the head says of each token: float32 [B, L, C]; with `crf` 1 for the tag of the most
        probable sequence and 0 for the others."""
        scores_BLC, chain = self.scores(batch, train)
        if chain is None:
            return scores_BLC
        found_BL = best_tags(scores_BLC, batch["tag_weights"] > 0, chain)
        return jax.nn.one_hot(found_BL, self.classes, dtype=jnp.float32)

    @nn.compact
    def scores(self, batch: Batch, train: Train = False) -> tuple[jax.Array, Chain | None]:
        """What each token says of its own tag, float32 [B, L, C], and tags of each other."""
        hidden_BLD = self.read(batch, train).hidden_BLD
        scores_BLC = self.head(hidden_BLD, self.classes, train)
        if not self.crf:
            return scores_BLC, None

        def of_tags(name: str, *axes: str | None) -> jax.Array:
            zeros = named(nn.initializers.zeros, *axes)
            return self.param(name, zeros, (self.classes,) * len(axes))

        start_C, end_C = of_tags("task_start", TYPES), of_tags("task_end", TYPES)
        # An axis has its name once; the other is not split.
        return scores_BLC, Chain(start_C, of_tags("task_follow", TYPES, None), end_C)
