"""RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2020), as in facebookresearch/fairseq.

BERT by other values: byte-level BPE or SentencePiece, positions that begin at row 2 and count the
tokens that are not padding, one token type, the exact GELU, an epsilon of 1e-5, no pooler.
"""

import dataclasses

from plmjax.models import bert

Config = bert.Config


def _like_bert(size: str, vocab_size: int) -> Config:
    return dataclasses.replace(
        bert.PRESETS[size],
        vocab_size=vocab_size,
        max_positions=514,
        first_position=2,
        token_types=1,
        pooler=False,
        activation="gelu",
        layer_norm_epsilon=1e-5,
    )


PRESETS = {
    "base": _like_bert("base", 50265),
    "large": _like_bert("large", 50265),
    "xlm-r-base": _like_bert("base", 250_002),
    "xlm-r-large": _like_bert("large", 250_002),
}
"""The published sizes."""
