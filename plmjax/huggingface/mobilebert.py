"""MobileBERT in Hugging Face's words."""

from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface import activations
from plmjax.huggingface.encoders import layer_entries
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, dense, norm
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.mobilebert import Config
from plmjax.nn.stack import subtrees
from plmjax.settings import nearest

_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_size": "intermediate_size",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "layer_norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "max_positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
    "embedding_size": "embedding_size",
    "bottleneck_size": "intra_bottleneck_size",
    "num_mlps": "num_feedforward_networks",
    "pooled_dense": "classifier_activation",
}
_NORMS = {"no_norm": "no_norm", "layer": "layer_norm"}
_FIXED = {"trigram_input": True, "tie_word_embeddings": True}
"""What they let vary and we do not."""

DEFAULTS = {
    "vocab_size": 30522,
    "num_hidden_layers": 24,
    "hidden_size": 512,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "embedding_size": 128,
    "use_bottleneck": True,
    "intra_bottleneck_size": 128,
    "use_bottleneck_attention": False,
    "key_query_shared_bottleneck": True,
    "num_feedforward_networks": 4,
    "normalization_type": "no_norm",
    "classifier_activation": True,
}
"""Of their config class."""


def to_settings(config: Config) -> dict[str, Any]:
    """The fields of config.json.

    With layer norms their epsilon is of some norms only; those of the embeddings and of the last
    feed-forward have 1e-5 always.

    Raises:
      UserError: for what their MobileBERT cannot be.
    """
    is_odd = config.attention_inputs == "residual" and config.bottleneck_size > 0
    if is_odd and config.bottleneck_size != config.hidden_size:
        raise UserError(
            "config.model.attention_inputs=residual has no place in transformers' MobileBERT where"
            " bottleneck_size is not hidden_size; choose shared or bottleneck"
        )
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return (
        _FIXED
        | settings
        | {
            "hidden_act": activations.to_theirs(config.activation),
            "use_bottleneck": config.bottleneck_size > 0,
            "intra_bottleneck_size": config.inner_width,
            "use_bottleneck_attention": config.attention_inputs == "bottleneck",
            "key_query_shared_bottleneck": config.attention_inputs == "shared",
            "normalization_type": _NORMS.get(config.norm, "layer_norm"),
        }
    )


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config from the fields of config.json.

    Raises:
      UserError: for values that we do not have.
    """
    check_fixed(settings, _FIXED)
    filled = with_defaults(settings, DEFAULTS)
    norms, given = {theirs: ours for ours, theirs in _NORMS.items()}, filled["normalization_type"]
    if given not in norms:
        raise UserError(
            f"config.json has normalization_type='{given}', which plmjax does not have"
            f"{nearest(given, norms)}"
        )
    fields = number_fields(filled, _FIELDS, Config())
    fields["bottleneck_size"] *= bool(filled["use_bottleneck"])
    inputs = "shared" if filled["key_query_shared_bottleneck"] else "residual"
    return Config(
        **fields,
        activation=activations.to_ours(filled["hidden_act"]),
        attention_inputs="bottleneck" if filled["use_bottleneck_attention"] else inputs,
        norm=norms[given],
    )


def _parts(config: Config) -> dict[str, str]:
    """Our names of a layer's parts to theirs, of which the last feed-forward stands apart."""
    parts = {
        f"attention/{name}": f"attention.self.{name}" for name in ("query", "key", "value")
    } | {
        "attention/output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
    }
    for index in range(config.num_mlps):
        theirs = f"ffn.{index}." if index < config.num_mlps - 1 else ""
        parts[f"mlp_{index}/in"] = f"{theirs}intermediate.dense"
        parts[f"mlp_{index}/out"] = f"{theirs}output.dense"
        parts[f"mlp_{index}_norm"] = f"{theirs}output.LayerNorm"
    bottlenecks = {"narrow": "bottleneck.input", "wide": "output.bottleneck"}
    if config.attention_inputs == "shared":
        bottlenecks["shared"] = "bottleneck.attention"
    for ours, theirs in bottlenecks.items() if config.bottleneck_size else ():
        parts |= {ours: f"{theirs}.dense", f"{ours}_norm": f"{theirs}.LayerNorm"}
    return parts


def table(config: Config, which: str) -> list[Entry]:
    """The entries of an objective's parameters.

    Args:
      config: of the backbone.
      which: `model` for the backbone alone, `language_model` with the head over the vocabulary, for
        which they have no pooler, `pretraining` with the label of sentence pairs too.
    """
    theirs, root = "mobilebert.embeddings", "backbone"
    entries = [
        Entry(f"{root}/token_table/embedding", f"{theirs}.word_embeddings.weight", "vocab"),
        Entry(f"{root}/position_embedding", f"{theirs}.position_embeddings.weight", "same"),
        Entry(f"{root}/type_embedding", f"{theirs}.token_type_embeddings.weight", "same"),
        *dense(f"{root}/embedding_projection", f"{theirs}.embedding_transformation"),
        *norm(f"{root}/embedding_norm", f"{theirs}.LayerNorm"),
    ]
    for path, layers in subtrees(config.layers, config.scan).items():
        ours, layer = f"{root}/encoder/{path}", "mobilebert.encoder.layer.{}"
        entries += layer_entries(ours, layer, _parts(config), layers)
    if config.pooled_dense and which != "language_model":
        entries += dense(f"{root}/pooler", "mobilebert.pooler.dense")
    if which != "model":
        head = "cls.predictions"
        entries += dense("mlm_head/dense", f"{head}.transform.dense")
        entries += norm("mlm_head/norm", f"{head}.transform.LayerNorm")
        extra = "mlm_head/extra_table/embedding"
        entries.append(Entry(extra, f"{head}.dense.weight", "vocab_columns"))
        entries.append(Entry("mlm_head/output_bias", f"{head}.bias", "vocab"))
    if which == "pretraining":
        entries += dense("nsp_head", "cls.seq_relationship")
    return entries


FAMILY = Family(
    model_type="mobilebert",
    classes={
        "model": "MobileBertModel",
        "language_model": "MobileBertForMaskedLM",
        "pretraining": "MobileBertForPreTraining",
    },
    prefix="mobilebert.",
    to_settings=to_settings,
    from_settings=from_settings,
    table=table,
    duplicates={
        "cls.predictions.decoder.weight": "mobilebert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
)
