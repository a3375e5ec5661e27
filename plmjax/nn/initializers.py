"""Initialisers that carry the logical names of the axes they fill."""

import flax.linen as nn
from jax.nn.initializers import Initializer

from plmjax.nn.layer_settings import LayerSettings


def named(init: Initializer, *names: str) -> Initializer:
    """`init`, with the parameter's axes named by the constants of `plmjax.parallel.rules`."""
    return nn.with_logical_partitioning(init, names)


def bert_normal(stddev: float) -> Initializer:
    """TensorFlow's truncated normal: cut at two `stddev`, real deviation about 0.88 of it.

    Source: google-research/bert modeling.py, create_initializer.
    """
    return nn.initializers.truncated_normal(stddev, lower=-2.0, upper=2.0)


def kernel_init(settings: LayerSettings, inputs: int, adds: bool = False) -> Initializer:
    """How a layer's kernel begins.

    Args:
      settings: of the layer.
      inputs: how many numbers each output is a sum of.
      adds: whether the result is added to the residual.
    """
    if settings.fan_in:
        return nn.initializers.normal(inputs**-0.5)
    normal = bert_normal if settings.truncated else nn.initializers.normal
    return normal(settings.residual_range if adds else settings.initializer_range)
