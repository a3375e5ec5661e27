"""ELECTRA's objective: a small generator fills masks in, a discriminator tells which it changed."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from plmjax.errors import UserError
from plmjax.nn.heads import DiscriminatorHead
from plmjax.objectives.bert_pretraining import BertPretraining, states_at
from plmjax.objectives.token_prediction import cross_entropy
from plmjax.types import Batch, Loss, Mean, Spec, Train


class Told(NamedTuple):
    """What the discriminator says, [B, L]: float32 logits that tokens are replaced, whether they
    are (int, 0 or 1), and the weights of `asked`."""

    logits_BL: jax.Array
    replaced_BL: jax.Array
    weights_BL: jax.Array


class Electra(nn.Module):
    """The generator's cross-entropy at the masks, and the discriminator's over all tokens.

    A token is drawn from what the generator expects at each selected position, also where the mask
    has left the true token. The discriminator tells for every token but padding whether it differs
    from the true one. The generator has the discriminator's embeddings and a head on their token
    table; nothing of the discriminator's loss reaches it but through these.
    Source: google-research/electra run_pretraining.py. Of a position that is selected twice the
    first draw counts; there it is the mean of both ids, a token that has nothing to do with either.

    Attributes:
      backbone: the discriminator; an encoder with a `config`, a `token_table` and the method
        `narrower`.
      generator_fraction: how wide the generator's layers are beside the discriminator's.
      discriminator_weight: what the discriminator's mean loss is multiplied by; the generator's has
        1.
    """

    backbone: nn.Module
    generator_fraction: float = 0.25
    discriminator_weight: float = 50.0

    optional_keys: ClassVar[tuple[str, ...]] = ("segment_ids", "positions")
    """Batch keys that are read where they are."""

    predicts: ClassVar[str] = "mlm"
    """The term that predicts tokens."""

    fills_blanks: ClassVar[bool] = True
    """Whether there are `masked_logits`: the generator's."""

    monitor: ClassVar[str] = "mlm_loss"
    """The metric by which the best checkpoint is chosen; smaller is better. The discriminator's
    loss is no measure in time: the better the generator, the harder its task."""

    def __post_init__(self):
        super().__post_init__()
        if not hasattr(self.backbone, "narrower"):
            raise UserError(
                "config.objective.name='electra' makes a generator that is narrower than the model,"
                f" which a {type(self.backbone).__name__} has no way to; choose a family of BERT's"
                " layers, such as config.model.family='electra'"
            )
        if self.generator_fraction <= 0:
            raise UserError(
                f"config.objective.generator_fraction={self.generator_fraction}; give a share of"
                " the discriminator's width above 0, such as 0.25"
            )

    def setup(self):
        c = self.backbone.config
        self.generator = self.backbone.narrower(self.generator_fraction)
        self.mlm_head = c.masked_lm_head()
        self.discriminator_head = DiscriminatorHead(c.activation, c.initializer_range, c.dtype)

    @nn.nowrap
    def batch_keys(self) -> tuple[str, ...]:
        """The batch keys the objective reads."""
        return self._pretraining().batch_keys()

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        return {"mlm": batch["masked_weights"].sum(), "disc": asked(batch).sum()}

    def __call__(self, batch: Batch, *, train: Train) -> Loss:
        """The loss of a batch.

        Args:
          batch: as `BertPretraining` reads it, without labels.
          train: whether dropout is on, and for which rows; needs the rng `dropout`, by which
            tokens are drawn, too. With False the draw of a row is always the same.
        """
        logits_BMV = self._generated(batch, train)
        weights_BM = batch["masked_weights"]
        mlm, mlm_accuracy = cross_entropy(logits_BMV, batch["masked_targets"], weights_BM)
        told = self.discriminated(batch, self._drawn(logits_BMV, batch, train), train)
        is_replaced_BL = told.replaced_BL > 0
        losses_BL = optax.sigmoid_binary_cross_entropy(told.logits_BL, told.replaced_BL)
        hits_BL = (told.logits_BL > 0) == is_replaced_BL
        return Loss(
            {"mlm": mlm, "disc": Mean.of(losses_BL, told.weights_BL)},
            {
                "mlm_accuracy": mlm_accuracy,
                "disc_accuracy": Mean.of(hits_BL, told.weights_BL),
                "replaced": Mean.of(is_replaced_BL, told.weights_BL),
            },
            factors=(("disc", self.discriminator_weight),),
        )

    def discriminated(self, batch: Batch, drawn_BM: jax.Array, train: Train) -> Told:
        """What the discriminator says of a batch in whose selected positions `drawn_BM` stand."""
        true_BL = written(batch["tokens"], batch, batch["masked_targets"])
        shown_BL = written(true_BL, batch, drawn_BM)
        output = self._encoded(self.backbone, batch, shown_BL, train)
        logits_BL = self.discriminator_head(output.hidden_BLD)
        replaced_BL = (shown_BL != true_BL).astype(jnp.int32)
        return Told(logits_BL, replaced_BL, asked(batch))

    def told(self, batch: Batch) -> Told:
        """What the discriminator says in evaluation of a batch as the generator has changed it.

        `batch` may have keys that are not read.
        """
        drawn_BM = self._drawn(self._generated(batch, False), batch, False)
        return self.discriminated(batch, drawn_BM, False)

    def masked_logits(self, batch: Batch) -> jax.Array:
        """The generator's logits at the masked positions: float32 [B, M, V], V padded."""
        return self._generated(batch, train=False)

    def _generated(self, batch: Batch, train: Train) -> jax.Array:
        output = self._encoded(self.generator, batch, batch["tokens"], train)
        picked_BMD = states_at(output.hidden_BLD, batch["masked_positions"])
        return self.mlm_head(picked_BMD, self.backbone.token_table)

    def _encoded(self, encoder: nn.Module, batch: Batch, tokens_BL: jax.Array, train: Train):
        keys = (*self.optional_keys, *("languages",) * bool(self.backbone.config.languages))
        return encoder(
            tokens_BL,
            batch["token_types"],
            batch["attention_mask"],
            **{f"{key}_BL": batch[key] for key in keys if key in batch},
            train=train,
        )

    def _drawn(self, logits_BMV: jax.Array, batch: Batch, train: Train) -> jax.Array:
        """Tokens drawn with the generator's probabilities, by Gumbel's maximum: int [B, M].

        As of dropout, a row's draw depends on its number in the batch of the update and on no
        microbatch or mesh; in evaluation it depends on nothing but what the row says.
        """
        if train is False:
            key, rows_B = jax.random.key(0), _digest(batch)
        else:
            key = self.make_rng("dropout")
            rows_B = jnp.arange(len(logits_BMV)) if train is True else train
        keys_B = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows_B)
        noise_BMV = jax.vmap(lambda key: jax.random.gumbel(key, logits_BMV.shape[1:]))(keys_B)
        return (jax.lax.stop_gradient(logits_BMV) + noise_BMV).argmax(-1)

    @nn.nowrap
    def forward_flops(self, spec: Spec) -> float:
        """Operations of matrix products in a forward pass over a batch of `spec`.

        Both encoders' (see there what counts), and both heads'.
        """
        rows, length = spec["tokens"][0]
        generator = self.backbone.narrower(self.generator_fraction)
        width = self.backbone.config.hidden_size
        discriminator = self.backbone.forward_flops(rows, length)
        discriminator += 2.0 * rows * length * width * (width + 1)
        return discriminator + self._pretraining(generator).forward_flops(spec)

    @nn.nowrap
    def random_batch(self, spec: Spec, seed: int) -> dict[str, np.ndarray]:
        """A batch of random tokens without padding, every slot masked: for measuring speed."""
        return self._pretraining().random_batch(spec, seed)

    @nn.nowrap
    def _pretraining(self, encoder: nn.Module | None = None) -> BertPretraining:
        """Masked language modelling, which reads the same batches."""
        encoder = self.backbone if encoder is None else encoder
        return BertPretraining(encoder, labels=0, parent=None)

    neighbours = staticmethod(BertPretraining.neighbours)
    shown = staticmethod(BertPretraining.shown)


