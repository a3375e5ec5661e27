"""T5 in Hugging Face's words: T5Model and T5ForConditionalGeneration."""

from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm
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


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of T5Config.

    Their one rate of dropout is our `hidden_dropout`.

    Raises:
      UserError: for what their code has no place for: a decoder with other heads or feed-forward
        than the encoder, or a gated feed-forward of erf.
    """
    for name, value in (("num_heads", config.decoder_heads), ("mlp_size", _decoder_mlp(config))):
        if value != getattr(config, name):
            raise UserError(
                f"config.model.{name}={getattr(config, name)} and {value} in the decoder: Hugging"
                " Face's T5 has the same in both; train with that to export it"
            )
    names = {ours: theirs for theirs, ours in _PROJECTIONS.items()}
    if (config.gated, config.activation) not in names:
        raise UserError(
            f"config.model.activation='{config.activation}' with config.model.gated={config.gated}:"
            f" Hugging Face's T5 has {', '.join(_PROJECTIONS)}; train with one of these to export"
            " it"
        )
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.head_width,
        "d_ff": config.mlp_size,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.decoder_depth,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance,
        "dropout_rate": config.hidden_dropout,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "feed_forward_proj": names[config.gated, config.activation],
        "tie_word_embeddings": config.tied,
    }


def _decoder_mlp(config: Config) -> int:
    return config.decoder_mlp_size or config.mlp_size


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config, from all fields of T5Config.

    A head of its own is told by `tie_word_embeddings`, or by `scale_decoder_outputs`: transformers
    5 writes what the former was under that name, and true in its place.

    Raises:
      UserError: for a feed-forward that we do not have.
    """
    gated, activation = choose(settings["feed_forward_proj"], _PROJECTIONS, "feed_forward_proj")
    layers, decoder_layers = settings["num_layers"], settings.get("num_decoder_layers")
    tied = settings.get("tie_word_embeddings", True) is not False
    return Config(
        vocab_size=settings["vocab_size"],
        hidden_size=settings["d_model"],
        head_size=settings["d_kv"],
        mlp_size=settings["d_ff"],
        num_layers=layers,
        num_decoder_layers=0 if decoder_layers in (None, layers) else decoder_layers,
        num_heads=settings["num_heads"],
        buckets=settings["relative_attention_num_buckets"],
        max_distance=settings["relative_attention_max_distance"],
        hidden_dropout=settings["dropout_rate"],
        attention_dropout=settings["dropout_rate"],
        layer_norm_epsilon=settings["layer_norm_epsilon"],
        gated=gated,
        activation=activation,
        tied=tied and settings.get("scale_decoder_outputs", True),
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
)
