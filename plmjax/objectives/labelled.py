"""What the objectives of labelled tasks have in common: any family's backbone, and a small head."""

from typing import Any, ClassVar

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
from plmjax.parallel.rules import EMBED, TYPES, WIDTH
from plmjax.settings import choose
from plmjax.types import Batch, Spec, Train

POOLINGS = ("auto", "first", "last", "mean")
LAYERS_READ = ("last", "weighted")


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
        return ("tokens", "token_types", "attention_mask", *self.keys, "label_weights")

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
        factor = self.param("task_factor", nn.initializers.ones, ())
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


class Pooled(Labelled):
    """A head on one state for each text.

    With a pooler of the backbone's own dropout and one dense layer on what it makes (BERT,
    run_classifier.py; ALBERT, NEZHA, ERNIE); without one dropout, dense, tanh, dropout, dense on
    the state of one token (RoBERTa's and XLNet's heads), of GPT one dense layer on the last
    token's.

    Attributes:
      pooling: what stands for a text: `auto`, the pooler's output or the state of the token that
        the family has for it; the state of its `first` or `last` token; or the `mean` of all.
      activation: behind the head's first dense layer, where it has one; `none` leaves that layer
        out. DistilBERT's heads have relu, those of ELECTRA and RoFormer gelu in transformers, XLM's
        is one layer.
    """

    pooling: str = "auto"
    activation: str = "tanh"

    def __post_init__(self):
        choose(self.pooling, dict.fromkeys(POOLINGS), "config.objective.pooling")
        if self.activation != "none":
            choose(self.activation, ACTIVATIONS, "config.objective.activation")
        super().__post_init__()

    @nn.nowrap
    def scored(self, batch: Batch, outputs: int, train: Train) -> jax.Array:
        """The head's numbers of each text: float32 [B, outputs]. Call it from `logits`."""
        c = self.backbone.config
        x_BD, has_layer = self._pooled(self.read(batch, train), batch["attention_mask"])
        if has_layer and self.activation != "none":
            x_BD = dropout(x_BD, self.rate, self, train)
            init, axes = bert_normal(c.initializer_range), (EMBED, WIDTH)
            layer = dense(x_BD.shape[-1], axes, (WIDTH,), init, c.dtype, "task_dense")
            x_BD = ACTIVATIONS[self.activation](layer(x_BD))
        return self.head(x_BD, outputs, train)

    @nn.nowrap
    def _pooled(self, reading: Reading, mask_BL: jax.Array) -> tuple[Any, bool]:
        """What stands for each text [B, D], and whether the head has a layer before its last."""
        if self.pooling == "auto" and reading.pooled_BD is not None:
            return reading.pooled_BD, False
        if self.pooling == "auto":
            return states_of(reading.hidden_BLD, reading.summary_B), reading.transform
        return pooled(reading.hidden_BLD, mask_BL, self.pooling), reading.transform


def states_of(hidden_BLD: jax.Array, places_B: jax.Array) -> jax.Array:
    """The state at one place of each row: [B, D]."""
    return jnp.take_along_axis(hidden_BLD, places_B[:, None, None], axis=1)[:, 0]


def pooled(hidden_BLD: jax.Array, mask_BL: jax.Array, how: str) -> jax.Array:
    """The `first`, the `last` or the `mean` of each row's states, padding (0 in `mask_BL`) left
    out: [B, D], of the dtype of the states."""
    if how == "mean":
        weights_BL1 = mask_BL[:, :, None].astype(hidden_BLD.dtype)
        return (hidden_BLD * weights_BL1).sum(1) / weights_BL1.sum(1)
    last_B = last_places(mask_BL)
    return states_of(hidden_BLD, last_B if how == "last" else jnp.zeros_like(last_B))
