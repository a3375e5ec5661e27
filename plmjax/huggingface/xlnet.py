"""Key table and settings of XLNet, whose projections are tensors [D, H, K]."""

from collections.abc import Mapping
from typing import Any

from plmjax.huggingface import activations
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.xlnet import Config
from plmjax.nn.stack import subtrees

_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layer",
    "hidden_size": "d_model",
    "num_heads": "n_head",
    "mlp_size": "d_inner",
    "direction": "attn_type",
    "same_length": "same_length",
    "initializer_range": "initializer_range",
    "layer_norm_epsilon": "layer_norm_eps",
    "hidden_dropout": "dropout",
    "attention_dropout": "dropout",
    "bi_data": "bi_data",
    "head_size": "d_head",
    "mem_len": "mem_len",
    "reuse_len": "reuse_len",
    "clamp_len": "clamp_len",
}
_FIXED = {"untie_r": True, "tie_word_embeddings": True}
DEFAULTS = {
    "vocab_size": 32000,
    "n_layer": 24,
    "d_model": 1024,
    "n_head": 16,
    "d_inner": 4096,
    "ff_activation": "gelu",
    "attn_type": "bi",
    "same_length": False,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "dropout": 0.1,
    "mem_len": 512,
    "bi_data": False,
    "clamp_len": -1,
}
"""Of their config class."""

_ATTENTION = {
    "query/kernel": ("q", "same"),
    "key/kernel": ("k", "same"),
    "value/kernel": ("v", "same"),
    "relative/kernel": ("r", "same"),
    "output/kernel": ("o", "heads_last"),
    "content_offset": ("r_w_bias", "same"),
    "position_offset": ("r_r_bias", "same"),
    "segment_offset": ("r_s_bias", "same"),
    "segment_embedding": ("seg_embed", "same"),
}


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of config.json.

    Theirs has one rate for all dropouts, and offsets that layers do not share. A memory without a
    limit, which theirs has where mem_len is null, is not ours: 0 is none here.
    """
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return (
        _FIXED
        | settings
        | {
            "dropout": config.hidden_dropout,
            "d_head": config.head_width,
            "ff_activation": activations.to_theirs(config.activation),
            "mem_len": config.mem_len or None,
            "reuse_len": config.reuse_len or None,
            "use_mems_eval": config.mem_len > 0,
            "use_mems_train": config.mem_len > 0,
            "clamp_len": config.clamp_len or -1,
        }
    )


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config of the fields of config.json.

    Raises:
      UserError: for an activation or a kind of attention that we do not have.
    """
    check_fixed(settings, _FIXED)
    # null says none of these, and not the default.
    none = {name: 0 for name in ("mem_len", "reuse_len") if name in settings}
    filled = with_defaults(settings, DEFAULTS | {"d_head": 0, "reuse_len": 0} | none)
    fields = number_fields(filled, _FIELDS, Config())
    if fields["head_size"] * fields["num_heads"] == fields["hidden_size"]:
        fields["head_size"] = 0
    fields["clamp_len"] = max(fields["clamp_len"], 0)
    return Config(
        **fields,
        activation=activations.to_ours(filled["ff_activation"], "ff_activation"),
    )


def table(config: Config, which: str) -> list[Entry]:
    """The entries of the backbone, and with `language_model` of the head's bias.

    Their `lm_loss.weight` is tied to the token table and has no entry.
    """
    root = "backbone"
    entries = [
        Entry(f"{root}/token_table/embedding", "transformer.word_embedding.weight", "vocab"),
        Entry(f"{root}/mask_embedding", "transformer.mask_emb", "one_row"),
    ]
    for path, layers in subtrees(config.layers, config.scan).items():
        entries += _layer(f"{root}/decoder/{path}", "transformer.layer.{}", layers)
    if which == "language_model":
        entries.append(Entry("lm_head/output_bias", "lm_loss.bias", "vocab"))
    return entries


def _layer(ours: str, theirs: str, layers: Layers) -> list[Entry]:
    entries = [
        Entry(f"{ours}/attention/{path}", f"{theirs}.rel_attn.{name}", kind, layers)
        for path, (name, kind) in _ATTENTION.items()
    ]
    entries += norm(f"{ours}/attention_norm", f"{theirs}.rel_attn.layer_norm", layers)
    entries += dense(f"{ours}/mlp/in", f"{theirs}.ff.layer_1", layers)
    entries += dense(f"{ours}/mlp/out", f"{theirs}.ff.layer_2", layers)
    return entries + norm(f"{ours}/mlp_norm", f"{theirs}.ff.layer_norm", layers)


FAMILY = Family(
    model_type="xlnet",
    classes={"model": "XLNetModel", "language_model": "XLNetLMHeadModel"},
    prefix="transformer.",
    to_settings=to_settings,
    from_settings=from_settings,
    table=table,
    duplicates={"lm_loss.weight": "transformer.word_embedding.weight"},
)
