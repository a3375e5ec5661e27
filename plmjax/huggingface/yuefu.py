"""Yuefu at Hugging Face: BERT as a decoder, `BertLMHeadModel`.

What is a table of segments there has one row, which is added everywhere, and Yuefu has none: files
have zeros in its place. Settings are read with the defaults of transformers 5.23's BertConfig.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from plmjax.huggingface import activations
from plmjax.huggingface.bert import BERT_DEFAULTS, BERT_FIELDS, BERT_FIXED
from plmjax.huggingface.encoders import FAMILIES, layer_entries
from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, dense, norm
from plmjax.huggingface.settings import check_fixed, number_fields, with_defaults
from plmjax.models.gpt import Config
from plmjax.models.yuefu import PRESETS
from plmjax.nn.stack import subtrees

_DECODER = {"is_decoder": True}
_FIELDS = {ours: theirs for ours, theirs in BERT_FIELDS.items() if ours != "token_types"}
_NAMES = FAMILIES["bert"]
_TYPES = f"{_NAMES.embeddings}.token_type_embeddings.weight"


def table(config: Config, key: str = "language_model") -> list[Entry]:
    """The entries of the decoder, and with any `key` but `model` of its head."""
    root, theirs = "backbone", _NAMES.embeddings
    entries = [
        Entry(f"{root}/token_table/embedding", f"{theirs}.word_embeddings.weight", "vocab"),
        Entry(f"{root}/position_embedding", f"{theirs}.position_embeddings.weight", "same"),
        *norm(f"{root}/embedding_norm", f"{theirs}.LayerNorm"),
    ]
    for path, layers in subtrees(config.layers, config.scan).items():
        entries += layer_entries(f"{root}/decoder/{path}", _NAMES.layer, _NAMES.parts, layers)
    if key != "model":
        entries += dense(f"{root}/head/dense", _NAMES.head["dense"])
        entries += norm(f"{root}/head/norm", _NAMES.head["norm"])
        entries.append(Entry(f"{root}/head/output_bias", _NAMES.head["output_bias"], "vocab"))
    return entries


def _to_settings(config: Config) -> dict[str, Any]:
    settings = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    settings["hidden_act"] = activations.to_theirs(config.activation)
    return settings | {"type_vocab_size": 1} | _DECODER


def _from_settings(settings: Mapping[str, Any]) -> Config:
    check_fixed(settings, BERT_FIXED | _DECODER)
    filled = with_defaults(settings, BERT_DEFAULTS)
    fields = number_fields(filled, _FIELDS, PRESETS["base"])
    fields["activation"] = activations.to_ours(filled["hidden_act"], "hidden_act")
    return dataclasses.replace(PRESETS["base"], **fields)


FAMILY = Family(
    model_type="bert",
    says=_DECODER,
    classes={"model": "BertModel", "language_model": "BertLMHeadModel"},
    prefix="bert.",
    to_settings=_to_settings,
    from_settings=_from_settings,
    table=table,
    duplicates={
        "cls.predictions.decoder.weight": f"{_NAMES.embeddings}.word_embeddings.weight",
        "cls.predictions.decoder.bias": _NAMES.head["output_bias"],
    },
    zeros=(_TYPES,),
    blank=lambda config: {_TYPES: (1, config.hidden_size)},
)
