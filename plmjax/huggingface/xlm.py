"""XLM in Hugging Face's words."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from plmjax.huggingface.encoders import layer_entries
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, norm
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.xlm import PRESETS, Config
from plmjax.nn.stack import subtrees

_PARTS = {
    "attention/query": "attentions.{}.q_lin",
    "attention/key": "attentions.{}.k_lin",
    "attention/value": "attentions.{}.v_lin",
    "attention/output": "attentions.{}.out_lin",
    "attention_norm": "layer_norm1.{}",
    "mlp/in": "ffns.{}.lin1",
    "mlp/out": "ffns.{}.lin2",
    "mlp_norm": "layer_norm2.{}",
}
_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layers",
    "hidden_size": "emb_dim",
    "num_heads": "n_heads",
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "layer_norm_epsilon": "layer_norm_eps",
    "initializer_range": "init_std",
    "max_positions": "max_position_embeddings",
    "causal": "causal",
    "languages": "n_langs",
}
_FIXED = {
    "asm": False,
    "sinusoidal_embeddings": False,
    "is_encoder": True,
    "tie_word_embeddings": True,
}
"""What they let vary and we do not."""

DEFAULTS = {
    "vocab_size": 30145,
    "n_layers": 12,
    "emb_dim": 2048,
    "n_heads": 16,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "gelu_activation": True,
    "layer_norm_eps": 1e-12,
    "init_std": 0.02,
    "max_position_embeddings": 512,
    "n_langs": 1,
    "use_lang_emb": True,
    "causal": False,
}
"""Of their config class."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of config.json; their feed-forward is 4 D wide."""
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return (
        _FIXED
        | settings
        | {
            "gelu_activation": config.activation == "gelu",
            "embed_init_std": config.initializer_range,
            "n_langs": max(config.languages, 1),
            "use_lang_emb": config.languages > 0,
        }
    )


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config from the fields of config.json.

    Raises:
      UserError: for an adaptive softmax, sinusoids, and an output table that is not tied.
    """
    check_fixed(settings, _FIXED)
    older = {"vocab_size": settings["n_words"]} if "n_words" in settings else {}
    filled = with_defaults({**settings, **older}, DEFAULTS)
    fields = number_fields(filled, _FIELDS, PRESETS["en"])
    if not filled["use_lang_emb"] or fields["languages"] == 1:
        fields["languages"] = 0
    return dataclasses.replace(
        PRESETS["en"],
        **fields,
        mlp_size=4 * fields["hidden_size"],
        activation="gelu" if filled["gelu_activation"] else "relu",
    )


def table(config: Config, which: str) -> list[Entry]:
    """The entries of an objective's parameters.

    Args:
      config: of the backbone.
      which: `model` for the backbone alone, `language_model` with the bias of the tied head.
    """
    theirs, root = "transformer", "backbone"
    entries = [
        Entry(f"{root}/token_table/embedding", f"{theirs}.embeddings.weight", "vocab"),
        Entry(f"{root}/position_embedding", f"{theirs}.position_embeddings.weight", "same"),
        *norm(f"{root}/embedding_norm", f"{theirs}.layer_norm_emb"),
    ]
    if config.languages:
        languages = f"{theirs}.lang_embeddings.weight"
        entries.append(Entry(f"{root}/language_embedding", languages, "same"))
    for path, layers in subtrees(config.layers, config.scan).items():
        entries += layer_entries(f"{root}/encoder/{path}", theirs, _PARTS, layers)
    if which == "language_model":
        entries.append(Entry("mlm_head/output_bias", "pred_layer.proj.bias", "vocab"))
    return entries


FAMILY = Family(
    model_type="xlm",
    classes={"model": "XLMModel", "language_model": "XLMWithLMHeadModel"},
    prefix="transformer.",
    to_settings=to_settings,
    from_settings=from_settings,
    table=table,
    duplicates={"pred_layer.proj.weight": "transformer.embeddings.weight"},
)
