"""T5 in Hugging Face's words: T5Model and T5ForConditionalGeneration."""

from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm
from plmjax.huggingface.settings import number_fields, with_defaults
from plmjax.models.t5 import Config
from plmjax.nn.stack import subtrees
from plmjax.settings import choose

_PROJECTIONS = {
    "relu": (False, "relu"),
    "gelu_new": (False, "gelu_tanh"),
    "gelu": (False, "gelu"),
    "tanh": (False, "tanh"),
    "gated-gelu": (True, "gelu_tanh"),  # their name for the approximation, erf or not
    "gated-relu": (True, "relu"),
    "gated-tanh": (True, "tanh"),
}
"""Their `feed_forward_proj`: whether it is gated, and our name of the activation."""


_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "head_size": "d_kv",
    "mlp_size": "d_ff",
    "num_layers": "num_layers",
    "num_decoder_layers": "num_decoder_layers",
    "num_heads": "num_heads",
    "buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "hidden_dropout": "dropout_rate",
    "attention_dropout": "dropout_rate",
    "layer_norm_epsilon": "layer_norm_epsilon",
    "initializer_range": "initializer_factor",
}
DEFAULTS = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "initializer_factor": 1.0,
    "feed_forward_proj": "relu",
}
"""Of their config class."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of T5Config.

    Theirs has one rate of dropout, and the same heads and feed-forward in both stacks.

    Raises:
      UserError: for a gated feed-forward of erf, which their code has not.
    """
    names = {ours: theirs for theirs, ours in _PROJECTIONS.items()}
    if (config.gated, config.activation) not in names:
        raise UserError(
            f"config.model.activation='{config.activation}' with config.model.gated={config.gated}:"
            f" Hugging Face's T5 has {', '.join(_PROJECTIONS)}; train with one of these to export"
            " it"
        )
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return settings | {
        "d_kv": config.head_width,
        "dropout_rate": config.hidden_dropout,
        "num_decoder_layers": config.decoder_depth,
        "feed_forward_proj": names[config.gated, config.activation],
        "tie_word_embeddings": config.tied,
    }


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config, from the fields of T5Config.

    A head of its own is told by `tie_word_embeddings`, or by `scale_decoder_outputs`: transformers
    5 writes what the former was under that name, and true in its place.

    Raises:
      UserError: for a feed-forward that we do not have.
    """
    filled = with_defaults(settings, DEFAULTS)
    gated, activation = choose(filled["feed_forward_proj"], _PROJECTIONS, "feed_forward_proj")
    filled.setdefault("num_decoder_layers", filled["num_layers"])
    fields = number_fields(filled, _FIELDS, Config())
    if fields["num_decoder_layers"] == fields["num_layers"]:
        fields["num_decoder_layers"] = 0
    ties = [filled.get(name, True) for name in ("tie_word_embeddings", "scale_decoder_outputs")]
    return Config(
        **fields,
        gated=gated,
        activation=activation,
        tied=all(ties),
    )


def table(config: Config, key: str) -> list[Entry]:
    """The entries of an encoder-decoder, with its head for `language_model`."""
    root = "backbone"
    entries = [Entry(f"{root}/token_table/embedding", "shared.weight", "vocab")]
    for side, stack in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        first = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        entries.append(Entry(f"{root}/{side}/relative_bias", first, "same"))
        for path, layers in subtrees(stack, config.scan).items():
            ours, theirs = f"{root}/{side}/stack/{path}", f"{side}.block.{{}}.layer"
            entries += _layer(ours, theirs, layers, config.gated, stack[0].cross)
        entries += norm(f"{root}/{side}/final_norm", f"{side}.final_layer_norm", bias=False)
    if key == "language_model" and not config.tied:
        entries.append(Entry(f"{root}/head/embedding", "lm_head.weight", "vocab"))
    return entries


def _layer(ours: str, theirs: str, layers: Layers, gated: bool, cross: bool) -> list[Entry]:
    parts = [("attention", "SelfAttention"), ("cross", "EncDecAttention")][: 1 + cross]
    entries = []
    for number, (part, name) in enumerate(parts):
        for projection in ("query", "key", "value", "output"):
            kind = "from_heads" if projection == "output" else "to_heads"
            path = f"{theirs}.{number}.{name}.{projection[0]}"
            entries += dense(f"{ours}/{part}/{projection}", path, layers, kind, bias=False)
        entries += norm(f"{ours}/{part}_norm", f"{theirs}.{number}.layer_norm", layers, bias=False)
    inner = {"in": "wi_0", "gate": "wi_1"} if gated else {"in": "wi"}
    for part, name in {**inner, "out": "wo"}.items():
        path = f"{theirs}.{len(parts)}.DenseReluDense.{name}"
        entries += dense(f"{ours}/mlp/{part}", path, layers, bias=False)
    return entries + norm(
        f"{ours}/mlp_norm", f"{theirs}.{len(parts)}.layer_norm", layers, bias=False
    )


FAMILY = Family(
    model_type="t5",
    classes={"model": "T5Model", "language_model": "T5ForConditionalGeneration"},
    prefix="",
    to_settings=to_settings,
    from_settings=from_settings,
    table=table,
    duplicates={
        "lm_head.weight": "shared.weight",
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    },
    # Older files have biases of the attention to the source, which nobody reads.
    ignored=(r"\.EncDecAttention\.relative_attention_bias\.weight$",),
    decoder_starts=("pad",),
)
