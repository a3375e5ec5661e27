"""ModernBERT in Hugging Face's words; Q, K and V are one tensor there, and so is the GeGLU."""

from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface import activations
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.modernbert import Config
from plmjax.nn.stack import subtrees

_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_size": "intermediate_size",
    "attention_dropout": "attention_dropout",
    "embedding_dropout": "embedding_dropout",
    "mlp_dropout": "mlp_dropout",
    "layer_norm_epsilon": "norm_eps",
    "initializer_range": "initializer_range",
    "max_positions": "max_position_embeddings",
    "window": "local_attention",
}
_FIXED = {
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
    "tie_word_embeddings": True,
}
"""What they let vary and we, with the paper, do not."""


DEFAULTS = {
    "vocab_size": 50368,
    "num_hidden_layers": 22,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 1152,
    "hidden_activation": "gelu",
    "attention_dropout": 0.0,
    "embedding_dropout": 0.0,
    "mlp_dropout": 0.0,
    "norm_eps": 1e-5,
    "initializer_range": 0.02,
    "max_position_embeddings": 8192,
    "local_attention": 128,
}
"""Of their config class."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of config.json, in the older spelling, which old and new versions read.

    Their `attention_dropout` is of probabilities and of the attention's output: it is that of
    probabilities here, and ours of the output is left out.
    """
    activation = activations.to_theirs(config.activation)
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return (
        _FIXED
        | settings
        | {
            "hidden_activation": activation,
            "classifier_activation": activation,
            "global_attn_every_n_layers": config.global_every,
            "global_rope_theta": config.global_base,
            "local_rope_theta": config.local_base,
        }
    )


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config from the fields of config.json; the layers' kinds in either spelling.

    Raises:
      UserError: for values that we do not have.
    """
    filled = with_defaults(settings, DEFAULTS)
    given, default = filled["hidden_activation"], Config()
    activation = activations.to_ours(given, "hidden_activation")
    check_fixed(filled, _FIXED | {"classifier_activation": given})
    fields = number_fields(filled, _FIELDS, default)
    return Config(
        **fields,
        activation=activation,
        hidden_dropout=fields["attention_dropout"],
        global_every=_global_every(settings, default.global_every),
        global_base=_base(settings, "full_attention", "global_rope_theta", default.global_base),
        local_base=_base(settings, "sliding_attention", "local_rope_theta", default.local_base),
    )


def _global_every(settings: Mapping[str, Any], default: int) -> int:
    """Every how many layers one is global, from a number or from the newer list of kinds."""
    given = settings.get("global_attn_every_n_layers", default)
    kinds = settings.get("layer_types")
    if kinds is None:
        return given
    is_global = [kind == "full_attention" for kind in kinds]
    count = len(is_global)
    # Few layers fit several numbers: the one that is given, if it does.
    for every in (given, *range(1, count + 1)):
        if is_global == [number % every == 0 for number in range(count)]:
            return every
    raise UserError(
        f"config.json has layer_types={kinds}; known here is full_attention in the first layer and"
        " every so many after it"
    )


def _base(settings: Mapping[str, Any], kind: str, older: str, default: float) -> float:
    """The base of the rotary positions of one kind of layers."""
    found = (settings.get("rope_parameters") or {}).get(kind) or {}
    if found.get("rope_type", "default") != "default":
        raise UserError(
            f"config.json has rope_type={found['rope_type']} for {kind}; only default is known here"
        )
    return float(found.get("rope_theta", settings.get(older, default)))


def table(config: Config, which: str) -> list[Entry]:
    """The entries of an objective's parameters.

    Args:
      config: of the backbone.
      which: `model` for the backbone alone, `language_model` with the head.
    """
    embeddings, root = "model.embeddings", "backbone"
    tokens = f"{embeddings}.tok_embeddings.weight"
    entries = [
        Entry(f"{root}/token_table/embedding", tokens, "vocab"),
        *norm(f"{root}/embedding_norm", f"{embeddings}.norm", bias=False),
    ]
    for path, layers in subtrees(config.layers, config.scan).items():
        first = layers[0] if isinstance(layers, tuple) else layers
        has_norm = config.layers[first].attention_norm
        entries += _layer(f"{root}/encoder/{path}", "model.layers.{}", layers, has_norm)
    entries += norm(f"{root}/final_norm", "model.final_norm", bias=False)
    if which == "language_model":
        entries += dense("mlm_head/dense", "head.dense", bias=False)
        entries += norm("mlm_head/norm", "head.norm", bias=False)
        entries.append(Entry("mlm_head/output_bias", "decoder.bias", "vocab"))
    return entries


def _layer(ours: str, theirs: str, layers: Layers, has_norm: bool) -> list[Entry]:
    def fused(names: tuple[str, ...], tensor: str, kind: str) -> list[Entry]:
        whole = f"{theirs}.{tensor}.weight"
        return [
            Entry(f"{ours}/{name}/kernel", whole, kind, layers, (number, len(names)), axis=0)
            for number, name in enumerate(names)
        ]

    heads = ("attention/query", "attention/key", "attention/value")
    entries = fused(heads, "attn.Wqkv", "to_heads")
    entries += dense(f"{ours}/attention/output", f"{theirs}.attn.Wo", layers, "from_heads", False)
    entries += fused(("mlp/in", "mlp/gate"), "mlp.Wi", "dense")
    entries += dense(f"{ours}/mlp/out", f"{theirs}.mlp.Wo", layers, bias=False)
    norms = {"attention_norm": "attn_norm"} if has_norm else {}
    for name, their_name in (norms | {"mlp_norm": "mlp_norm"}).items():
        entries += norm(f"{ours}/{name}", f"{theirs}.{their_name}", layers, bias=False)
    return entries


FAMILY = Family(
    model_type="modernbert",
    classes={"model": "ModernBertModel", "language_model": "ModernBertForMaskedLM"},
    prefix="model.",
    to_settings=to_settings,
    from_settings=from_settings,
    table=table,
    duplicates={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    lost=("hidden_dropout",),
)
