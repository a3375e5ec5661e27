"""ELECTRA's backbones (Clark et al. 2020), as in google-research/electra modeling.py.

BERT by other values: the exact GELU, no pooler, and in the small sizes narrow embeddings that are
projected after their norm. `Config.narrower` makes the generator of a discriminator.
"""

from plmjax.models import bert

Config = bert.Config


def _size(num_layers: int, hidden_size: int, embedding_size: int) -> Config:
    return Config(
        num_layers=num_layers,
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        num_heads=hidden_size // 64,
        mlp_size=4 * hidden_size,
        activation="gelu",
        pooler=False,
    )


PRESETS = {
    "small": _size(12, 256, 128),
    "base": _size(12, 768, 0),
    "large": _size(24, 1024, 0),
}
"""The published discriminators."""

GENERATOR_FRACTIONS = {"small": 1 / 4, "base": 1 / 3, "large": 1 / 4}
"""How wide each size's generator is; the released small model's is as wide as itself."""
