"""Published sets in the form in which T5 was trained on them (Raffel et al. 2020, appendix D).

Source: google-research/text-to-text-transfer-transformer, t5/data/preprocessors.py and
t5/data/glue_utils.py, which name a set's features in the order of the alphabet, but for MultiRC and
WIC; features and classes are those of TensorFlow Datasets, whose names for columns of the official
files differ in places. Not here: WSC, whose answer in T5 is whom a pronoun means.
"""

from collections.abc import Mapping
from typing import Any

_SENTENCES = "sentence1: {sentence1} sentence2: {sentence2}"
_ENTAILED = ("entailment,not_entailment",) * 2


def _class(source: str, labels: str, words: str, **more: Any) -> dict[str, Any]:
    given = {"source": source, "target": "{label}", "answers": "class", "target_len": 16}
    return {**given, "labels": labels, "words": words, "metric": "accuracy", **more}


def _words(source: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": "{answers}", "answers": "text", "target_len": 64, **more}


T5_FORMS: Mapping[str, Mapping[str, Any]] = {
    "glue/cola": _class(
        "cola sentence: {sentence}", "0,1", "unacceptable,acceptable", metric="matthews"
    ),
    "glue/sst2": _class("sst2 sentence: {sentence}", "0,1", "negative,positive"),
    "glue/mrpc": _class(
        "mrpc sentence1: {#1 String} sentence2: {#2 String}",
        *("0,1", "not_equivalent,equivalent"),
        target="{Quality}",
        metric="accuracy_f1",
    ),
    "glue/qqp": _class(
        "qqp question1: {question1} question2: {question2}",
        *("0,1", "not_duplicate,duplicate"),
        target="{is_duplicate}",
        metric="accuracy_f1",
    ),
    "glue/stsb": {
        "source": f"stsb {_SENTENCES}",
        "target": "{score}",
        "answers": "number",
        "step": 0.2,
        "target_len": 16,
        "metric": "pearson_spearman",
    },
    "glue/mnli": _class(
        "mnli hypothesis: {sentence2} premise: {sentence1}",
        *("entailment,neutral,contradiction",) * 2,
        target="{gold_label}",
    ),
    "glue/qnli": _class("qnli question: {question} sentence: {sentence}", *_ENTAILED),
    "glue/rte": _class(f"rte {_SENTENCES}", *_ENTAILED),
    "glue/wnli": _class(f"wnli {_SENTENCES}", "0,1", "not_entailment,entailment"),
    "superglue/boolq": _class(
        "boolq passage: {passage} question: {question}", "false,true", "False,True"
    ),
    "superglue/cb": _class(
        "cb hypothesis: {hypothesis} premise: {premise}",
        *("entailment,contradiction,neutral",) * 2,
        metric="commitment_bank",
    ),
    "superglue/copa": _class(
        "copa choice1: {options[0]} choice2: {options[1]} premise: {context} question: {question}",
        *("0,1", "choice1,choice2"),
    ),
    "superglue/multirc": _class(
        "multirc question: {question} answer: {answer} paragraph: {passage}",
        *("0,1", "False,True"),
        metric="multirc",
        group="passage_id,question_id",
        rewrite="without_markup",
    ),
    "superglue/rte": _class("rte hypothesis: {hypothesis} premise: {premise}", *_ENTAILED),
    "superglue/wic": _class(f"wic {_SENTENCES} word: {{word}}", "false,true", "False,True"),
    "superglue/record": _words(
        "record query: {query} entities: {options} passage: {passage}",
        metric="record",
        every=True,
        rewrite="highlights_as_sentences",
    ),
    "squad1": _words(
        "question: {question} context: {context}", metric="squad", rewrite="punctuation_apart"
    ),
}
"""By the names of `plmjax.data.labelled.benchmarks.BENCHMARKS`, fields of `TextToText`."""
