"""What varies between the layers of families, said once."""

import dataclasses

from plmjax.nn.efficient.kinds import AnyKind, Full


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """The values of a Transformer layer.

    Attributes:
      num_heads, head_size: H and K; H * K need not be D.
      mlp_size: F.
      activation: a name of `plmjax.nn.activations.ACTIVATIONS`.
      gated: whether what is activated is multiplied by a second projection (GeGLU and its kin).
      bias: whether projections have one.
      hidden_dropout: of what is added to the residual. attention_dropout: of probabilities.
      mlp_dropout: of the feed-forward's inner layer. attention_out_dropout: of what attention adds
        to the residual, and not the feed-forward (ModernBERT).
      initializer_range: deviation of fresh kernels. residual_range: of those whose result is added
        to the residual. truncated: whether they are cut at two deviations. fan_in: T5's instead:
        the root of 1 / inputs, and queries that make up for scores that are not scaled.
      norm: a name of `plmjax.nn.norms.NORMS`, with layer_norm_epsilon.
      norm_first: whether each half begins with its norm (GPT-2), or ends with it after the residual
        sum (BERT).
      attention_norm: whether the attention's half has a norm at all.
      scale_scores: whether scores are divided by the root of K.
      mask_value: added to the scores of keys that may not be attended to.
      attention: the kind of self-attention, with its settings.
      attention_implementation: what computes full attention: `xla` (anything, everywhere), `cudnn`
        (NVIDIA GPUs, bfloat16) or `splash` (TPUs), which keep no scores in memory; `auto` takes
        what the devices and the call allow, see `plmjax.nn.implementations.choice`. It is the same
        mathematics.
      sequence_attention: what attention does about rows that the mesh splits. `all_to_all` moves
        the split to the heads, whose number it has to divide, and any attention goes on as before.
        `ring` leaves it, and keys and values go round: full attention only, without dropout of
        probabilities and relative positions, and whatever attention_implementation says. `gather`
        gives all keys and values to every device. It is the same mathematics.
      reach: how far a query sees, the largest distance in places; 0 for any. It is this one that
        counts, and not that of `attention`.
      max_relative: R, how far NEZHA's relative positions reach; 0 for none.
      rotary_base: the base of rotary positions; 0 for none. rotary_neighbours: whether they turn
        neighbours together (RoFormer), and not a number and its partner K / 2 on (GPT-NeoX).
      cross: whether attention to another sequence follows that to its own.
      remat_pairs: whether the backward pass computes again what attention has for pairs of places.
      dtype: of matrix products and activations.
    """

    num_heads: int
    head_size: int
    mlp_size: int
    activation: str
    gated: bool = False
    bias: bool = True
    hidden_dropout: float
    attention_dropout: float
    mlp_dropout: float = 0.0
    attention_out_dropout: float = 0.0
    initializer_range: float
    residual_range: float
    truncated: bool = True
    fan_in: bool = False
    norm: str = "layer"
    layer_norm_epsilon: float
    norm_first: bool
    attention_norm: bool = True
    scale_scores: bool = True
    mask_value: float
    attention: AnyKind = Full()
    attention_implementation: str = "auto"
    sequence_attention: str = "all_to_all"
    reach: int = 0
    max_relative: int = 0
    rotary_base: float = 0.0
    rotary_neighbours: bool = False
    cross: bool = False
    remat_pairs: bool = False
    dtype: str
