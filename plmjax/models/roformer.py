"""RoFormer (Su et al. 2021), as in ZhuiyiTechnology/roformer, which is bert4keras.

BERT with rotary positions in every layer in place of a position table: queries and keys are turned,
values are not. The exact GELU, no pooler. The sizes are those of the config.json that junnyu
published with the weights; max_positions may be raised, as nothing is learned of places. The models
of words cut text with jieba before WordPiece, those of characters have BERT's tokenizer.
"""

import dataclasses

from plmjax.models import bert

Config = bert.Config

_BASE = dataclasses.replace(
    bert.PRESETS["base"],
    vocab_size=50_000,
    max_positions=1536,
    rotary_base=10_000.0,
    activation="gelu",
    pooler=False,
)
_SMALL = {"num_layers": 6, "hidden_size": 384, "num_heads": 6, "mlp_size": 1536}
_CHARACTERS = {"vocab_size": 12_000, "max_positions": 512}

PRESETS = {
    "base-zh": _BASE,
    "small-zh": dataclasses.replace(_BASE, **_SMALL),
    "char-base-zh": dataclasses.replace(_BASE, **_CHARACTERS),
    "char-small-zh": dataclasses.replace(_BASE, **_SMALL, **_CHARACTERS),
}
"""The published sizes, of words and of characters."""
