"""Baidu's ERNIE 1.0 (Sun et al. 2019) and 2.0 (Sun et al. 2020), as in PaddlePaddle/ERNIE.

BERT by other values: an epsilon of 1e-5; ReLU in the Chinese models; in the English ones of 2.0
four token types and 16 task embeddings.
"""

import dataclasses

from plmjax.models import bert

Config = bert.Config


def _english(size: str) -> Config:
    return dataclasses.replace(
        bert.PRESETS[size],
        token_types=4,
        task_types=16,
        activation="gelu",
        layer_norm_epsilon=1e-5,
    )


PRESETS = {
    "1.0-base-zh": dataclasses.replace(
        bert.PRESETS["base"],
        vocab_size=18_000,
        max_positions=513,
        activation="relu",
        layer_norm_epsilon=1e-5,
    ),
    "2.0-base": _english("base"),
    "2.0-large": _english("large"),
}
"""The published sizes."""
