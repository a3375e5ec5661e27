"""The objective of encoder-decoders: each token of the target, from the source and what is before.

What the source has lost and what the target is, span corruption or denoising, is the masking's
choice (`plmjax.data.maskings`).
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from plmjax.errors import UserError
from plmjax.objectives.token_prediction import cross_entropy, log_normalizer
from plmjax.types import OVERFLOW, Batch, Loss, Mean, Spec, Train


class Seq2SeqLM(nn.Module):
    """Mean cross-entropy over the target's tokens, and optionally a term that keeps logits small.

    Attributes:
      backbone: an encoder-decoder with a `config`, called with source, its mask, the decoder's
        tokens and their mask, and a method `logits` (`plmjax.models.t5`, `plmjax.models.bart`).
      z_loss: how much of the square of log Z is added, Z being what softmax divides by; T5's is
        1e-4. Source: tensorflow/mesh layers.py, softmax_cross_entropy_with_logits.
    """

    backbone: nn.Module
    z_loss: float = 0.0

    optional_keys: ClassVar[tuple[str, ...]] = (
        "decoder_attention_mask",
        "positions",
        "decoder_positions",
        "segment_ids",
        "decoder_segment_ids",
    )
    """Batch keys that are read where they are."""

    predicts: ClassVar[str] = "lm"
    """The term that predicts tokens."""

    fills_blanks: ClassVar[bool] = False
    """Whether there are `masked_logits`."""

    monitor: ClassVar[str] = "lm_loss"
    """The metric by which the best checkpoint is chosen; smaller is better."""

    def __post_init__(self):
        if self.z_loss < 0:
            raise UserError(f"config.objective.z_loss={self.z_loss} is negative; give 0 or more")
        super().__post_init__()

    @nn.nowrap
    def batch_keys(self) -> tuple[str, ...]:
        """The batch keys the objective reads."""
        keys = ("tokens", "attention_mask")
        return (*keys, "decoder_tokens", "decoder_targets", "decoder_weights")

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        weight = batch["decoder_weights"].sum()
        return {"lm": weight} | ({"z": weight} if self.z_loss else {})

    def __call__(self, batch: Batch, *, train: Train) -> Loss:
        """The loss of a batch.

        Args:
          batch: `tokens`, `attention_mask` int [B, S]; `decoder_tokens`, `decoder_targets` int
            [B, L] and `decoder_weights` float [B, L], 0 where there is no target. The decoder's
            padding stands behind, where nobody sees it; otherwise give `decoder_attention_mask` int
            [B, L]. Where pairs are packed, `positions`, `segment_ids` int [B, S] and
            `decoder_positions`, `decoder_segment_ids` int [B, L], a source and its target having
            the same number.
          train: whether dropout is on, and for which rows; needs the rng `dropout`.
        """
        logits_BLV = self.logits(batch, train=train)
        targets_BL, weights_BL = batch["decoder_targets"], batch["decoder_weights"]
        loss, accuracy = cross_entropy(logits_BLV, targets_BL, weights_BL)
        terms = {"lm": loss}
        if self.z_loss:
            log_z_BL = log_normalizer(logits_BLV)
            terms["z"] = Mean.of(self.z_loss * log_z_BL**2, weights_BL)
        return Loss(terms, {"lm_accuracy": accuracy})

    def logits(self, batch: Batch, *, train: Train = False) -> jax.Array:
        """Logits at each place of the decoder: float32 [B, L, V], V padded."""
        tokens_BL = batch["decoder_tokens"]
        mask_BL = batch.get("decoder_attention_mask", jnp.ones_like(tokens_BL))
        names = {
            "positions": "source_positions_BS",
            "decoder_positions": "positions_BL",
            "segment_ids": "source_segment_ids_BS",
            "decoder_segment_ids": "segment_ids_BL",
        }
        packed = {name: batch[key] for key, name in names.items() if key in batch}
        output = self.backbone(
            batch["tokens"], batch["attention_mask"], tokens_BL, mask_BL, **packed, train=train
        )
        return self.backbone.logits(output.hidden_BLD)

    @nn.nowrap
    def forward_flops(self, spec: Spec) -> float:
        """Operations of matrix products in a forward pass over a batch of `spec`.

        The backbone's (see there what counts), and the head's.
        """
        c = self.backbone.config
        (rows, source_length), length = spec["tokens"][0], spec["decoder_tokens"][0][1]
        head = 2.0 * rows * length * c.hidden_size * c.vocab_size
        return self.backbone.forward_flops(rows, source_length, length) + head

    @nn.nowrap
    def random_batch(self, spec: Spec, seed: int) -> dict[str, np.ndarray]:
        """A batch of random tokens without padding, every place a target: for measuring speed."""
        random = np.random.default_rng(seed)
        vocab_size = self.backbone.config.vocab_size
        batch = {key: np.ones(shape, dtype) for key, (shape, dtype) in spec.items()}
        for key in ("positions", "decoder_positions"):
            if key in spec:
                batch[key][:] = np.arange(spec[key][0][1])
        for key in ("tokens", "decoder_tokens", "decoder_targets"):
            batch[key] = random.integers(vocab_size, size=spec[key][0], dtype=np.int32)
        if OVERFLOW in spec:
            batch[OVERFLOW][:] = 0
        return batch

    @staticmethod
    def neighbours(batch: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What is predicted in a host batch: the tokens to the left, and the targets; int [P]."""
        used = batch["decoder_weights"] > 0
        return batch["decoder_tokens"][used], batch["decoder_targets"][used]
