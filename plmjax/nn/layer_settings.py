"""What varies between the layers of families, said once."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class LayerSettings:
    """The values of a Transformer layer.

    Attributes:
      num_heads, head_size: H and K.
      mlp_size: F.
      activation: a name of `plmjax.nn.activations.ACTIVATIONS`.
      hidden_dropout: of what is added to the residual. attention_dropout: of probabilities.
      initializer_range: deviation of fresh kernels. residual_range: of those whose result is added
        to the residual.
      norm_first: whether each half begins with its norm (GPT-2), or ends with it after the residual
        sum (BERT).
      layer_norm_epsilon: in the norms.
      mask_value: added to the scores of keys that may not be attended to.
      max_relative: R, how far NEZHA's relative positions reach; 0 for none.
      dtype: of matrix products and activations.
    """

    num_heads: int
    head_size: int
    mlp_size: int
    activation: str
    hidden_dropout: float
    attention_dropout: float
    initializer_range: float
    residual_range: float
    norm_first: bool
    layer_norm_epsilon: float
    mask_value: float
    max_relative: int
    dtype: str
