"""The metrics that configs can name."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from plmjax.evals.metrics import answers, choice, classification, tagging, texts
from plmjax.settings import choose

# What a metric of a kind takes, one entry a row, question or sentence.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "classification": "the classes, int [n]; the predicted ones, int [n]",
        "grouped_classification": "the classes and the groups, int [n] both; the predicted classes",
        "multi_label": "0 or 1 [n, C]; probabilities, float [n, C]",
        "regression": "numbers, float [n]; the predicted ones, float [n]",
        "tagging": "lists of a sentence's tags; lists of as many predicted ones",
        "segmentation": "lists of a sentence's words; lists of its predicted words",
        "answers": "lists of a question's right answers; one answer in words for each",
        "answers_or_none": "lists of right answers, empty for none; pairs of the best answer in "
        "words and how much more none is believed",
        "texts": "lists of an example's right texts; the text that was written for each",
        "choice": "the right options, int [n]; scores, float [n, C] or n rows",
        "exclusive_choice": "for each passage the right options of its blanks, int [b]; scores, "
        "float [b, C]",
    }
)


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric of a name.

    Attributes:
      kind: for which kind of task it is: `KINDS` says what it is given.
      figures: from references and predictions to figures by name: fractions from 0 to 1, not per
        cent, correlations from -1; only `best_em_threshold` and `best_f1_threshold` are in the unit
        of the null scores.
      main: the figure by which the best checkpoint is chosen; larger is better.
      package: what computes it and has to be installed; empty for nothing more than plmjax.
    """

    kind: str
    figures: Callable[[Any, Any], dict[str, float]]
    main: str
    package: str = ""


def metric(name: str, where: str = "metric") -> Metric:
    """The metric of a name.

    Args:
      name: as in `METRICS`.
      where: how the user names the setting, for the message.

    Raises:
      UserError: for a name that there is not; the nearest is named.
    """
    return choose(name, METRICS, where)


def _one(name: str, measure: Callable[..., float]) -> Callable[[Any, Any], dict[str, float]]:
    return lambda references, predictions: {name: measure(references, predictions)}


def _with_accuracy(
    name: str, measure: Callable[..., float]
) -> Callable[[Any, Any], dict[str, float]]:
    """Accuracy, another figure of classes and their mean, which GLUE and SuperGLUE rank by."""

    def figures(references, predictions):
        accuracy = classification.accuracy(references, predictions)
        other = measure(references, predictions)
        return {"accuracy": accuracy, name: other, f"accuracy_{name}": (accuracy + other) / 2}

    return figures


def _cb_f1(references, predictions) -> float:
    return classification.macro_f1(references, predictions, classes=3)


def _pearson_spearman(references, predictions) -> dict[str, float]:
    pearson = classification.pearson(references, predictions)
    spearman = classification.spearman(references, predictions)
    return {
        "pearson": pearson,
        "spearman": spearman,
        "pearson_spearman": (pearson + spearman) / 2,
    }


def _axg(references, predictions) -> dict[str, float]:
    return {
        "accuracy": classification.accuracy(references, predictions),
        "gender_parity": classification.gender_parity(predictions),
    }


def _multirc(references, predictions) -> dict[str, float]:
    labels, questions = references
    return classification.multirc(labels, predictions, questions)


def _squad_v2_best(references, predictions) -> dict[str, float]:
    texts, null_scores = [text for text, _ in predictions], [score for _, score in predictions]
    return answers.squad_v2(references, texts, null_scores)


def _chid(assignment: Callable) -> Callable[[Any, Any], dict[str, float]]:
    return lambda references, predictions: {
        "accuracy": choice.chid_accuracy(references, predictions, assignment)
    }


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric("classification", _one("accuracy", classification.accuracy), "accuracy"),
        "f1": Metric("classification", _one("f1", classification.binary_f1), "f1"),
        "macro_f1": Metric("classification", _one("macro_f1", classification.macro_f1), "macro_f1"),
        "micro_f1": Metric("classification", _one("micro_f1", classification.micro_f1), "micro_f1"),
        "matthews": Metric("classification", _one("matthews", classification.matthews), "matthews"),
        "accuracy_f1": Metric(
            "classification", _with_accuracy("f1", classification.binary_f1), "accuracy_f1"
        ),
        "accuracy_macro_f1": Metric(
            "classification",
            _with_accuracy("macro_f1", classification.macro_f1),
            "accuracy_macro_f1",
        ),
        "commitment_bank": Metric(
            "classification", _with_accuracy("macro_f1", _cb_f1), "accuracy_macro_f1"
        ),
        "gender_parity": Metric("classification", _axg, "accuracy"),
        "multirc": Metric("grouped_classification", _multirc, "f1a_em"),
        "multi_label": Metric("multi_label", classification.multi_label, "micro_f1"),
        "mean_average_precision": Metric(
            "multi_label", classification.multi_label, "mean_average_precision"
        ),
        "pearson": Metric("regression", _one("pearson", classification.pearson), "pearson"),
        "spearman": Metric("regression", _one("spearman", classification.spearman), "spearman"),
        "pearson_spearman": Metric("regression", _pearson_spearman, "pearson_spearman"),
        "entity_f1": Metric("tagging", tagging.entity_f1, "f1"),
        "plain_entity_f1": Metric("tagging", tagging.plain_entity_f1, "f1"),
        "token_accuracy": Metric("tagging", _one("accuracy", tagging.token_accuracy), "accuracy"),
        "tagged_segmentation_f1": Metric("tagging", tagging.tagged_segmentation_f1, "f1"),
        "segmentation_f1": Metric("segmentation", tagging.segmentation_f1, "f1"),
        "squad": Metric("answers", answers.squad, "f1"),
        "squad_v2": Metric("answers", answers.squad_v2, "f1"),
        "squad_v2_best": Metric("answers_or_none", _squad_v2_best, "best_f1"),
        "record": Metric("answers", answers.record, "em_f1"),
        "cmrc": Metric("answers", answers.cmrc, "em_f1"),
        "bleu": Metric("texts", texts.bleu, "bleu", "sacrebleu"),
        "bleu_intl": Metric(
            "texts", functools.partial(texts.bleu, tokenize="intl"), "bleu", "sacrebleu"
        ),
        "bleu_zh": Metric(
            "texts", functools.partial(texts.bleu, tokenize="zh"), "bleu", "sacrebleu"
        ),
        "rouge": Metric("texts", texts.rouge, "rougeLsum", "rouge_score"),
        "rouge_zh": Metric(
            "texts", functools.partial(texts.rouge, of_letters=True), "rougeLsum", "rouge_score"
        ),
        "choice_accuracy": Metric("choice", _one("accuracy", choice.choice_accuracy), "accuracy"),
        **{
            name: Metric("exclusive_choice", _chid(assignment), "accuracy")
            for name, assignment in choice.ASSIGNMENTS.items()
        },
    }
)
