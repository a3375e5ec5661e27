"""What a batch is: the settings of the input, and the arrays that follow from them."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from plmjax.data.languages import LANGUAGES
from plmjax.data.maskings import MASKINGS, BoundMasking, Masking, MaskingVocabulary
from plmjax.data.mixing import Mixture
from plmjax.data.plans import PLANS, Layout
from plmjax.data.store import SplitReader
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.settings import choose, chosen, from_config, section_of

Spec = dict[str, tuple[tuple[int, ...], np.dtype]]

# What maskings and the input itself read of a row, and the model does not.
_OF_THE_INPUT = ("seeds", "flags", "label")

_OF_TASKS = ("weight", "frame", "plan", "masking", "sources", "alpha")


def plan_config(name: str, **changes: Any) -> dict[str, Any]:
    """`config.data.plan`: a plan of `plmjax.data.plans.PLANS` with its defaults and `changes`.

    Raises:
      UserError: for an unknown name.
    """
    return section_of(PLANS, name, "plan", **changes)


def masking_config(name: str, **changes: Any) -> dict[str, Any]:
    """`config.data.masking`: one of `plmjax.data.maskings.MASKINGS`, with defaults and `changes`.

    Raises:
      UserError: for an unknown name.
    """
    return section_of(MASKINGS, name, "masking", **changes)


def changed_choice(old: Mapping[str, Any], changes: Any, where: str) -> dict[str, Any]:
    """A part's plan or masking: another one, or that of `config.data` with some fields changed.

    Raises:
      UserError: where the changes, which the user finds at `where`, are no section.
    """
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}={changes!r}; expected a section with name or fields")
    is_other = changes.get("name", old["name"]) != old["name"]
    return dict(changes) if is_other else {**old, **changes}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a batch is.

    Attributes:
      seq_len: tokens of an example, specials and padding included.
      batch_size: examples of a step over all hosts.
      frame: which special tokens surround the text; a name of `plmjax.data.plans.FRAMES`.
      plan: what an example is made of: `name`, of `plmjax.data.plans.PLANS`, and its fields.
      masking: what is to be predicted: `name`, of `plmjax.data.maskings.MASKINGS`, and its fields.
      sources: which of the store's sources are read: `wiki,news`, or with weights in any unit
        `wiki:3,news:1`; empty for all of them.
      alpha: without weights a source's share is proportional to its tokens to the power of alpha.
      languages: names with commas between, such as `de,en,fr`, for models that are told the
        language of each token: its place here. Sources are then called after their languages, as
        `plmjax.data.languages` says; empty where nothing is told.
      tasks: where one plan and masking are not enough: kinds of batches by name, which take turns
        as `plmjax.data.tasks` says. Each has `weight` (1), how often its turn comes, and of the
        settings above `frame`, `plan`, `masking`, `sources` and `alpha` where it differs.
      prefetch: batches made ahead.
    """

    seq_len: int = 128
    batch_size: int = 32
    frame: str = "bert"
    plan: dict = dataclasses.field(default_factory=lambda: plan_config("sentence_pairs"))
    masking: dict = dataclasses.field(default_factory=lambda: masking_config("token"))
    sources: str = ""
    alpha: float = 1.0
    languages: str = ""
    tasks: dict = dataclasses.field(default_factory=dict)
    prefetch: int = 4

    def __post_init__(self):
        if self.seq_len < 8 or self.seq_len >= 1 << 16:
            raise UserError(f"seq_len={self.seq_len} is out of range; give 8 to 65535")
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size} is none; give 1 or more")
        if self.prefetch < 1:
            raise UserError(f"prefetch={self.prefetch} is too small; give 1 or more")
        _ = self.plan_settings, self.masking_settings, self.mixture  # each says what is wrong
        _ = self.of_tasks, self.turns

    @property
    def plan_settings(self) -> Any:
        """The chosen plan, a dataclass of PLANS."""
        return chosen(self.plan, PLANS, "plan")

    @property
    def masking_settings(self) -> Masking:
        """The chosen masking, a dataclass of MASKINGS."""
        return chosen(self.masking, MASKINGS, "masking")

    @functools.cached_property
    def of_tasks(self) -> "dict[str, DataConfig]":
        """The settings of each task, by its name; empty where there are none."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found = {}
        for name, changes in sorted(self.tasks.items()):
            where = f"tasks.{name}"
            if not isinstance(changes, Mapping):
                raise UserError(f"{where}={changes!r}; expected a section with settings")
            for key in changes:
                choose(key, dict.fromkeys(_OF_TASKS), f"a setting of {where}")
            weight = changes.get("weight", 1)
            if not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise UserError(f"{where}.weight={weight!r}; give a number above 0")
            changed = {key: value for key, value in changes.items() if key != "weight"}
            for key in {"plan", "masking"} & changed.keys():
                changed[key] = changed_choice(own[key], changed[key], f"{where}.{key}")
            found[name] = from_config(DataConfig, {**own, "tasks": {}, **changed}, where)
        return found

    @functools.cached_property
    def turns(self) -> Mixture:
        """How often the turn of each task comes."""
        return Mixture({name: self.tasks[name].get("weight", 1) for name in self.of_tasks})

    @property
    def language_names(self) -> list[str]:
        """The names in `languages`."""
        return [name.strip() for name in filter(None, self.languages.split(","))]

    @property
    def mixture(self) -> Mixture:
        """How much of each source."""
        weights = {name: weight for name, weight in self._named_sources().items() if weight}
        if weights and self.alpha != 1:
            raise UserError(
                f"alpha={self.alpha} goes by sizes and sources={self.sources} has weights; leave "
                "one of them out"
            )
        return Mixture(weights, self.alpha)

    def _named_sources(self) -> dict[str, float | None]:
        """The names in `sources`, with their weights; all have one or none has."""
        found: dict[str, float | None] = {}
        for word in filter(None, self.sources.split(",")):
            name, colon, text = word.strip().partition(":")
            if name in found:
                raise UserError(f"sources={self.sources} names '{name}' twice; name it once")
            try:
                weight = float(text) if colon else None
            except ValueError:
                weight = 0.0
            if weight is not None and not (math.isfinite(weight) and weight > 0):
                raise UserError(
                    f"sources={self.sources}: '{word}' has no usable weight; give a number above 0,"
                    " as in wiki:3,news:1"
                )
            found[name] = weight
        if len({weight is None for weight in found.values()}) > 1:
            raise UserError(
                f"sources={self.sources}: some have a weight and some have none; give all of them"
                " one, or none"
            )
        return found

    def pick(self, splits: Mapping[str, SplitReader]) -> dict[str, SplitReader]:
        """The splits of `sources`, in their order.

        Raises:
          UserError: where one is not in the store.
        """
        names = self._named_sources()
        for name in names:
            if name not in splits:
                raise UserError(
                    f"sources={self.sources}: the store has no source '{name}'; it has "
                    f"{', '.join(splits)}"
                )
        return {name: splits[name] for name in names or splits}


def named(where: str, config: DataConfig, function: Callable, *arguments: Any, **more: Any) -> Any:
    """Calls the function; a setting of `config` that it finds wrong is named as the user writes it.

    Args:
      where: where the settings are.
      config: the settings.
      function, arguments, more: what is called, and with what.
    """
    try:
        return function(*arguments, **more)
    except UserError as error:
        message = str(error)
        first = message.partition("=")[0].partition(".")[0]
        parts = {"": config, "plan.": config.plan_settings, "masking.": config.masking_settings}
        for section, settings in parts.items():
            if first in {field.name for field in dataclasses.fields(settings)}:
                raise UserError(f"{where}.{section}{message}") from None
        raise


@dataclasses.dataclass(frozen=True)
class BatchForm:
    """Rows, masks and arrays of a batch, as they follow from settings and a tokenizer.

    Attributes:
      config: the settings.
      plan: the chosen plan's settings, still without a split.
      layout: from an example's pieces to a row.
      masking: from rows to what the model reads and predicts.
      spec: shape of the global batch and dtype of every key.
    """

    config: DataConfig
    plan: Any
    layout: Layout
    masking: BoundMasking
    spec: Spec

    @classmethod
    def of(
        cls,
        config: DataConfig,
        tokenizer: Tokenizer,
        token_counts: np.ndarray | None = None,
        similar_words: str = "",
    ) -> "BatchForm":
        """The form of these settings.

        Args:
          config: the settings.
          tokenizer: whose special tokens frame the text.
          token_counts: int64 [vocab_size], of the training text; maskings that draw from them say
            so if they are missing.
          similar_words: path of the corpus's table of similar words; empty before it is prepared.

        Raises:
          UserError: where the vocabulary lacks a token, or settings do not fit each other.
        """
        plan, settings = config.plan_settings, config.masking_settings
        vocabulary = vocabulary_of(tokenizer, token_counts, similar_words)
        masking = settings.bind(vocabulary, config.seq_len)
        layout = plan.layout(config.frame, tokenizer, masking.input_length)
        form = cls(config, plan, layout, masking, {})
        if layout.isolate and form.is_rewritten:
            raise UserError(
                f"masking.name={config.masking['name']} rewrites whole rows, and plan.name="
                f"{config.plan['name']} tells documents of a row apart; choose another plan, such "
                "as full_sentences, or blocks without isolate"
            )
        if config.languages and layout.token_types > 2:
            raise UserError(
                f"languages={config.languages} are told by segment, of which a row has two, and"
                f" frame={config.frame} with plan.name={config.plan['name']} has"
                f" {layout.token_types} token types; choose another frame or plan"
            )
        if config.languages and form.is_rewritten:
            raise UserError(
                f"languages={config.languages} are told token by token, and masking.name="
                f"{config.masking['name']} rewrites whole rows; choose another masking"
            )
        return dataclasses.replace(form, spec=form._global_spec())

    @property
    def is_rewritten(self) -> bool:
        """Whether the masking makes rows of another length or order, so that no place of the
        layout's is kept."""
        return "attention_mask" in self.masking.spec

    @property
    def rows(self) -> Spec:
        """Shape per example and dtype of the arrays before masking."""
        told = {LANGUAGES: self.layout.spec["tokens"]} if self.config.languages else {}
        return {**self.layout.spec, **told}

    @property
    def kept(self) -> tuple[str, ...]:
        """The arrays before masking that the model reads as they are."""
        if self.is_rewritten:
            return ()
        return tuple(
            key for key in self.rows if key not in self.masking.spec and key not in _OF_THE_INPUT
        )

    @property
    def labels(self) -> Any:
        """How many classes examples have, 0 for none; where examples are of several tasks, for each
        of them a `plmjax.data.plans.multi_task.Task`."""
        return self.plan.labels

    @property
    def task(self) -> str:
        """What the label is about, for names of metrics: nsp, sop, distance; empty for none; tasks
        where there are several."""
        return self.plan.task if self.labels else ""

    @property
    def named(self) -> dict[str, Any]:
        """What an objective is told of the labels."""
        return {"labels": self.labels, "task": self.task}

    def asked(self, row: Mapping[str, np.ndarray]) -> str:
        """What is asked of an example besides tokens, and its label; empty for nothing."""
        if "task" in row:
            task = self.labels[int(row["task"])]
            has_label = task.classes and not task.of_tokens
            return f"{task.name} {row['label']}" if has_label else task.name
        return f"{self.task} {row['label']}" if "label" in row else ""

    def _global_spec(self) -> Spec:
        rows = {key: self.rows[key] for key in self.kept} | self.masking.spec
        if self.labels:
            rows |= {"label": ((), np.dtype(np.int32)), "label_weights": ((), np.dtype(np.float32))}
        return {key: ((self.config.batch_size, *shape), of) for key, (shape, of) in rows.items()}


def vocabulary_of(
    tokenizer: Tokenizer, token_counts: np.ndarray | None, similar_words: str = ""
) -> MaskingVocabulary:
    """What maskings need of a tokenizer and its corpus; see `BatchForm.of`."""
    return MaskingVocabulary(
        vocab_size=tokenizer.vocab_size,
        special_ids=tokenizer.special_ids,
        pad_id=tokenizer.pad_id,
        mask_id=tokenizer.mask_id,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        eod_id=tokenizer.eod_id,
        sentinel_ids=tokenizer.sentinel_ids,
        token_counts=token_counts,
        word_starts=tokenizer.word_starts,
        similar_words=similar_words,
    )
