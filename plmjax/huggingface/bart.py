"""BART in Hugging Face's words: BartModel and BartForConditionalGeneration."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from plmjax.errors import UserError
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, Layers, dense, norm, shape_of
from plmjax.models.bart import Config
from plmjax.nn.stack import subtrees
from plmjax.settings import choose

_TABLE = "model.shared.weight"
_COPIES = (
    "lm_head.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
)
_BIAS = "final_logits_bias"
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "tanh": "tanh",
}
_CONSTANTS = {"layer_norm_epsilon": 1e-5, "first_position": 2}
"""What their code fixes, by our names."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of BartConfig.

    Raises:
      UserError: for what their code has no place for: another epsilon or first position, or heads
        that do not add up to D.
    """
    for name, value in _CONSTANTS.items():
        if getattr(config, name) != value:
            raise UserError(
                f"config.model.{name}={getattr(config, name)}: Hugging Face's BART has {value}"
                " always; train with that to export it"
            )
    for heads in (config.num_heads, config.decoder_heads):
        if config.head_size and config.head_size * heads != config.hidden_size:
            raise UserError(
                f"config.model.head_size={config.head_size}: Hugging Face's BART has"
                f" hidden_size / heads = {config.hidden_size} / {heads}; train with head_size=0"
                " to export it"
            )
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.longest,
        "d_model": config.hidden_size,
        "encoder_layers": config.num_layers,
        "encoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.mlp_size,
        "decoder_layers": config.decoder_depth,
        "decoder_attention_heads": config.decoder_heads,
        "decoder_ffn_dim": config.decoder_mlp_size or config.mlp_size,
        "activation_function": names[config.activation],
        "dropout": config.hidden_dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.mlp_dropout,
        "init_std": config.initializer_range,
        "scale_embedding": config.scale_embedding,
    }


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config, from all fields of BartConfig.

    Raises:
      UserError: for an activation that we do not have, layers that are dropped, or a head that is
        not the token table.
    """
    for name in ("encoder_layerdrop", "decoder_layerdrop"):
        if settings[name]:
            raise UserError(f"{name}={settings[name]} in config.json: here no layer is dropped")
    if not settings["tie_word_embeddings"]:
        raise UserError(
            "tie_word_embeddings=false in config.json: BART's head is its token table here"
        )

    def unless_same(decoder: str, encoder: str) -> int:
        return 0 if settings[decoder] == settings[encoder] else settings[decoder]

    activation = settings["activation_function"]
    return Config(
        vocab_size=settings["vocab_size"],
        max_positions=settings["max_position_embeddings"] + _CONSTANTS["first_position"],
        hidden_size=settings["d_model"],
        num_layers=settings["encoder_layers"],
        num_heads=settings["encoder_attention_heads"],
        mlp_size=settings["encoder_ffn_dim"],
        num_decoder_layers=unless_same("decoder_layers", "encoder_layers"),
        num_decoder_heads=unless_same("decoder_attention_heads", "encoder_attention_heads"),
        decoder_mlp_size=unless_same("decoder_ffn_dim", "encoder_ffn_dim"),
        activation=choose(activation, _ACTIVATIONS, "config.json: activation_function"),
        hidden_dropout=settings["dropout"],
        attention_dropout=settings["attention_dropout"],
        mlp_dropout=settings["activation_dropout"],
        initializer_range=settings["init_std"],
        scale_embedding=settings["scale_embedding"],
    )


def own_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of a checkpoint's tensors that `table` has a place for.

    Left out are the copies that some files have of the token table, and `final_logits_bias`: a
    buffer of zeros that no training changes and fairseq does not have. We have no place for it and
    do not write it; transformers makes a new one where a file has none.

    Raises:
      UserError: where the bias is not zero or a copy is no copy.
    """
    if _BIAS in tensors and np.any(tensors[_BIAS]):
        raise UserError(f"{_BIAS} is not zero; BART's head has no bias here")
    for name in _COPIES:
        if name in tensors and not np.array_equal(tensors[name], tensors[_TABLE]):
            raise UserError(f"{name} is not {_TABLE}; BART has one token table here")
    return {name: x for name, x in tensors.items() if name not in (_BIAS, *_COPIES)}


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
    table=lambda config, holds: table(config, "backbone/"),
)
"""BART; both classes hold the same tensors, as the head is the token table."""
