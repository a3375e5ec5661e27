"""What a folder of Hugging Face's would be as a run of ours: its settings, and its parameters.

Nothing is written, and no weight is read before it is asked for.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from plmjax import experiment
from plmjax.data.batch_form import DataConfig, masking_config, plan_config
from plmjax.data.preparation import CorpusConfig
from plmjax.data.tokenizers import Tokenizer
from plmjax.data.tokenizers.published import read_tokenizer
from plmjax.errors import UserError
from plmjax.experiment import Settings, TrainConfig
from plmjax.huggingface import streaming
from plmjax.huggingface.families import family_of_settings
from plmjax.huggingface.family import Family
from plmjax.huggingface.heads import without_head
from plmjax.huggingface.keys import Entry, shape_of
from plmjax.huggingface.weights import Weights, check_besides, in_family, open_weights
from plmjax.train.parameters import LazyArray
from plmjax.train.state import boxed_parameters, dummy_batch

RECIPES: dict[str, dict[str, Any]] = {
    "albert": {"plan": plan_config("sentence_order"), "masking": masking_config("ngram")},
    "roberta": {
        "plan": plan_config("full_sentences"),
        "frame": "roberta",
        "masking": masking_config("roberta"),
    },
    "electra": {"plan": plan_config("electra_segments"), "masking": masking_config("electra")},
    "distilbert": {"plan": plan_config("full_sentences")},
    "roformer": {"plan": plan_config("doc_sentences")},
}
"""Fields of `config.data` with which a family goes on, where not with those that its configs begin
with (`experiment.FAMILIES`)."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be read.

    described: the fields of config.json.
    settings: of a run with the model. tokenizer: theirs. family: theirs.
    weights: by the names of the family's table. shapes: of our parameters, by path.
    places: the entries that have their tensors, by path. fresh: paths of parameters without.
    left_out: parts of theirs that the run has no use for.
    """

    described: Mapping[str, Any]
    settings: Settings
    tokenizer: Tokenizer
    family: Family
    weights: Weights
    shapes: Mapping[str, tuple[int, ...]]
    places: Mapping[str, Entry]
    fresh: tuple[str, ...]
    left_out: tuple[str, ...]


def planned(folder: Path, given_as: str = "--from_huggingface", vocab_file: str = "") -> Plan:
    """Reads and checks everything but the weights themselves.

    Args:
      folder: with config.json, weights and tokenizer.
      given_as: what the user set to `folder`, for messages.
      vocab_file: where a run with the model will find its WordPiece vocabulary.

    Raises:
      UserError: for whatever does not fit.
    """
    described = read_config(folder, given_as)
    name, family = family_of_settings(described)
    config = family.from_settings(described)
    tokenizer = read_tokenizer(folder, family.model_type)
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens and config.json says"
            f" vocab_size={config.vocab_size}; they are not of one model"
        )
    settings = run_settings(name, config, tokenizer, vocab_file)
    weights, head = without_head(open_weights(folder), family, described)
    weights, besides = in_family(weights, family, config)
    shapes = shapes_of(settings)
    plan = _placed(described, settings, tokenizer, family, config, weights, besides, shapes)
    return dataclasses.replace(plan, left_out=(*plan.left_out, *head))


def read_config(folder: Path, given_as: str) -> dict[str, Any]:
    """The fields of a folder's config.json.

    Raises:
      UserError: if there is none, or it is damaged.
    """
    path = folder / "config.json"
    try:
        described = json.loads(path.read_text())
        if not isinstance(described, dict):
            raise ValueError("it is no object")
        return described
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{given_as}={folder} has no config.json; name a folder that transformers saved"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from None


def run_settings(name: str, config: Any, tokenizer: Tokenizer, vocab_file: str) -> Settings:
    """The settings of a run that goes on with the model."""
    chosen = experiment.FAMILIES[name]
    begun = {
        "plan": plan_config(chosen.plan),
        "masking": masking_config(chosen.masking),
        "frame": chosen.frame,
    }
    data = DataConfig(seq_len=min(128, config.longest), **(begun | RECIPES.get(name, {})))
    if data.plan_settings.labels and not config.pooler:
        data = dataclasses.replace(data, plan=plan_config("doc_sentences"))
    corpus = CorpusConfig()
    if tokenizer.kind == "wordpiece":
        corpus = CorpusConfig(vocab_file=vocab_file, lowercase=tokenizer.lowercase)
    return Settings(
        model={"family": name, **dataclasses.asdict(config)},
        objective=experiment.objective_config(chosen.objective),
        corpus=corpus,
        data=data,
        train=TrainConfig(),
    )


def shapes_of(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of the run, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(abstract_parameters(settings))
    return {
        jax.tree_util.keystr(keys, simple=True, separator="/"): leaf.shape for keys, leaf in leaves
    }


def run_objective(settings: Settings) -> tuple[nn.Module, Mapping[str, Any]]:
    """The run's objective, and the form of a small batch, on which no parameter depends.

    The form does not come from the tokenizer, which may lack what a masking needs (T5's sentinels)
    and be right for everything else.
    """
    plan = settings.data.plan_settings
    told = {"labels": plan.labels, "task": plan.task if plan.labels else ""}
    objective = experiment.objective_of(settings, told)
    spec = {}
    for key in objective.batch_keys():
        shape = (2,) if key in ("label", "label_weights", "task") else (2, 8)
        spec[key] = (shape, np.float32 if key.endswith("weights") else np.int32)
    return objective, spec


def abstract_parameters(settings: Settings) -> Any:
    """Shapes of the parameters of a run."""
    return nn.meta.unbox(boxed_parameters(*run_objective(settings)))


def _placed(
    described: Mapping[str, Any],
    settings: Settings,
    tokenizer: Tokenizer,
    family: Family,
    config: Any,
    weights: Weights,
    besides: list[str],
    shapes: Mapping[str, tuple[int, ...]],
) -> Plan:
    """Says where each tensor goes, and checks that all is there and fits."""
    fullest = "pretraining" if "pretraining" in family.classes else "language_model"
    table = family.table(config, fullest)
    needed = {entry.ours for entry in family.table(config, "model")}
    places, left = {}, set(weights.shapes) - set(besides)
    left_out = {name for name in left if name.startswith(f"{family.prefix}pooler.")}
    for entry in table:
        missing = [name for name in entry.names if name not in weights.shapes]
        optional = entry.ours not in needed or entry.ours.startswith("backbone/pooler/")
        if missing and not (optional and len(missing) == len(entry.names)):
            raise UserError(
                f"the tensor {missing[0]} is missing; are all files of the model there?"
            )
        left -= set(entry.names)
        if entry.ours not in shapes:
            left_out |= set(entry.names) - set(missing)
        elif not missing:
            places[entry.ours] = entry
            left_out -= set(entry.names)
    left -= left_out
    if left:
        raise UserError(
            f"plmjax's {family.model_type} has no place for the tensor {min(left)}"
            + f" and {len(left) - 1} more" * (len(left) > 1)
            + "; is this another architecture, or a model that was finetuned?"
        )
    _check_shapes(weights, places, shapes, config)
    check_besides(weights, family, besides)
    fresh = tuple(path for path in shapes if path not in places)
    parts = tuple(sorted({re.sub(r"\.(weight|bias)$", "", name) for name in left_out}))
    return Plan(*(described, settings, tokenizer, family, weights, shapes, places, fresh, parts))


def _check_shapes(
    weights: Weights,
    places: Mapping[str, Entry],
    shapes: Mapping[str, tuple[int, ...]],
    config: Any,
) -> None:
    made_of = streaming.pieces(places.values())
    for name, shape in streaming.shapes(made_of, shapes, shape_of(config)).items():
        if weights.shapes[name] != shape:
            raise UserError(
                f"the tensor {name} has the shape {weights.shapes[name]}, and by config.json it"
                f" has {shape}; they are not of one model"
            )


def lazy_arrays(plan: Plan) -> dict[str, LazyArray]:
    """Every parameter of the run, each made when it is written."""
    config = experiment.model_config(plan.settings)
    shape = shape_of(config)

    def theirs(entry: Entry, index: int | None) -> np.ndarray:
        tensor = plan.weights.read(entry.names[index or 0]).astype(np.float32, copy=False)
        return np.ascontiguousarray(entry.take(tensor, shape))

    arrays = {}
    for path, size in plan.shapes.items():
        entry = plan.places.get(path)
        if entry is None:
            read = functools.partial(_fresh, plan.settings, path)
        else:
            read = functools.partial(theirs, entry)
        arrays[path] = LazyArray(size, entry is not None and entry.is_stacked, read)
    return arrays


def _fresh(settings: Settings, path: str, index: int | None) -> np.ndarray:
    """A parameter as a fresh run has it. The others are not computed: XLA leaves them out."""
    del index  # fresh parameters are not of the backbone's layers
    objective, spec = run_objective(settings)

    @jax.jit
    def one() -> jax.Array:
        key = jax.random.key(settings.seed)
        params = objective.init(key, dummy_batch(spec), train=False)["params"]
        leaf = nn.meta.unbox(params)
        for part in path.split("/"):
            leaf = leaf[part]
        return leaf

    return np.asarray(one())