def asked(batch: Batch) -> jax.Array:
    """Of which tokens the discriminator is asked, float32 [B, L], 1 or 0: of all but padding.

    Rows that only fill a batch up are told by their masks, none of which has weight.
    """
    counts_B = batch["masked_weights"].any(axis=1)
    return ((batch["attention_mask"] > 0) & counts_B[:, None]).astype(jnp.float32)


def written(tokens_BL: jax.Array, batch: Batch, values_BM: jax.Array) -> jax.Array:
    """The tokens with the values in the selected positions of a batch.

    Where a position is selected twice, the first value counts.
    """
    positions_BM, is_used_BM = batch["masked_positions"], batch["masked_weights"] > 0
    places_L, slots_M = jnp.arange(tokens_BL.shape[1]), jnp.arange(positions_BM.shape[1])
    # By comparison, not by a scatter, which has no order and cannot be split along rows.
    is_here_BLM = (positions_BM[:, None, :] == places_L[:, None]) & is_used_BM[:, None, :]
    first_BL = jnp.where(is_here_BLM, slots_M, len(slots_M)).min(-1)
    values_BL = jnp.where(slots_M == first_BL[:, :, None], values_BM[:, None, :], 0).sum(-1)
    return jnp.where(first_BL < len(slots_M), values_BL, tokens_BL)


def _digest(batch: Batch) -> jax.Array:
    """A number of what each row says, padding left out: uint32 [B]."""
    odd_L = 2 * jnp.arange(batch["tokens"].shape[1], dtype=jnp.uint32) + 1
    says_BL = (batch["tokens"] + 1) * (batch["attention_mask"] > 0)
    return (says_BL.astype(jnp.uint32) * odd_L * jnp.uint32(0x9E3779B1)).sum(1, dtype=jnp.uint32)
