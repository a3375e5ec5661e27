"""GPT-1 and GPT-2 at Hugging Face: Conv1D kernels are [in, out] and have Q, K and V in one."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface import activations
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, norm
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.gpt import PRESETS, Config
from plmjax.nn.stack import subtrees
from plmjax.settings import nearest

_GPT1 = {"tokens": "tokens_embed", "positions": "positions_embed", "layer": "h.{}"}
_GPT2 = {"tokens": "wte", "positions": "wpe", "layer": "h.{}"}


def table(config: Config, root: str = "") -> list[Entry]:
    """The entries of the model with its tied head; ours lie below `root`."""
    names = _GPT2 if config.norm_first else _GPT1
    entries = [
        Entry(f"{root}token_table/embedding", f"transformer.{names['tokens']}.weight", "vocab"),
        Entry(f"{root}position_embedding", f"transformer.{names['positions']}.weight", "same"),
    ]
    theirs = f"transformer.{names['layer']}"
    for path, layers in subtrees(config.layers, config.scan).items():
        entries += _layer(f"{root}decoder/{path}", theirs, layers)
    if config.norm_first:
        entries += norm(f"{root}final_norm", "transformer.ln_f")
    return entries


def _layer(ours: str, theirs: str, layers: Layers) -> list[Entry]:
    entries = []
    for number, name in enumerate(("query", "key", "value")):
        path, part = f"{ours}/attention/{name}", (number, 3)
        fused = f"{theirs}.attn.c_attn"
        entries.append(Entry(f"{path}/kernel", f"{fused}.weight", "split_heads", layers, part))
        entries.append(Entry(f"{path}/bias", f"{fused}.bias", "head_bias", layers, part))
    joined = f"{ours}/attention/output/kernel"
    entries.append(Entry(joined, f"{theirs}.attn.c_proj.weight", "join_heads", layers))
    kept = {
        "attention/output/bias": "attn.c_proj.bias",
        "mlp/in/kernel": "mlp.c_fc.weight",
        "mlp/in/bias": "mlp.c_fc.bias",
        "mlp/out/kernel": "mlp.c_proj.weight",
        "mlp/out/bias": "mlp.c_proj.bias",
    }
    entries += [Entry(f"{ours}/{a}", f"{theirs}.{b}", "same", layers) for a, b in kept.items()]
    for path, name in (("attention_norm", "ln_1"), ("mlp_norm", "ln_2")):
        entries += norm(f"{ours}/{path}", f"{theirs}.{name}", layers)
    return entries


_GPT2_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layer",
    "hidden_size": "n_embd",
    "num_heads": "n_head",
    "max_positions": "n_positions",
    "attention_dropout": "attn_pdrop",
    "hidden_dropout": "resid_pdrop",
    "layer_norm_epsilon": "layer_norm_epsilon",
    "initializer_range": "initializer_range",
}
_DEFAULTS = {
    "n_layer": 12,
    "n_embd": 768,
    "n_head": 12,
    "attn_pdrop": 0.1,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
}
_GPT2_DEFAULTS = _DEFAULTS | {
    "vocab_size": 50257,
    "n_positions": 1024,
    "activation_function": "gelu_new",
}
_GPT1_DEFAULTS = _DEFAULTS | {"vocab_size": 40478, "n_positions": 512, "afn": "gelu"}
_GPT2_FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
# OpenAIGPT's `gelu` is what other classes call gelu_new.
_GPT1_ACTIVATIONS = {"gelu_tanh": "gelu", "relu": "relu"}


def _to_settings(config: Config) -> dict[str, Any]:
    settings = {theirs: getattr(config, ours) for ours, theirs in _GPT2_FIELDS.items()}
    return settings | {"embd_pdrop": config.hidden_dropout}


def _gpt2_to_settings(config: Config) -> dict[str, Any]:
    name = activations.to_theirs(config.activation)
    own = {"n_inner": config.mlp_size, "activation_function": name}
    return _to_settings(config) | own | _GPT2_FIXED


def _gpt1_to_settings(config: Config) -> dict[str, Any]:
    if config.activation not in _GPT1_ACTIVATIONS:
        raise UserError(
            f"config.model.activation='{config.activation}' has no name in Hugging Face's"
            f" openai-gpt{nearest(config.activation, _GPT1_ACTIVATIONS)}"
        )
    return _to_settings(config) | {"afn": _GPT1_ACTIVATIONS[config.activation]}


def _gpt2_from_settings(settings: Mapping[str, Any]) -> Config:
    check_fixed(settings, _GPT2_FIXED)
    filled = with_defaults(settings, _GPT2_DEFAULTS)
    fields = number_fields(filled, _GPT2_FIELDS, PRESETS["gpt2-small"])
    fields["mlp_size"] = filled.get("n_inner") or 4 * fields["hidden_size"]
    name = filled["activation_function"]
    fields["activation"] = activations.to_ours(name, "activation_function")
    _check_dropouts(filled)
    return dataclasses.replace(PRESETS["gpt2-small"], **fields)


def _gpt1_from_settings(settings: Mapping[str, Any]) -> Config:
    filled = with_defaults(settings, _GPT1_DEFAULTS)
    fields = number_fields(filled, _GPT2_FIELDS, PRESETS["gpt1"])
    fields["mlp_size"] = 4 * fields["hidden_size"]
    ours = {theirs: ours for ours, theirs in _GPT1_ACTIVATIONS.items()}
    if filled["afn"] not in ours:
        raise UserError(
            f"config.json has afn='{filled['afn']}', an activation that plmjax does not have"
            f"{nearest(filled['afn'], ours)}"
        )
    fields["activation"] = ours[filled["afn"]]
    _check_dropouts(filled)
    return dataclasses.replace(PRESETS["gpt1"], **fields)


def _check_dropouts(settings: Mapping[str, Any]) -> None:
    check_fixed(settings, {"embd_pdrop": settings["resid_pdrop"]})


def _family(model_type: str, classes: str, to_settings, from_settings, norm_first: bool) -> Family:
    tokens = (_GPT2 if norm_first else _GPT1)["tokens"]
    return Family(
        model_type=model_type,
        classes={"model": f"{classes}Model", "language_model": f"{classes}LMHeadModel"},
        prefix="transformer.",
        to_settings=to_settings,
        from_settings=from_settings,
        # The head is the token table, so both classes have the same tensors.
        table=lambda config, key: table(config, "backbone/"),
        fits=lambda config: config.norm_first == norm_first,
        duplicates={"lm_head.weight": f"transformer.{tokens}.weight"},
        ignored=(r"\bh\.\d+\.attn\.(masked_)?bias$", r"\bposition_ids$"),
    )


GPT2 = _family("gpt2", "GPT2", _gpt2_to_settings, _gpt2_from_settings, norm_first=True)
GPT1 = _family("openai-gpt", "OpenAIGPT", _gpt1_to_settings, _gpt1_from_settings, norm_first=False)
