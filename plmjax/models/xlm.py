"""XLM (Lample & Conneau 2019), as in facebookresearch/XLM.

BERT by other values: an embedding of each token's language, one token type without a table, the
exact GELU, no pooler, and a head that is the table alone. With `causal` it is the paper's CLM.

XLM sets padded places to zero after every layer. Nobody attends to them, so at real places that
changes nothing, and it is left out here. Fresh parameters are drawn as BERT's; XLM draws tables
with a deviation of D^-0.5 and has PyTorch's default for kernels.
"""

from plmjax.models import bert

Config = bert.Config


def _size(
    num_layers: int, hidden_size: int, num_heads: int, vocab_size: int, languages: int = 0
) -> Config:
    return Config(
        vocab_size=vocab_size,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        mlp_size=4 * hidden_size,
        activation="gelu",
        token_types=0,
        languages=languages,
        pooler=False,
        head_transform=False,
        mask_value=-1e9,
    )


PRESETS = {
    "en": _size(12, 2048, 16, 30_145),
    "15-langs": _size(12, 1024, 8, 95_000, languages=15),
    "17-langs": _size(16, 1280, 16, 200_000),
    "100-langs": _size(16, 1280, 16, 200_000),
}
"""The published sizes; the models of 17 and of 100 languages have no language embeddings."""
