"""The configs of published benchmarks: the task that each is, and how it was trained."""

import dataclasses
from collections.abc import Mapping

from ml_collections import ConfigDict

from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.data.labelled.t5_forms import T5_FORMS
from plmjax.errors import UserError
from plmjax.finetuning import tuned_config
from plmjax.methods import METHODS
from plmjax.settings import choose, parse_argument

OF_KIND = {
    "classes": "classification",
    "score": "regression",
    "tags": "tagging",
    "span": "extraction",
    "choice": "choice",
}
"""The task of each kind of benchmark."""

OF_BENCHMARK: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "superglue/wic": ("mentions", {"places": "pair"}),
    "superglue/wsc": ("mentions", {"places": "words"}),
    "superglue/multirc": ("verification", {}),
    "superglue/record": ("filling", {}),
    "superglue/ax_g": ("classification", {"metric": "gender_parity"}),
    "clue/cluewsc": ("mentions", {"places": "characters"}),
    "clue/chid": ("blanks", {}),
    "fewclue/cluewsc": ("mentions", {"places": "characters"}),
    "fewclue/chid": ("blanks", {"metric": "chid_independent"}),
}
"""The task, and some of its fields, of benchmarks whose kind does not say it."""

METRIC_OF = {"squad1": "squad", "squad2": "squad_v2_best"}
"""Metrics that benchmarks call otherwise than `plmjax.evals.metrics.named`."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a task was trained where it was published.

    Attributes:
      batch_size: examples of an update.
      learning_rate: the highest.
      epochs: passes over the training set.
      seq_len: tokens of a row.
      warmup: the share of updates by which the learning rate is at its highest.
      weight_decay: as of `plmjax.train.optimizers.OptimizerConfig`.
      b2: decay of Adam's second moment.
      schedule: as of `plmjax.train.optimizers.OptimizerConfig`.
      layer_decay: as of `plmjax.train.transfer.TransferConfig`.
      pooling: as of `plmjax.objectives.labelled.Pooled`; empty for the objective's own.
    """

    batch_size: int = 32
    learning_rate: float = 2e-5
    epochs: float = 3.0
    seq_len: int = 128
    warmup: float = 0.1
    weight_decay: float = 0.01
    b2: float = 0.999
    schedule: str = "linear"
    layer_decay: float = 1.0
    pooling: str = ""


def benchmark_task(name: str) -> tuple[str, dict[str, str]]:
    """The task that a benchmark is, and the fields of `config.task` that describe it.

    Args:
      name: of `plmjax.data.labelled.benchmarks.BENCHMARKS`.

    Raises:
      UserError: for an unknown name, or a benchmark that is none of the tasks.
    """
    benchmark = choose(name, BENCHMARKS, "the benchmark")
    task, own = OF_BENCHMARK.get(name, (OF_KIND.get(benchmark.kind, ""), {}))
    if not task:
        raise UserError(f"{name} is none of the tasks that are tuned; give another")
    metric = benchmark.metrics[0]
    fields = {
        "benchmark": name,
        "train": "train",
        "dev": "dev",
        "text": benchmark.text,
        "label": benchmark.label,
        "metric": METRIC_OF.get(metric, metric),
    }
    if benchmark.kind != "tags":
        fields["pair"] = benchmark.second
    if benchmark.kind == "classes":
        fields["labels"] = ",".join(benchmark.labels)
    if benchmark.options:
        fields["options"] = benchmark.options
    return task, {**fields, **own}


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A task of a config file.

    Attributes:
      benchmark: a name of `plmjax.data.labelled.benchmarks.BENCHMARKS`.
      recipe: how it is trained.
      changes: fields of `config.task` that are not the benchmark's.
    """

    benchmark: str
    recipe: Recipe
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)


def suite(name: str, recipes: Mapping[str, Recipe]) -> dict[str, Tuning]:
    """The tasks of a suite such as `glue`, whose benchmarks' names begin with its own."""
    return {task: Tuning(f"{name}/{task}", recipe) for task, recipe in recipes.items()}


def benchmark_config(
    argument: str | None,
    tasks: Mapping[str, Tuning],
    named: Mapping[str, Mapping[str, Tuning]] | None = None,
) -> ConfigDict:
    """The config of a benchmark, from the argument of a config file: a task, init_from=RUN, and
    maybe fresh=true and recipe=NAME, of `named` or of `plmjax.methods.METHODS`.

    Args:
      argument: of the config file.
      tasks: those of the file, by the names that the argument has.
      named: the same with other recipes, by the names of those.

    Raises:
      UserError: where it names no task, or as `tuned_config` and `benchmark_task`.
    """
    given = parse_argument(argument, "task", task="", init_from="", fresh=False, recipe="")
    is_method = given.recipe in METHODS
    if given.recipe and not is_method:
        tasks = choose(given.recipe, {**(named or {}), **METHODS}, "recipe")
    if not given.task:
        raise UserError(
            f"the config needs a task and a run, such as {next(iter(tasks))},init_from=RUN; there"
            f" are: {', '.join(tasks)}"
        )
    tuning = choose(given.task, tasks, "the task")
    task, fields = benchmark_task(tuning.benchmark)
    fields = {**fields, **tuning.changes}
    if is_method:
        return tuned_config(given.init_from, task, given.fresh, given.recipe, **fields)
    return followed(tuned_config(given.init_from, task, given.fresh, **fields), tuning.recipe)


def text_config(argument: str | None) -> ConfigDict:
    """The config of a benchmark in T5's form, from the argument of `t5`: a task, and init_from=RUN.

    Rows are those of T5's fine-tuning, 512 tokens of source in batches of 128 (Raffel et al. 2020).

    Raises:
      UserError: where it names no task, or as `tuned_config`.
    """
    given = parse_argument(argument, "task", task="", init_from="", fresh=False)
    if not given.task:
        raise UserError(
            "the config needs a task and a run: configs/finetune/t5.py:TASK,init_from=RUN"
        )
    # Of rte, GLUE's and SuperGLUE's, the first.
    names = {name.rpartition("/")[2]: name for name in reversed(list(T5_FORMS))}
    name = choose(given.task, names | {name: name for name in T5_FORMS}, "the task")
    form = T5_FORMS[name]
    splits = {"benchmark": name, "train": "train", "dev": "dev"}
    config = tuned_config(given.init_from, "text_to_text", given.fresh, **splits, **form)
    config.data.seq_len = 512
    config.data.batch_size = 128
    return config


def followed(config: ConfigDict, recipe: Recipe) -> ConfigDict:
    """The config with the settings of a recipe."""
    config.data.batch_size = recipe.batch_size
    config.data.seq_len = recipe.seq_len
    config.task.epochs = float(recipe.epochs)
    config.optimizer.learning_rate = recipe.learning_rate
    config.optimizer.warmup_fraction = recipe.warmup
    config.optimizer.weight_decay = recipe.weight_decay
    config.optimizer.b2 = recipe.b2
    config.optimizer.schedule = recipe.schedule
    config.transfer.layer_decay = recipe.layer_decay
    if recipe.pooling:
        config.objective.pooling = recipe.pooling
    return config
