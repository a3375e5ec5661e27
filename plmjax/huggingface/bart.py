"""BART in Hugging Face's words: BartModel and BartForConditionalGeneration."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from plmjax.huggingface import activations
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm, shape_of
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.bart import Config
from plmjax.nn.stack import subtrees

_TABLE = "model.shared.weight"
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_layers": "encoder_layers",
    "num_heads": "encoder_attention_heads",
    "mlp_size": "encoder_ffn_dim",
    "num_decoder_layers": "decoder_layers",
    "num_decoder_heads": "decoder_attention_heads",
    "decoder_mlp_size": "decoder_ffn_dim",
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "mlp_dropout": "activation_dropout",
    "initializer_range": "init_std",
    "scale_embedding": "scale_embedding",
    "max_positions": "max_position_embeddings",
}
_DECODER = {
    "num_decoder_layers": "num_layers",
    "num_decoder_heads": "num_heads",
    "decoder_mlp_size": "mlp_size",
}
"""Our fields of the decoder, where 0 is what the encoder has."""

_FIXED = {"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "tie_word_embeddings": True}
"""What they let vary and we do not."""

DEFAULTS = {
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
    "d_model": 1024,
    "encoder_layers": 12,
    "encoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_layers": 12,
    "decoder_attention_heads": 16,
    "decoder_ffn_dim": 4096,
    "activation_function": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "init_std": 0.02,
    "scale_embedding": False,
}
"""Of their config class."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of BartConfig; their code fixes the epsilon and the first position's row."""
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    for ours, same in _DECODER.items():
        settings[_FIELDS[ours]] = getattr(config, ours) or getattr(config, same)
    settings["max_position_embeddings"] = config.max_positions - Config.first_position
    settings["activation_function"] = activations.to_theirs(config.activation)
    return settings


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config, from the fields of BartConfig.

    Raises:
      UserError: for an activation that we do not have, layers that are dropped, or a head that is
        not the token table.
    """
    check_fixed(settings, _FIXED)
    filled = with_defaults(settings, DEFAULTS)
    fields = number_fields(filled, _FIELDS, Config())
    fields |= {ours: 0 for ours, same in _DECODER.items() if fields[ours] == fields[same]}
    fields["max_positions"] += Config.first_position
    return Config(
        **fields,
        activation=activations.to_ours(filled["activation_function"], "activation_function"),
    )


def table(config: Config, root: str = "") -> list[Entry]:
    """The entries of the model with its tied head; ours lie below `root`."""
    entries = [Entry(f"{root}token_table/embedding", _TABLE, "vocab")]
    decoder_shape = dataclasses.replace(
        shape_of(config), num_heads=config.decoder_heads, head_size=config.decoder_head_width
    )
    entries += _half(f"{root}encoder", "model.encoder", config.encoder_layers, config.scan)
    entries += [
        dataclasses.replace(entry, shape=decoder_shape)
        for entry in _half(f"{root}decoder", "model.decoder", config.decoder_layers, config.scan)
    ]
    return entries


def _half(ours: str, theirs: str, settings: tuple, scan: bool) -> list[Entry]:
    entries = [Entry(f"{ours}/position_embedding", f"{theirs}.embed_positions.weight", "same")]
    entries += norm(f"{ours}/embedding_norm", f"{theirs}.layernorm_embedding")
    for path, layers in subtrees(settings, scan).items():
        cross = settings[0].cross
        entries += _layer(f"{ours}/stack/{path}", f"{theirs}.layers.{{}}", layers, cross)
    return entries


def _layer(ours: str, theirs: str, layers: Layers, cross: bool) -> list[Entry]:
    attentions = {"attention": "self_attn"} | ({"cross": "encoder_attn"} if cross else {})
    entries = []
    for path, name in attentions.items():
        for part in ("query", "key", "value"):
            projection = f"{theirs}.{name}.{part[0]}_proj"
            entries += dense(f"{ours}/{path}/{part}", projection, layers, "to_heads")
        output = f"{theirs}.{name}.out_proj"
        entries += dense(f"{ours}/{path}/output", output, layers, "from_heads")
        entries += norm(f"{ours}/{path}_norm", f"{theirs}.{name}_layer_norm", layers)
    entries += dense(f"{ours}/mlp/in", f"{theirs}.fc1", layers)
    entries += dense(f"{ours}/mlp/out", f"{theirs}.fc2", layers)
    return entries + norm(f"{ours}/mlp_norm", f"{theirs}.final_layer_norm", layers)


FAMILY = Family(
    model_type="bart",
    classes={"model": "BartModel", "language_model": "BartForConditionalGeneration"},
    prefix="model.",
    to_settings=to_settings,
    from_settings=from_settings,
    table=lambda config, key: table(config, "backbone/"),
    duplicates={
        "lm_head.weight": _TABLE,
        "model.encoder.embed_tokens.weight": _TABLE,
        "model.decoder.embed_tokens.weight": _TABLE,
    },
    # A buffer that no training changes and fairseq does not have; transformers makes a new one
    # where a file has none.
    zeros=("final_logits_bias",),
    decoder_starts=("eos", "sep"),
)
"""BART; both classes hold the same tensors, as the head is the token table."""
