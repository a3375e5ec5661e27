"""What the objectives of labelled tasks have in common: any family's backbone, and a small head."""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from plmjax.errors import UserError
from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.dense import dense
from plmjax.nn.initializers import bert_normal, named
from plmjax.nn.norms import dropout
from plmjax.nn.reading import Reading, last_places
from plmjax.objectives.token_prediction import cross_entropy
from plmjax.parallel.rules import EMBED, TYPES, WIDTH
from plmjax.settings import choose
from plmjax.types import Batch, Loss, Mean, Spec, Train

POOLINGS = ("auto", "first", "last", "mean", "concat")
LAYERS_READ = ("last", "weighted")
TEXT_KEYS = ("tokens", "token_types", "attention_mask")


class Labelled(nn.Module):
    """A backbone that is read as a whole. Subclasses have a call and `logits`, each with its head.

    Attributes:
      backbone: any family's model that has a method `read`.
      classes: how many there are.
      kind: of the task, as `plmjax.evals.metrics.named.KINDS` has it.
      dropout: before the dense layers of the head; below 0 the model's `hidden_dropout`.
      layers: of which the head reads the states: the `last`; or the `weighted` sum of all and of
        the embeddings, whose weights are learned: a softmax and a factor (Peters et al. 2018,
        ELMo), which a frozen backbone is best read by.
    """

    backbone: nn.Module
    classes: int = 2
    kind: str = ""
    dropout: float = -1.0
    layers: str = "last"

    keys: ClassVar[tuple[str, ...]] = ()
    """The batch keys beside the text's."""

    optional_keys: ClassVar[tuple[str, ...]] = ()
    """Batch keys that are read where they are."""

    predicts: ClassVar[str] = "task"
    """The term that is trained."""

    fills_blanks: ClassVar[bool] = False
    """Whether there are `masked_logits`."""

    def __post_init__(self):
        choose(self.layers, dict.fromkeys(LAYERS_READ), "config.objective.layers")
        if self.dropout >= 1:
            raise UserError(
                f"config.objective.dropout={self.dropout}; give a share below 1, or -1 for the"
                " model's hidden_dropout"
            )
        super().__post_init__()

    @property
    def rate(self) -> float:
        """Of dropout in the head."""
        return self.backbone.config.hidden_dropout if self.dropout < 0 else self.dropout

    @nn.nowrap
    def batch_keys(self) -> tuple[str, ...]:
        """The batch keys the objective reads."""
        return (*TEXT_KEYS, *self.keys, "label_weights")

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        return {"task": batch["label_weights"].sum()}

    @nn.nowrap
    def read(self, batch: Batch, train: Train) -> Reading:
        """What the backbone makes of the texts. Call it from `logits`."""
        given = batch["tokens"], batch["token_types"], batch["attention_mask"]
        if self.layers == "last":
            return self.backbone.read(*given, train=train)
        reading = self.backbone.read(*given, train=train, all_hidden=True)
        layers_NBLD = reading.layers_NBLD
        shape, axes = (layers_NBLD.shape[0],), (TYPES,)
        weights_N = self.param("task_mix", named(nn.initializers.zeros, *axes), shape)
        factor = self.param("task_factor", named(nn.initializers.ones), ())
        shares_N = (factor * jax.nn.softmax(weights_N)).astype(layers_NBLD.dtype)
        mixed_BLD = jnp.einsum("N,NBLD->BLD", shares_N, layers_NBLD)
        return reading.replace(hidden_BLD=mixed_BLD, pooled_BD=None)

    @nn.nowrap
    def head(self, x: jax.Array, outputs: int, train: Train) -> jax.Array:
        """Dropout and the head's last layer: float32 [..., outputs]. Call it from `logits`."""
        c = self.backbone.config
        x = dropout(x, self.rate, self, train)
        init = bert_normal(c.initializer_range)
        last = dense(outputs, (EMBED, TYPES), (TYPES,), init, c.dtype, "task_head")
        return last(x).astype(jnp.float32)

    @nn.nowrap
    def forward_flops(self, spec: Spec) -> float:
        """Operations of matrix products in a forward pass over a batch of `spec`; the backbone's
        (see there what counts)."""
        *rows, length = spec["tokens"][0]
        # Encoder-decoders read a text twice.
        of = getattr(self.backbone, "read_flops", self.backbone.forward_flops)
        return of(int(np.prod(rows)), length)

    @nn.nowrap
    def random_batch(self, spec: Spec, seed: int) -> dict[str, np.ndarray]:
        """A batch of random tokens without padding: for measuring speed."""
        random = np.random.default_rng(seed)
        batch = {key: np.ones(shape, dtype) for key, (shape, dtype) in spec.items()}
        vocab_size = self.backbone.config.vocab_size
        batch["tokens"] = random.integers(vocab_size, size=spec["tokens"][0], dtype=np.int32)
        for key in ("token_types", *self.keys):
            if not key.endswith("weights"):
                batch[key][:] = 0
        return batch


