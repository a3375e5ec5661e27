"""The heads of labelled tasks that transformers' classes have, by family and by objective.

Ours is exported where theirs computes the same: dropout, and one dense layer on each token's state;
or for a whole text on the state of one token, mostly behind another layer with an activation.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from plmjax.huggingface.family import Family
from plmjax.huggingface.keys import Entry, dense
from plmjax.huggingface.weights import Weights

TEXT, WORDS, ANSWERS, OPTIONS = (
    *("sequence_classification", "token_classification", "span_extraction", "multiple_choice"),
)
"""Our objectives."""


@dataclasses.dataclass(frozen=True)
class Head:
    """A class of theirs with a head.

    architecture: its name. last: of the last layer.
    before: of the layer before that; empty where there is none.
    activation: behind that layer, our name of it; `model` is the one of the config.
    prefix: of the backbone's tensors, besides that of the family.
    only_with: a field of our Config without which there is no layer before the last.
    bias: whether the last layer has one.
    settings: what config.json has to say besides.
    """

    architecture: str
    last: str
    before: str = ""
    activation: str = ""
    prefix: str = ""
    only_with: str = ""
    bias: bool = True
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def table(self, family: Family, config: Any, before: str) -> list[Entry]:
        """The entries of a tuned run.

        Args:
          family: whose class it is.
          config: of the backbone.
          before: where we have the layer before the last: `task_dense`, or `backbone/pooler`;
            empty without.
        """
        entries = [
            dataclasses.replace(entry, theirs=f"{self.prefix}{entry.theirs}")
            for entry in family.table(config, "model")
            if not entry.ours.startswith("backbone/pooler/")
        ]
        entries += dense(before, self.before) if before else []
        return entries + dense("task_head", self.last, bias=self.bias)


def _of_words(name: str, answers: str = "ForQuestionAnswering") -> dict[str, Head]:
    return {
        WORDS: Head(f"{name}ForTokenClassification", "classifier"),
        ANSWERS: Head(f"{name}{answers}", "qa_outputs"),
    }


def _pooled(name: str, pooler: str, only_with: str = "") -> dict[str, Head]:
    """Of a class whose pooler both heads on a whole text read."""
    return _of_words(name) | {
        objective: Head(f"{name}{ending}", "classifier", pooler, "tanh", only_with=only_with)
        for objective, ending in (
            (TEXT, "ForSequenceClassification"),
            (OPTIONS, "ForMultipleChoice"),
        )
    }


def _in_head(name: str, activation: str, options: Head) -> dict[str, Head]:
    """Of a class whose head on a whole text has a layer of its own."""
    parts = f"{name}ForSequenceClassification", "classifier.out_proj", "classifier.dense"
    return _of_words(name) | {TEXT: Head(*parts, activation), OPTIONS: options}


def _roberta(name: str) -> dict[str, Head]:
    options = Head(f"{name}ForMultipleChoice", "classifier", "roberta.pooler.dense", "tanh")
    return _in_head(name, "tanh", options)


_SUMMARY = "sequence_summary.summary"
_ROFORMER_SUMMARY = {
    "summary_type": "first",
    "summary_use_proj": True,
    "summary_proj_to_labels": False,
    "summary_activation": "gelu",
}
_T5_TEXT = Head(
    "T5ForSequenceClassification",
    "classification_head.out_proj",
    "classification_head.dense",
    "tanh",
    prefix="transformer.",
)
HEADS: Mapping[str, Mapping[str, Head]] = {
    "bert": _pooled("Bert", "bert.pooler.dense"),
    "ernie": _pooled("Ernie", "ernie.pooler.dense"),
    "albert": _pooled("Albert", "albert.pooler"),
    "mobilebert": _pooled("MobileBert", "mobilebert.pooler.dense", "pooled_dense"),
    "roberta": _roberta("Roberta"),
    "xlm-roberta": _roberta("XLMRoberta"),
    "electra": _in_head(
        "Electra", "gelu", Head("ElectraForMultipleChoice", "classifier", _SUMMARY, "gelu")
    ),
    "roformer": _in_head(
        "RoFormer",
        "model",
        Head(
            *("RoFormerForMultipleChoice", "classifier", _SUMMARY, "gelu"),
            settings=_ROFORMER_SUMMARY,
        ),
    ),
    "distilbert": _of_words("DistilBert")
    | {
        objective: Head(f"DistilBert{ending}", "classifier", "pre_classifier", "relu")
        for objective, ending in (
            (TEXT, "ForSequenceClassification"),
            (OPTIONS, "ForMultipleChoice"),
        )
    },
    "xlm": _of_words("XLM", "ForQuestionAnsweringSimple")
    | {
        TEXT: Head(
            "XLMForSequenceClassification",
            _SUMMARY,
            settings={"summary_type": "first", "summary_activation": None},
        )
    },
    "xlnet": _of_words("XLNet", "ForQuestionAnsweringSimple")
    | {
        TEXT: Head("XLNetForSequenceClassification", "logits_proj", _SUMMARY, "tanh"),
        OPTIONS: Head("XLNetForMultipleChoice", "logits_proj", _SUMMARY, "tanh"),
    },
    "gpt2": _of_words("GPT2") | {TEXT: Head("GPT2ForSequenceClassification", "score", bias=False)},
    "openai-gpt": {TEXT: Head("OpenAIGPTForSequenceClassification", "score", bias=False)},
    "bart": {
        TEXT: Head(
            "BartForSequenceClassification",
            "classification_head.out_proj",
            "classification_head.dense",
            "tanh",
        ),
        ANSWERS: Head("BartForQuestionAnswering", "qa_outputs"),
    },
    "t5": {TEXT: _T5_TEXT, ANSWERS: Head("T5ForQuestionAnswering", "qa_outputs")},
}
"""By their model type. What they have besides computes something else: ModernBERT's heads have a
norm, T5 tags words with its encoder alone."""

_LABELLED = r"For(SequenceClassification|TokenClassification|QuestionAnswering|MultipleChoice)"
_USUAL = Head("", "classifier", "qa_outputs")
"""The last layers of classes that are not among `HEADS`."""


def without_head(
    weights: Weights, family: Family, described: Mapping[str, Any]
) -> tuple[Weights, tuple[str, ...]]:
    """What is left of a class of theirs without its head of a labelled task.

    Args:
      weights: of the folder.
      family: theirs.
      described: the fields of config.json.

    Returns:
      The tensors by the names of classes without such a head, and the layers that are gone; all
      tensors and none where there is no such head.
    """
    named = (described.get("architectures") or [""])[0]
    known = {head.architecture: head for head in HEADS.get(family.model_type, {}).values()}
    if not re.search(_LABELLED, named):
        return weights, ()
    head = known.get(named, _USUAL)
    # A pooler is the backbone's.
    layers = [name for name in (head.last, head.before) if name and "pooler" not in name]
    starts = tuple(f"{name}." for name in layers)
    kept = {
        name.removeprefix(head.prefix): name
        for name in weights.shapes
        if not name.startswith(starts)
    }
    gone = tuple(layer for layer in layers if any(x.startswith(layer) for x in weights.shapes))
    shapes = {ours: weights.shapes[name] for ours, name in kept.items()}
    return Weights(shapes, lambda name: weights.read(kept[name])), gone
