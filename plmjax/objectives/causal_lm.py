"""GPT's objective: the next token."""

from typing import ClassVar

import flax.linen as nn
import jax
import numpy as np

from plmjax.objectives.token_prediction import cross_entropy
from plmjax.types import OVERFLOW, Batch, Loss, Spec, Train


class CausalLM(nn.Module):
    """Mean cross-entropy of each next token that has a weight.

    The backbone is a decoder with a `config`, an output of `hidden_BLD` and the method `logits`.

    Attributes:
      backbone: the decoder.
    """

    backbone: nn.Module

    required_keys: ClassVar[tuple[str, ...]] = ("tokens", "attention_mask", "targets", "weights")
    optional_keys: ClassVar[tuple[str, ...]] = ("segment_ids", "positions", "token_types")
    """Batch keys that are taken where they are; token types are not read."""

    predicts: ClassVar[str] = "lm"
    """The term that predicts tokens."""

    fills_blanks: ClassVar[bool] = False
    """Whether there are `masked_logits`."""

    monitor: ClassVar[str] = "lm_loss"
    """The metric by which the best checkpoint is chosen; smaller is better."""

    @nn.nowrap
    def batch_keys(self) -> tuple[str, ...]:
        """The batch keys the objective reads."""
        return self.required_keys

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        return {"lm": batch["weights"].sum()}

    def __call__(self, batch: Batch, *, train: Train) -> Loss:
        """The loss of a batch.

        Args:
          batch: `tokens`, `attention_mask`, `targets` int [B, L] and `weights` float [B, L]. Where
            documents are packed, `segment_ids` and `positions` int [B, L].
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
        """
        output = self.backbone(
            batch["tokens"],
            batch["attention_mask"],
            **{f"{key}_BL": batch[key] for key in ("segment_ids", "positions") if key in batch},
            train=train,
        )
        logits_BLV = self.backbone.logits(output.hidden_BLD)
        loss, accuracy = cross_entropy(logits_BLV, batch["targets"], batch["weights"])
        return Loss({"lm": loss}, {"lm_accuracy": accuracy})

    @nn.nowrap
    def forward_flops(self, spec: Spec) -> float:
        """Operations of matrix products in a forward pass over a batch of `spec`.

        The backbone's (see there what counts), and the head's.
        """
        c = self.backbone.config
        rows, length = spec["tokens"][0]
        transform = c.hidden_size if c.head_transform else 0
        head = rows * length * c.hidden_size * (c.vocab_size + transform)
        return self.backbone.forward_flops(rows, length) + 2.0 * head

    @nn.nowrap
    def random_batch(self, spec: Spec, seed: int) -> dict[str, np.ndarray]:
        """A batch of random tokens without padding: for measuring speed."""
        random = np.random.default_rng(seed)
        batch = {key: np.ones(shape, dtype) for key, (shape, dtype) in spec.items()}
        vocab_size, shape = self.backbone.config.vocab_size, spec["tokens"][0]
        batch["tokens"] = random.integers(vocab_size, size=shape, dtype=np.int32)
        batch["targets"] = np.roll(batch["tokens"], -1, axis=1)
        if "positions" in spec:
            batch["positions"][:] = np.arange(shape[1])
        if OVERFLOW in spec:
            batch[OVERFLOW][:] = 0
        return batch

    @staticmethod
    def neighbours(batch: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What is predicted in a host batch: the tokens to the left, and the targets; int [P]."""
        used = batch["weights"] > 0
        return batch["tokens"][used], batch["targets"][used]

    @staticmethod
    def histories(
        batch: dict[str, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The texts of a host batch: tokens int [B, L], which of them are predicted from those to
        their left, and which are no padding, bool [B, L]."""
        predicted_BL = np.zeros(batch["weights"].shape, bool)
        predicted_BL[:, 1:] = batch["weights"][:, :-1] > 0
        return batch["tokens"], predicted_BL, batch["attention_mask"] > 0
