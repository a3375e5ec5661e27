"""The encoders that are BERT by other values, as families of Hugging Face's.

Settings are read with the defaults of transformers 5.23's config classes, NEZHA's with those of
4.57, the last that had it.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from plmjax.errors import UserError
from plmjax.huggingface import activations, encoders
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models import albert, bert, distilbert, electra, ernie, nezha, roberta, roformer
from plmjax.models.bert import Config

BERT_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_size": "intermediate_size",
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
    "max_positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
    "layer_norm_epsilon": "layer_norm_eps",
}
_DISTILBERT_FIELDS = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layers",
    "hidden_size": "dim",
    "num_heads": "n_heads",
    "mlp_size": "hidden_dim",
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "initializer_range": "initializer_range",
    "max_positions": "max_position_embeddings",
}
BERT_DEFAULTS = {
    "vocab_size": 30522,
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}
BERT_FIXED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one of these families says its settings.

    base: what config.json does not say. fields: of ours to theirs, the activation left out, which
      is theirs under `activation`. defaults: of their config class. fixed: fields that have one
      value in what we have.
    """

    base: Config
    fields: Mapping[str, str]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]
    activation: str = "hidden_act"


def _kind(base: Config, more: Mapping[str, str] | None = None, fixed=None, **defaults: Any) -> Kind:
    fields = {**BERT_FIELDS, **(more or {})}
    return Kind(base, fields, BERT_DEFAULTS | defaults, {**BERT_FIXED, **(fixed or {})})


_EMBEDDING = {"embedding_size": "embedding_size"}
_NEZHA_FIELDS = {"max_relative": "max_relative_position"}
_ALBERT_SIZE = {
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_hidden_groups": 1,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
_ELECTRA_SIZE = {
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
KINDS = {
    "bert": _kind(bert.PRESETS["base"]),
    "roberta": _kind(roberta.PRESETS["base"], vocab_size=50265, pad_token_id=1),
    "xlm-roberta": _kind(roberta.PRESETS["xlm-r-base"], pad_token_id=1),
    "albert": _kind(
        albert.PRESETS["base"],
        _EMBEDDING | {"groups": "num_hidden_groups"},
        {"inner_group_num": 1},
        **_ALBERT_SIZE,
    ),
    "electra": _kind(electra.PRESETS["small"], _EMBEDDING, **_ELECTRA_SIZE),
    "ernie": _kind(
        ernie.PRESETS["2.0-base"],
        {"task_types": "task_type_vocab_size"},
        task_type_vocab_size=3,
        use_task_id=False,
    ),
    "nezha": _kind(
        nezha.PRESETS["base-zh"], _NEZHA_FIELDS, vocab_size=21128, max_relative_position=64
    ),
    "roformer": _kind(
        roformer.PRESETS["base-zh"],
        _EMBEDDING,
        {"rotary_value": False},
        **{"vocab_size": 50000, "embedding_size": 768, "max_position_embeddings": 1536},
    ),
    "distilbert": Kind(
        distilbert.PRESETS["base"],
        _DISTILBERT_FIELDS,
        {theirs: BERT_DEFAULTS[BERT_FIELDS[ours]] for ours, theirs in _DISTILBERT_FIELDS.items()}
        | {"n_layers": 6, "activation": "gelu"},
        {},
        "activation",
    ),
}
"""By Hugging Face's model type."""


def _to_settings(model_type: str, config: Config) -> dict[str, Any]:
    kind = KINDS[model_type]
    settings = {theirs: getattr(config, ours) for ours, theirs in kind.fields.items()}
    settings[kind.activation] = activations.to_theirs(config.activation)
    settings |= {key: value for key, value in kind.fixed.items() if key not in BERT_FIXED}
    if "embedding_size" in settings:
        settings["embedding_size"] = config.embedding_width
    if model_type == "nezha":
        # Not read with relative positions, and 4.x wants a number.
        settings["max_position_embeddings"] = 512
    for ours, theirs in kind.fields.items():
        if ours in ("token_types", "groups", "max_positions") and settings[theirs] == 0:
            raise UserError(
                f"config.model.{ours}=0, and Hugging Face's {model_type} has 1 or more; train with"
                " another number"
            )
    if model_type == "ernie":
        settings["use_task_id"] = config.task_types > 0
        settings["task_type_vocab_size"] = config.task_types or 3
    if "pad_token_id" in kind.defaults:
        settings["pad_token_id"] = config.first_position - 1
    return settings


def _from_settings(model_type: str, settings: Mapping[str, Any]) -> Config:
    kind = KINDS[model_type]
    check_fixed(settings, kind.fixed)
    filled = with_defaults(settings, kind.defaults)
    if model_type == "roformer":  # whose default is the width of this very model
        filled["embedding_size"] = settings.get("embedding_size") or filled["hidden_size"]
    fields = number_fields(filled, kind.fields, kind.base)
    fields["activation"] = activations.to_ours(filled[kind.activation], kind.activation)
    if fields.get("embedding_size") == fields["hidden_size"]:
        fields["embedding_size"] = 0
    if model_type == "ernie" and not filled["use_task_id"]:
        fields["task_types"] = 0
    if model_type == "nezha":
        fields["max_positions"] = 0
    if "pad_token_id" in kind.defaults:
        fields["first_position"] = filled["pad_token_id"] + 1
    return dataclasses.replace(kind.base, **fields)


def _table(name: str, config: Config, key: str) -> list[Entry]:
    names = encoders.FAMILIES[name]
    if key == "model":
        return encoders.backbone_table(names, config)
    if key == "discriminator":
        return encoders.discriminator_table(names, config)
    if key == "language_model":
        # Their classes with this head alone have no pooler.
        config = dataclasses.replace(config, pooler=False)
    return encoders.masked_lm_table(names, config, pairs=key == "pretraining")


def _family(name: str, classes: str, model_type: str = "", pretraining: bool = False) -> Family:
    model_type, names = model_type or name, encoders.FAMILIES[name]
    kept = {"model": f"{classes}Model", "language_model": f"{classes}ForMaskedLM"}
    if pretraining:
        kept["pretraining"] = f"{classes}ForPreTraining"
    if names.discriminator:
        kept["discriminator"] = f"{classes}ForPreTraining"
    bias = names.head["output_bias"]
    decoder = bias.removesuffix("bias") + "decoder."
    table = f"{names.embeddings}.word_embeddings.weight"
    return Family(
        model_type=model_type,
        classes=kept,
        prefix=names.embeddings.partition(".")[0] + ".",
        to_settings=functools.partial(_to_settings, model_type),
        from_settings=functools.partial(_from_settings, model_type),
        table=functools.partial(_table, name),
        duplicates={
            f"{decoder}weight": table,
            f"{decoder}bias": bias,
            f"{bias.removesuffix('bias')}weight": table,
        },
        lost=("scale_scores",),  # the queries make up for it
    )


BERT = _family("bert", "Bert", pretraining=True)
ROBERTA = _family("roberta", "Roberta")
XLM_ROBERTA = _family("roberta", "XLMRoberta", "xlm-roberta")
ALBERT = _family("albert", "Albert", pretraining=True)
ELECTRA = _family("electra", "Electra")
ERNIE = _family("ernie", "Ernie", pretraining=True)
NEZHA = _family("nezha", "Nezha", pretraining=True)
DISTILBERT = _family("distilbert", "DistilBert")
# Their files have the sines and cosines as a tensor.
ROFORMER = dataclasses.replace(
    _family("roformer", "RoFormer"), ignored=(r"\bembed_positions\.weight$",)
)
