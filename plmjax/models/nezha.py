"""NEZHA (Wei et al. 2019), as in huawei-noah/Pretrained-Language-Model NEZHA-TensorFlow.

BERT with functional relative positions in every layer in place of a position table. The TensorFlow
code has the tanh GELU, the PyTorch port the exact one.
"""

import dataclasses

from plmjax.models import bert

Config = bert.Config


def _size(size: str, vocab_size: int, max_relative: int) -> Config:
    return dataclasses.replace(
        bert.PRESETS[size], vocab_size=vocab_size, max_positions=0, max_relative=max_relative
    )


PRESETS = {
    "base-zh": _size("base", 21_128, 64),
    "large-zh": _size("large", 21_128, 64),
    "base-en": _size("base", 28_996, 127),
}
"""The published sizes and ranges."""
