"""ALBERT (Lan et al. 2020), as in google-research/albert modeling.py.

BERT by other values: narrow embeddings that are projected after their norm, and one layer's
parameters for all layers. Its second version has no dropout.
"""

import dataclasses

from plmjax.models import bert

Config = bert.Config


def _size(num_layers: int, hidden_size: int, num_heads: int, dropout: float) -> Config:
    return Config(
        vocab_size=30_000,
        embedding_size=128,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        mlp_size=4 * hidden_size,
        groups=1,
        hidden_dropout=dropout,
        attention_dropout=dropout,
    )


PRESETS = {
    "base": _size(12, 768, 12, 0.1),
    "large": _size(24, 1024, 16, 0.1),
    "xlarge": _size(24, 2048, 16, 0.1),
    "xxlarge": _size(12, 4096, 64, 0.0),
}
PRESETS |= {
    f"{name}-v2": dataclasses.replace(config, hidden_dropout=0.0, attention_dropout=0.0)
    for name, config in PRESETS.items()
}
"""The published sizes, of both versions."""