class Texts(NamedTuple):
    """States that stand for texts.

    states: [B, ..., D], as many of an example as it has rows. transform: whether the head has a
    layer before its last. lm: the loss of the next tokens; None where it is not asked for.
    """

    states: jax.Array
    transform: bool
    lm: Mean | None


class Pooled(Labelled):
    """A head on one state for each text.

    With a pooler of the backbone's own dropout and one dense layer on what it makes (BERT,
    run_classifier.py; ALBERT, NEZHA, ERNIE); without one dropout, dense, tanh, dropout, dense on
    the state of one token (RoBERTa's and XLNet's heads), of GPT one dense layer on the last
    token's.

    Attributes:
      pooling: what stands for a text: `auto`, the pooler's output or the state of the token that
        the family has for it; the state of its `first` or `last` token; the `mean` of all; or
        `concat`, the state of the family's token, the largest and the mean of all, one behind the
        other (Howard & Ruder 2018, ULMFiT).
      activation: behind the head's first dense layer, where it has one; `none` leaves that layer
        out. DistilBERT's heads have relu, those of ELECTRA and RoFormer gelu in transformers, XLM's
        is one layer.
      lm_weight: of decoders, what the loss of each row's next tokens is added with, the mean over a
        row's own tokens first and then over rows: 0.5 in GPT-1's fine-tuning (Radford et al. 2018;
        openai/finetune-transformer-lm train.py). 0 does not compute it.
    """

    pooling: str = "auto"
    activation: str = "tanh"
    lm_weight: float = 0.0

    def __post_init__(self):
        choose(self.pooling, dict.fromkeys(POOLINGS), "config.objective.pooling")
        if self.activation != "none":
            choose(self.activation, ACTIVATIONS, "config.objective.activation")
        if self.lm_weight < 0:
            raise UserError(
                f"config.objective.lm_weight={self.lm_weight}; give a factor above 0, or 0 for none"
            )
        super().__post_init__()

    @nn.nowrap
    def weights(self, batch: Batch) -> dict[str, jax.Array]:
        """Each term's weight in `batch`, by which its sum is divided."""
        found = {"task": batch["label_weights"].sum()}
        return found | ({"lm": rows_that_count(batch).sum()} if self.lm_weight else {})

    @nn.nowrap
    def loss_of(self, task: Mean, lm: Mean | None, metrics: dict[str, Mean]) -> Loss:
        """The loss of a task and of the texts' next tokens."""
        if lm is None:
            return Loss({"task": task}, metrics)
        return Loss({"task": task, "lm": lm}, metrics, (("lm", self.lm_weight),))

    @nn.nowrap
    def texts(self, batch: Batch, train: Train) -> Texts:
        """What the backbone makes of each row. Call it from a compact method."""
        shape = batch["tokens"].shape
        flat = {key: batch[key].reshape(-1, shape[-1]) for key in TEXT_KEYS}
        reading = self.read(flat, train_of_rows(train, shape[:-1]))
        states_RD, transform = self._pooled(reading, flat["attention_mask"])
        lm = None
        if self.lm_weight:
            layers_NRLD = reading.layers_NBLD
            hidden_RLD = reading.hidden_BLD if layers_NRLD is None else layers_NRLD[-1]
            weights_R = rows_that_count(batch).reshape(-1)
            lm = next_tokens(self.backbone.logits(hidden_RLD), flat, weights_R)
        return Texts(states_RD.reshape(*shape[:-1], -1), transform, lm)

    @nn.nowrap
    def scored(self, x_BD: jax.Array, transform: bool, outputs: int, train: Train) -> jax.Array:
        """The head's numbers of each text: float32 [B, outputs]. Call it from a compact method."""
        c = self.backbone.config
        if transform and self.activation != "none":
            x_BD = dropout(x_BD, self.rate, self, train)
            init, axes = bert_normal(c.initializer_range), (EMBED, WIDTH)
            layer = dense(x_BD.shape[-1], axes, (WIDTH,), init, c.dtype, "task_dense")
            x_BD = ACTIVATIONS[self.activation](layer(x_BD))
        return self.head(x_BD, outputs, train)

    @nn.nowrap
    def forward_flops(self, spec: Spec) -> float:
        """As of `Labelled`, and the head's that predicts tokens."""
        total = super().forward_flops(spec)
        if self.lm_weight:
            c = self.backbone.config
            total += 2.0 * np.prod(spec["tokens"][0]) * c.hidden_size * c.vocab_size
        return total

    @nn.nowrap
    def _pooled(self, reading: Reading, mask_BL: jax.Array) -> tuple[Any, bool]:
        """What stands for each text [B, D], and whether the head has a layer before its last."""
        if self.pooling == "auto" and reading.pooled_BD is not None:
            return reading.pooled_BD, False
        of_token_BD = states_of(reading.hidden_BLD, reading.summary_B)
        if self.pooling == "auto":
            return of_token_BD, reading.transform
        if self.pooling == "concat":
            of_all = (pooled(reading.hidden_BLD, mask_BL, how) for how in ("largest", "mean"))
            return jnp.concatenate([of_token_BD, *of_all], axis=-1), reading.transform
        return pooled(reading.hidden_BLD, mask_BL, self.pooling), reading.transform


