"""Yuefu (Liao et al. 2019), which writes classical Chinese poems: a GPT of BERT's geometry.

The published system is built on BERT's code (google-research/bert) with a mask of what follows:
norms behind the residual sums, one on the embeddings, and the head of masked language models.
There is no table of segments. It is `plmjax.models.gpt` by other values.
"""

from plmjax.models.gpt import Config


def _size(num_layers: int, hidden_size: int) -> Config:
    return Config(
        vocab_size=21_128,
        max_positions=512,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        mlp_size=4 * hidden_size,
        norm_first=False,
        embedding_norm=True,
        head_transform=True,
        layer_norm_epsilon=1e-12,
        position_range=0.02,
        scale_residual=False,
        mask_value=-1e4,
    )


PRESETS = {"base": _size(12, 768), "small": _size(4, 256)}
"""The published size, with BERT's Chinese vocabulary; `small` is ours, for two cores."""
