"""What a fine-tuned run is at Hugging Face: their class with its head, or why there is none."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import processors

from plmjax.data.labelled.base import framed
from plmjax.data.plans import FRAMES
from plmjax.data.plans.layout import PAIR, Layout, make_layout
from plmjax.data.tokenizers.hugging_face import TOKENIZER_FILE
from plmjax.data.tokenizers.published import CONFIG_FILE
from plmjax.errors import UserError
from plmjax.exported_sentences import check_sentences, write_sentences
from plmjax.huggingface.families import FAMILIES, family_of
from plmjax.huggingface.family import Family
from plmjax.huggingface.heads import ANSWERS, HEADS, OPTIONS, TEXT, WORDS, Head
from plmjax.nn.stack import subtrees

SENTENCES = "sentence_embedding"
KEY = "task"
"""Of a family's classes, the one with the head of a labelled task."""

LOADERS = {
    TEXT: ("text-classification", "AutoModelForSequenceClassification"),
    WORDS: ("token-classification", "AutoModelForTokenClassification"),
    ANSWERS: ("question-answering", "AutoModelForQuestionAnswering"),
    OPTIONS: ("multiple-choice", "AutoModelForMultipleChoice"),
}
"""The pipeline and the class that load a model, by its objective."""

_PROBLEMS = {
    "classification": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
"""By the task; others on texts are classifications, too."""

_LAST = ("xlnet", "gpt", "bart", "t5")
"""Families in which the last token stands for a text, and the first in all others."""


def with_head(run: Any, architecture: str) -> tuple[Family, str]:
    """Hugging Face's family of a fine-tuned run, with the class of its head under `KEY`.

    Args:
      run: a `plmjax.exporting.Run`.
      architecture: a model class; empty for the one with the run's head.

    Raises:
      UserError: where there is no such class, or it computes something else.
    """
    objective = run.record["config"]["objective"]["name"]
    if objective == SENTENCES:
        family, key = family_of(run.family_name, run.config, architecture or _renamed(run))
        if not architecture:
            check_sentences(run, family.classes["model"])
        return family, key
    of_type = {family.model_type: family for family in FAMILIES[run.family_name]}
    named = {
        HEADS[kind][objective].architecture: family.classes["model"]
        for kind, family in of_type.items()
        if objective in HEADS.get(kind, {})
    }
    backbone = named.get(architecture, architecture or _renamed(run))
    family, key = family_of(run.family_name, run.config, backbone)
    if architecture and architecture not in named:
        return family, key
    head, bare = HEADS.get(family.model_type, {}).get(objective), family.classes["model"]
    why = f"no class of transformers' {family.model_type} is known to compute it"
    if head is not None:
        before = _layer_of(run, head)
        why = _unlike(run, head, before)
    if head is None or why:
        raise UserError(
            f"the head of {run.work.name} ({objective}) cannot be exported: {why};"
            f" --architecture={bare} writes the backbone alone"
        )
    return _tuned(family, head, before), KEY


def _renamed(run: Any) -> str:
    """Their class where it is the same model under another name, which decides the tokenizer's;
    empty of others."""
    is_xlm_r = getattr(run.tokenizer, "style", "") == "xlm_r" and run.family_name == "roberta"
    return "XLMRobertaModel" * is_xlm_r


def _tuned(family: Family, head: Head, before: str) -> Family:
    def table(config: Any, key: str) -> list:
        return head.table(family, config, before) if key == KEY else family.table(config, key)

    classes = {**family.classes, KEY: head.architecture}
    return dataclasses.replace(family, classes=classes, table=table)


def _layer_of(run: Any, head: Head) -> str:
    """Where the run has the layer before its head's last; empty without one."""
    shapes = run.parameters.shapes
    if "task_dense/kernel" in shapes:
        return "task_dense"
    on_pooler = head.before and "backbone/pooler/kernel" in shapes
    return "backbone/pooler" if on_pooler else ""


def _unlike(run: Any, head: Head, before: str) -> str:
    """Why a class computes something else than the run; empty where it does not."""
    config, name = run.record["config"], head.architecture
    objective = config["objective"]
    if FRAMES[config["data"]["frame"]].added:
        return f"{name} reads texts without the tokens that frame='{config['data']['frame']}' adds"
    if config["task"].get("both_orders"):
        return f"{name} reads a pair once, and both_orders=True"
    if objective.get("layers", "last") != "last":
        return f"{name} reads the last layer, and layers='{objective['layers']}'"
    if objective.get("crf"):
        return f"{name} tells each word's tag by itself, and crf=True"
    if "pooling" not in objective:
        return ""
    usual = "last" if run.family_name in _LAST else "first"
    if objective["pooling"] not in ("auto", usual):
        return f"{name} reads the {usual} token, and pooling='{objective['pooling']}'"
    has_layer = bool(head.before) and (not head.only_with or getattr(run.config, head.only_with))
    if bool(before) != has_layer:
        number = ("one layer", "two layers")
        return (
            f"{name} has a head of {number[has_layer]}, and this is one of {number[bool(before)]}"
        )
    # A pooler's is always tanh.
    ours = objective.get("activation", "tanh") if before == "task_dense" else "tanh"
    theirs = run.config.activation if head.activation == "model" else head.activation
    return f"{name} has {theirs} in it, and here is {ours}" if before and ours != theirs else ""


def settings_of(run: Any, family: Family, architecture: str) -> dict[str, Any]:
    """What config.json says of a head: the names of the classes, and how a text ends.

    Raises:
      UserError: where texts have no end that their class looks for.
    """
    objective = run.record["config"]["objective"]["name"]
    head, task = HEADS[family.model_type][objective], run.record["config"]["task"]
    found = dict(head.settings)
    names: list[str] = []
    if objective == TEXT:
        found["problem_type"] = _PROBLEMS.get(task["name"], _PROBLEMS["classification"])
        is_number = task["name"] == "regression"
        names = [task["label"]] if is_number else run.record["corpus"]["classes"]
    elif objective == WORDS:
        names = run.record["corpus"]["classes"]
    if names:
        found["id2label"] = {str(number): name for number, name in enumerate(names)}
        found["label2id"] = {name: number for number, name in enumerate(names)}
    layout = _layout(run)
    if family.model_type == "t5":
        # Where a text begins for the decoder, and what marks its end.
        found["decoder_start_token_id"] = 0
    if family.decoder_starts:
        if not layout.tail:
            raise UserError(
                f"{architecture} looks for the token that ends a text, and with"
                f" config.data.frame='{run.record['config']['data']['frame']}' there is none; tune"
                " with --config.data.frame=eos"
            )
        found["eos_token_id"] = layout.tail[-1]
        if family.model_type == "bart":
            found["decoder_start_token_id"] = layout.tail[-1]
    return found


def _layout(run: Any) -> Layout:
    data, tokenizer = run.record["config"]["data"], run.tokenizer
    return make_layout(data["frame"], tokenizer, data["seq_len"], PAIR)


@dataclasses.dataclass(frozen=True)
class ChangedParameters:
    """The parameters in a checkpoint, some of them replaced.

    stored: all of them. changed: by path.
    """

    stored: Any
    changed: Mapping[str, np.ndarray]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By path."""
        return self.stored.shapes

    def read(self, path: str, index: int | None = None) -> np.ndarray:
        """As of `plmjax.train.parameters.StoredParameters`."""
        if path not in self.changed:
            return self.stored.read(path, index)
        return self.changed[path] if index is None else self.changed[path][index]


def fitted(run: Any, family: Family) -> Any:
    """The run with parameters that their class, whose last layer has no bias, computes the same
    with: the bias of the norm before it is larger by what the layer makes the bias of.

    Raises:
      UserError: where no such norm is.
    """
    head = HEADS[family.model_type][run.record["config"]["objective"]["name"]]
    if head.bias:
        return run
    read = run.parameters.read
    kernel_DC, bias_C = (read(f"task_head/{name}").astype(float) for name in ("kernel", "bias"))
    added_D = np.linalg.lstsq(kernel_DC.T, bias_C, rcond=None)[0]
    if np.abs(added_D @ kernel_DC - bias_C).max() > 1e-5 * max(1.0, np.abs(bias_C).max()):
        raise UserError(
            f"the head of {run.work.name} cannot be exported: {head.architecture} has no bias, and"
            " its kernel is too even to take this one in; tune for some more steps"
        )
    path, index = "backbone/final_norm/bias", ...
    if not run.config.norm_first:
        place, layers = list(subtrees(run.config.layers, run.config.scan).items())[-1]
        path = f"backbone/decoder/{place}/mlp_norm/bias"
        index = -1 if isinstance(layers, tuple) else ...
    norm = np.array(read(path))
    norm[index] += added_D.astype(norm.dtype)
    return dataclasses.replace(run, parameters=ChangedParameters(run.parameters, {path: norm}))


def write_beside(run: Any, family: Family, key: str, asked: str, folder: Path) -> None:
    """Writes what a fine-tuned run's export has besides the model: the frame of its texts, and how
    embeddings of sentences are made.

    Args:
      run: a `plmjax.exporting.Run`.
      family: theirs.
      key: which of its classes.
      asked: the class that the user has asked for; empty for none.
      folder: has the tokenizer.
    """
    config = run.record["config"]
    is_whole = config["objective"]["name"] == SENTENCES and not asked
    if config.get("task") and (key == KEY or is_whole):
        frame_tokenizer(run, family, folder)
    if is_whole:
        write_sentences(run, folder)


def frame_tokenizer(run: Any, family: Family, folder: Path) -> None:
    """Makes the tokenizer of an export surround texts, and pad them, as the run has read them."""
    path, more = folder / CONFIG_FILE, {}
    has_types = getattr(run.config, "token_types", 0) > 1
    if family.model_type == "xlnet":  # whose head reads the last place
        more["padding_side"], has_types = "left", True
    # Without types: some classes would add them to the tokens all the same, others take none.
    types = ["token_type_ids"] * has_types
    more["model_input_names"] = ["input_ids", *types, "attention_mask"]
    if _reframed(run, folder / TOKENIZER_FILE, has_types):
        # Those of the families have frames of their own.
        more["tokenizer_class"] = "PreTrainedTokenizerFast"
    described = json.loads(path.read_text()) | more
    path.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def _reframed(run: Any, path: Path, has_types: bool) -> bool:
    """Whether a tokenizer's file had another frame than the run has; then it has that now.

    `has_types`: whether the types of tokens matter.
    """
    if not path.exists():
        return False
    layout, texts = _layout(run), ("a", "b")
    engine, pieces = tokenizers.Tokenizer.from_file(str(path)), run.tokenizer.encode_batch([*texts])
    for count in (1, 2):
        said, (ids, types) = engine.encode(*texts[:count]), framed(layout, pieces[:count])
        other_types = has_types and said.type_ids != types.tolist()
        if said.ids != ids.tolist() or other_types:
            engine.post_processor = template(layout, run.tokenizer.vocabulary)
            engine.save(str(path))
            return True
    return False


def template(layout: Layout, vocabulary: Sequence[str]) -> Any:
    """What surrounds texts, as the tokenizers library has it."""

    def shown(ids: Sequence[int], of_type: int) -> list[str]:
        return [f"{vocabulary[number]}:{of_type}" for number in ids]

    first = [*shown(layout.head_first, 0), "$A:0", *shown(layout.tail, 0)]
    other = [*shown(layout.head_other, 1), "$B:1", *shown(layout.tail, 1)]
    end = shown(layout.end, layout.piece_types)
    used = {*layout.head_first, *layout.head_other, *layout.tail, *layout.end}
    return processors.TemplateProcessing(
        single=[*first, *end],
        pair=[*first, *other, *end],
        special_tokens=[(vocabulary[number], number) for number in sorted(used)],
    )
