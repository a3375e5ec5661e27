"""Key table and settings of XLNet, whose projections are tensors [D, H, K]."""

from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm
from plmjax.models.xlnet import Config
from plmjax.nn.stack import subtrees
from plmjax.settings import choose

_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}
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

    Theirs has one rate for all dropouts; it gets that of the residual. A memory without a limit,
    which theirs has where mem_len is null, is not ours: 0 is none here.

    Raises:
      UserError: for offsets that layers share, which theirs cannot have.
    """
    _refuse_shared(config)
    return {
        "vocab_size": config.vocab_size,
        "n_layer": config.num_layers,
        "d_model": config.hidden_size,
        "n_head": config.num_heads,
        "d_head": config.head_width,
        "d_inner": config.mlp_size,
        "ff_activation": _ACTIVATIONS[config.activation],
        "untie_r": True,
        "attn_type": config.direction,
        "same_length": config.same_length,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": config.layer_norm_epsilon,
        "dropout": config.hidden_dropout,
        "mem_len": config.mem_len or None,
        "reuse_len": config.reuse_len or None,
        "use_mems_eval": config.mem_len > 0,
        "use_mems_train": config.mem_len > 0,
        "bi_data": config.bi_data,
        "clamp_len": config.clamp_len or -1,
    }


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config of the fields of config.json.

    Raises:
      UserError: for an activation or a kind of attention that we do not have.
    """
    activations = {theirs: ours for ours, theirs in _ACTIVATIONS.items()}
    heads, width = settings["n_head"], settings["d_model"]
    head_size = settings.get("d_head") or 0
    return Config(
        vocab_size=settings["vocab_size"],
        num_layers=settings["n_layer"],
        hidden_size=width,
        num_heads=heads,
        head_size=0 if head_size * heads == width else head_size,
        mlp_size=settings["d_inner"],
        activation=choose(settings["ff_activation"], activations, "ff_activation"),
        direction=settings["attn_type"],
        same_length=settings["same_length"],
        initializer_range=settings["initializer_range"],
        layer_norm_epsilon=settings["layer_norm_eps"],
        hidden_dropout=float(settings["dropout"]),
        attention_dropout=float(settings["dropout"]),
        mem_len=settings["mem_len"] or 0,
        reuse_len=settings["reuse_len"] or 0,
        bi_data=settings["bi_data"],
        clamp_len=max(settings["clamp_len"], 0),
    )


def table(config: Config, which: str) -> list[Entry]:
    """The entries of the backbone, and with `language_model` of the head's bias.

    Their `lm_loss.weight` is tied to the token table and has no entry.

    Raises:
      UserError: as `to_settings`.
    """
    _refuse_shared(config)
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


def _refuse_shared(config: Config) -> None:
    if not config.untie_offsets:
        raise UserError(
            "config.model.untie_offsets=False has no place in Hugging Face's XLNet, where every"
            " layer has its own; give True"
        )


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
)
