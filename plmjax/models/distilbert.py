"""DistilBERT (Sanh et al. 2019): six layers of BERT without token types and pooler.

Source: huggingface/transformers, research projects, distillation.
"""

import dataclasses

from plmjax.models import bert

Config = bert.Config

PRESETS = {
    "base": dataclasses.replace(
        bert.PRESETS["base"], num_layers=6, token_types=0, pooler=False, activation="gelu"
    ),
}
"""The published size."""