def states_of(hidden_BLD: jax.Array, places_B: jax.Array) -> jax.Array:
    """The state at one place of each row: [B, D]."""
    return jnp.take_along_axis(hidden_BLD, places_B[:, None, None], axis=1)[:, 0]


def pooled(hidden_BLD: jax.Array, mask_BL: jax.Array, how: str) -> jax.Array:
    """The `first`, the `last`, the `largest` or the `mean` of each row's states, padding (0 in
    `mask_BL`) left out: [B, D], of the dtype of the states."""
    if how == "largest":
        never = jnp.finfo(hidden_BLD.dtype).min
        return jnp.where(mask_BL[:, :, None] > 0, hidden_BLD, never).max(1)
    if how == "mean":
        weights_BL1 = mask_BL[:, :, None].astype(hidden_BLD.dtype)
        return (hidden_BLD * weights_BL1).sum(1) / weights_BL1.sum(1)
    last_B = last_places(mask_BL)
    return states_of(hidden_BLD, last_B if how == "last" else jnp.zeros_like(last_B))


def rows_that_count(batch: Batch) -> jax.Array:
    """1 for each row of tokens that is an example's, float [B] or [B, R]; 0 for what fills up a
    batch, and for options that are not there."""
    weights_B = batch["label_weights"]
    if "option_weights" in batch:
        return batch["option_weights"] * weights_B[:, None]
    shape = batch["tokens"].shape[:-1]
    return jnp.broadcast_to(weights_B.reshape(-1, *[1] * (len(shape) - 1)), shape)


def train_of_rows(train: Train, shape: tuple[int, ...]) -> Train:
    """`train` for all rows of examples, of which each has dropout of its own; `shape` is [B] or
    [B, R]."""
    if train is False or len(shape) == 1:
        return train
    B, R = shape
    rows_B = jnp.arange(B) if train is True else train
    return (rows_B[:, None] * R + jnp.arange(R)).reshape(-1)


def next_tokens(logits_BLV: jax.Array, batch: Batch, weights_B: jax.Array) -> Mean:
    """The cross-entropy of each next token: the mean over the tokens of each row, of which
    `weights_B` says what it counts."""
    mask_BL = batch["attention_mask"]
    follows_BL = jnp.pad(mask_BL[:, 1:], ((0, 0), (0, 1))).astype(jnp.float32)
    shares_BL = follows_BL / jnp.maximum(follows_BL.sum(1, keepdims=True), 1.0)
    targets_BL = jnp.roll(batch["tokens"], -1, axis=1)
    loss, _ = cross_entropy(logits_BLV, targets_BL, shares_BL * weights_B[:, None])
    return Mean(loss.sum, weights_B.sum())
