"""The model families and objectives there are, by the names that configs use."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from plmjax.errors import UserError
from plmjax.models import (
    albert,
    bart,
    bert,
    distilbert,
    electra,
    ernie,
    gpt,
    mobilebert,
    modernbert,
    nezha,
    roberta,
    roformer,
    t5,
    xlm,
    xlnet,
    yuefu,
)
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.clm import Clm
from plmjax.objectives.electra import Electra
from plmjax.objectives.multi_task import MultiTask
from plmjax.objectives.multiple_choice import MultipleChoice
from plmjax.objectives.permutation_lm import PermutationLM
from plmjax.objectives.sentence_embedding import SentenceEmbedding
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from plmjax.objectives.sequence_classification import SequenceClassification
from plmjax.objectives.span_boundary import SpanBoundary
from plmjax.objectives.span_extraction import SpanExtraction
from plmjax.objectives.token_classification import TokenClassification
from plmjax.settings import choose, nearest


class ModelFamily(NamedTuple):
    """A family, and what its configs begin with.

    config, presets, module: of its file.
    objective: what trains it, a name of OBJECTIVES.
    plan, masking, frame: of `config.data`.
    """

    config: type
    presets: Mapping[str, Any]
    module: type[nn.Module]
    objective: str = "bert_pretraining"
    plan: str = "sentence_pairs"
    masking: str = "token"
    frame: str = "bert"


FAMILIES = {
    "bert": ModelFamily(bert.Config, bert.PRESETS, bert.Bert),
    "roberta": ModelFamily(bert.Config, roberta.PRESETS, bert.Bert),
    "albert": ModelFamily(bert.Config, albert.PRESETS, bert.Bert),
    "electra": ModelFamily(bert.Config, electra.PRESETS, bert.Bert),
    "ernie": ModelFamily(bert.Config, ernie.PRESETS, bert.Bert),
    "nezha": ModelFamily(bert.Config, nezha.PRESETS, bert.Bert),
    "distilbert": ModelFamily(bert.Config, distilbert.PRESETS, bert.Bert),
    "roformer": ModelFamily(bert.Config, roformer.PRESETS, bert.Bert, plan="doc_sentences"),
    "xlm": ModelFamily(bert.Config, xlm.PRESETS, bert.Bert),
    "mobilebert": ModelFamily(mobilebert.Config, mobilebert.PRESETS, mobilebert.MobileBert),
    "modernbert": ModelFamily(modernbert.Config, modernbert.PRESETS, modernbert.ModernBert),
    "xlnet": ModelFamily(
        *(xlnet.Config, xlnet.PRESETS, xlnet.Xlnet),
        *("permutation_lm", "electra_segments", "permutation", "xlnet"),
    ),
    "gpt": ModelFamily(
        *(gpt.Config, gpt.PRESETS, gpt.Gpt), "causal_lm", "blocks", "causal", frame="none"
    ),
    "yuefu": ModelFamily(gpt.Config, yuefu.PRESETS, gpt.Gpt, "causal_lm", "packed", "causal"),
    "t5": ModelFamily(
        *(t5.Config, t5.PRESETS, t5.T5), "seq2seq_lm", "blocks", "span_corruption", frame="none"
    ),
    "bart": ModelFamily(
        *(bart.Config, bart.PRESETS, bart.Bart), "seq2seq_lm", "doc_sentences", "denoising"
    ),
}
OBJECTIVES = {
    "bert_pretraining": BertPretraining,
    "causal_lm": CausalLM,
    "seq2seq_lm": Seq2SeqLM,
    "permutation_lm": PermutationLM,
    "electra": Electra,
    "span_boundary": SpanBoundary,
    "clm": Clm,
    "multi_task": MultiTask,
    "sequence_classification": SequenceClassification,
    "token_classification": TokenClassification,
    "span_extraction": SpanExtraction,
    "multiple_choice": MultipleChoice,
    "sentence_embedding": SentenceEmbedding,
}
OF_ANY = (
    *("sequence_classification", "token_classification", "span_extraction", "multiple_choice"),
    "sentence_embedding",
)
"""Objectives of labelled tasks, which train any family."""

LIKE = dict.fromkeys(("electra", "span_boundary", "clm", "multi_task"), "bert_pretraining")
"""Objectives that no family begins with, and the one whose families each of them trains."""


def objective_config(name: str, **changes: Any) -> dict[str, Any]:
    """`config.objective`: one of OBJECTIVES with the defaults of its settings, and `changes`.

    Raises:
      UserError: for an unknown name or setting.
    """
    cls = choose(name, OBJECTIVES, "the objective")
    fields = {field.name: field.default for field in _settings_of(cls)}
    for key in changes:
        choose(key, fields, f"a setting of the objective {name}")
    return {"name": name, **fields, **changes}


def _settings_of(objective: type[nn.Module]) -> list[dataclasses.Field]:
    """What a user may set of an objective: all but what the run itself fills in."""
    filled = ("backbone", "labels", "task", "classes", "kind", "parent", "name")
    return [field for field in dataclasses.fields(objective) if field.name not in filled]


_WRITTEN = {str: ((str,), "a name"), bool: ((bool,), "true or false")}


def make_objective(
    section: Mapping[str, Any], family: str, model: Any, told: Mapping[str, Any]
) -> nn.Module:
    """The objective of a config, with its model.

    Args:
      section: `config.objective`.
      family: a name of FAMILIES.
      model: that family's Config.
      told: what the form of batches tells objectives, of which each takes what it has a field for:
        `labels` and `task` of the examples' labels, `classes` and `kind` of a labelled task.

    Raises:
      UserError: for an unknown objective or setting, or one that does not train the family.
    """
    fields, found = dict(section), FAMILIES[family]
    name = fields.pop("name", "")
    cls = choose(name, OBJECTIVES, "config.objective.name")
    if name not in OF_ANY and LIKE.get(name, name) != found.objective:
        fitting = [known for known in OBJECTIVES if LIKE.get(known, known) == found.objective]
        raise UserError(
            f"config.objective.name='{name}' does not train config.model.family='{family}'; give"
            f" {' or '.join(repr(known) for known in fitting)}"
        )
    if fields.get("lm_weight") and found.objective != "causal_lm":
        raise UserError(
            f"config.objective.lm_weight={fields['lm_weight']} is of decoders, which tell the next"
            f" token, and config.model.family='{family}' is none; set it to 0"
        )
    known = {field.name: field.type for field in _settings_of(cls)}
    for key, value in fields.items():
        if key not in known:
            there = nearest(key, known) if known else "; it has none but name"
            raise UserError(f"config.objective.{key} is not a setting of {name}{there}")
        kinds, what = _WRITTEN.get(known[key], ((int, float), "a number"))
        if not isinstance(value, kinds):
            raise UserError(f"config.objective.{key}={value!r}; expected {what}")
    takes = {field.name for field in dataclasses.fields(cls)}
    fields |= {key: value for key, value in told.items() if key in takes}
    return cls(found.module(model), **fields)
