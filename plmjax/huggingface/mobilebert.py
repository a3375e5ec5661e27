"""MobileBERT in Hugging Face's words."""

from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface.encoders import layer_entries
from plmjax.huggingface.family import ACTIVATIONS, Family, check_fixed, check_same
from plmjax.huggingface.keys import Entry, dense, norm
from plmjax.models.mobilebert import Config
from plmjax.nn.stack import subtrees

_NORMS = {"no_norm": "no_norm", "layer": "layer_norm"}
_FIXED = {"trigram_input": True, "tie_word_embeddings": True}
"""What they let vary and we do not."""


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
    settings = _FIXED | {
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_size,
        "hidden_act": ACTIVATIONS[config.activation],
        "hidden_dropout_prob": config.hidden_dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "layer_norm_eps": config.layer_norm_epsilon,
        "initializer_range": config.initializer_range,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.token_types,
        "embedding_size": config.embedding_size,
        "use_bottleneck": config.bottleneck_size > 0,
        "intra_bottleneck_size": config.inner_width,
        "use_bottleneck_attention": config.attention_inputs == "bottleneck",
        "key_query_shared_bottleneck": config.attention_inputs == "shared",
        "num_feedforward_networks": config.num_mlps,
        "normalization_type": _NORMS.get(config.norm, "layer_norm"),
        "classifier_activation": config.pooled_dense,
    }
    check_same(config, from_settings(settings), "MobileBERT")
    return settings


def from_settings(settings: Mapping[str, Any]) -> Config:
    """Our Config from the fields of config.json.

    Raises:
      UserError: for values that we do not have.
    """
    check_fixed(settings, _FIXED)
    ours = {}
    for name, known in (("hidden_act", ACTIVATIONS), ("normalization_type", _NORMS)):
        names = {theirs: our for our, theirs in known.items()}
        if settings[name] not in names:
            raise UserError(
                f"config.json has {name}={settings[name]}; known are {', '.join(names)}"
            )
        ours[name] = names[settings[name]]
    inputs = "shared" if settings["key_query_shared_bottleneck"] else "residual"
    return Config(
        vocab_size=settings["vocab_size"],
        num_layers=settings["num_hidden_layers"],
        hidden_size=settings["hidden_size"],
        num_heads=settings["num_attention_heads"],
        mlp_size=settings["intermediate_size"],
        activation=ours["hidden_act"],
        hidden_dropout=settings["hidden_dropout_prob"],
        attention_dropout=settings["attention_probs_dropout_prob"],
        layer_norm_epsilon=settings["layer_norm_eps"],
        initializer_range=settings["initializer_range"],
        max_positions=settings["max_position_embeddings"],
        token_types=settings["type_vocab_size"],
        embedding_size=settings["embedding_size"],
        bottleneck_size=settings["intra_bottleneck_size"] if settings["use_bottleneck"] else 0,
        attention_inputs="bottleneck" if settings["use_bottleneck_attention"] else inputs,
        num_mlps=settings["num_feedforward_networks"],
        norm=ours["normalization_type"],
        pooled_dense=settings["classifier_activation"],
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
)
