"""What the Configs of all Transformer families have in common."""

import dataclasses
from typing import Any, ClassVar

from plmjax.errors import UserError
from plmjax.nn.activations import ACTIVATIONS
from plmjax.nn.efficient.kinds import AnyKind, Full
from plmjax.nn.heads import MaskedLMHead
from plmjax.nn.implementations.choice import IMPLEMENTATIONS
from plmjax.nn.implementations.layouts import SEQUENCE_ATTENTIONS
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.stack import REMAT_POLICIES
from plmjax.settings import choose


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The values that every family has.

    vocab_size: V. The tables have V rounded up to `vocab_multiple` rows.
    num_layers: N; of one stack, where there are two.
    hidden_size: D; num_heads: H; mlp_size: F.
    head_size: K; 0 for D / H, which H must divide.
    activation: a name of `plmjax.nn.activations`.
    hidden_dropout, attention_dropout: see `LayerSettings`, as for what is not said here.
    initializer_range: deviation of fresh kernels and tables.
    attention: the kind of self-attention, one of `plmjax.nn.efficient.kinds`.
    attention_implementation, sequence_attention: what computes full attention, and what is done
      about rows that the mesh splits; see `LayerSettings`. A run may be resumed with others.
    mask_value: what is added to the scores of keys that may not be attended to.
    dtype: of matrix products and activations; parameters are float32 always.
    scan: whether layers are stacked and scanned. remat: what the backward pass computes again and
      does not keep: none; attention (what is [L, M] in it); dots (all but products with weights);
      full (all but each layer's input). See `plmjax.nn.stack.REMAT_POLICIES`.

    pooler, token_types, languages, groups: as of BERT; families that have them make them fields.
    own_attention: whether the family has its own kind, and no other is a choice.
    """

    own_attention: ClassVar[bool] = False
    pooler: ClassVar[bool] = False
    token_types: ClassVar[int] = 0
    languages: ClassVar[int] = 0
    groups: ClassVar[int] = 0

    vocab_size: int
    num_layers: int = 12
    hidden_size: int = 768
    num_heads: int = 12
    head_size: int = 0
    mlp_size: int = 3072
    activation: str = "gelu_tanh"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    attention: AnyKind = Full()
    attention_implementation: str = "auto"
    sequence_attention: str = "all_to_all"
    mask_value: float = -1e4
    vocab_multiple: int = 128
    dtype: str = "float32"
    scan: bool = True
    remat: str = "none"

    def __post_init__(self):
        if not self.head_size and self.hidden_size % self.num_heads:
            raise UserError(
                f"config.model.hidden_size={self.hidden_size} is not divisible by"
                f" config.model.num_heads={self.num_heads}"
            )
        if self.own_attention and self.attention != Full():
            raise UserError(
                f"config.model.attention.name='{self.attention.name}' is no choice of this family,"
                " whose layers have an attention of their own; leave it at full, without a reach"
            )
        self._check_choice("attention_implementation", IMPLEMENTATIONS, ("auto", "xla"))
        self._check_choice("sequence_attention", SEQUENCE_ATTENTIONS, ("all_to_all", "gather"))
        choose(self.activation, ACTIVATIONS, "config.model.activation")
        choose(self.remat, REMAT_POLICIES, "config.model.remat")
        choose(self.dtype, {"float32": 0, "bfloat16": 0}, "config.model.dtype")

    def _check_choice(self, name: str, known: tuple[str, ...], always: tuple[str, ...]) -> None:
        """Raises a UserError for an unknown name, or one that only full attention can have."""
        value = choose(getattr(self, name), {n: n for n in known}, f"config.model.{name}")
        if value not in always and not self.full_attention:
            raise UserError(
                f"config.model.{name}='{value}' is of full attention, which the layers of this"
                f" model do not have; choose {' or '.join(always)}"
            )

    def _check_pairs(self) -> None:
        """Raises a UserError for heads that rotary positions cannot turn."""
        if self.head_width % 2:
            raise UserError(
                f"heads of config.model.head_size={self.head_width} have no pairs to turn by rotary"
                " positions; give an even number"
            )

    @property
    def full_attention(self) -> bool:
        """Whether layers have the attention of `plmjax.nn.attention`, and no other kind."""
        return isinstance(self.attention, Full)

    @property
    def longest(self) -> int:
        """The longest sequence; a large number where no table limits it."""
        return 1 << 30

    @property
    def embedding_width(self) -> int:
        """E: the width of the embedding tables."""
        return self.hidden_size

    @property
    def head_width(self) -> int:
        """K."""
        return self.head_size or self.hidden_size // self.num_heads

    @property
    def stacks(self) -> tuple[tuple[LayerSettings, ...], ...]:
        """The layers of each `plmjax.nn.stack.Stack` that the model has."""
        return (self.layers,)

    def layer(self, **fields: Any) -> LayerSettings:
        """A layer of these values; `fields` are what the family says beside or against them."""
        return LayerSettings(
            **{
                "num_heads": self.num_heads,
                "head_size": self.head_width,
                "mlp_size": self.mlp_size,
                "activation": self.activation,
                "hidden_dropout": self.hidden_dropout,
                "attention_dropout": self.attention_dropout,
                "initializer_range": self.initializer_range,
                "residual_range": self.initializer_range,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "norm_first": False,
                "attention": self.attention,
                "attention_implementation": self.attention_implementation,
                "sequence_attention": self.sequence_attention,
                "reach": self.attention.reach,
                "mask_value": self.mask_value,
                "remat_pairs": self.remat == "attention",
                "dtype": self.dtype,
                **fields,
            }
        )

    def masked_lm_head(self, **fields: Any) -> MaskedLMHead:
        """What predicts masked tokens; `fields` are what the family says beside BERT's head."""
        return MaskedLMHead(
            self.activation, self.layer_norm_epsilon, self.initializer_range, self.dtype, **fields
        )
