"""The one file that knows every room: from a config to a frozen Experiment.

Everything is built from the config and checked here, before any array is allocated.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from ml_collections import ConfigDict

from plmjax.checks import (
    check_batch_keys,
    check_computable,
    check_form,
    check_memory,
    check_phase,
    check_split,
    check_unread,
    check_written,
    decoder_lengths,
)
from plmjax.data.batch_form import BatchForm, DataConfig, masking_config, plan_config
from plmjax.data.labelled.batches import LabelledForm
from plmjax.data.labelled.sets import LabelledCorpus, open_labelled, task_of
from plmjax.data.plans import FRAMES
from plmjax.data.preparation import (
    CorpusConfig,
    PreparedCorpus,
    given_tokenizer,
    prepare,
)
from plmjax.data.ramp import RampConfig
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.families import FAMILIES, make_objective, objective_config
from plmjax.parallel.layout import check_parameters
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import (
    LENGTH,
    ShardingConfig,
    batch_sharding,
    layer_axes,
    matrix_axes,
    on_mesh,
    own_parts,
    placed,
    replicated,
    shards,
)
from plmjax.phases import PhasePlan, batch_form, plan_phases, tokens_seen, with_tables
from plmjax.settings import choose, from_config, to_config
from plmjax.task_figures import metric_of
from plmjax.train import carried, optimizers
from plmjax.train.checkpoints import CheckpointConfig
from plmjax.train.clock import TokenClock
from plmjax.train.guard import Guard, GuardConfig, fresh_guard
from plmjax.train.optimizers import OptimizerConfig
from plmjax.train.precision import bfloat16_kernels, fastest_dtype
from plmjax.train.state import TrainState, boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import evaluation_step, jit_train_step, train_step
from plmjax.train.transfer import TransferConfig, frozen, scaled
from plmjax.train.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The run.

    steps: updates in the whole run, over all phases.
    accumulate: microbatches an update; the batch is cut, the update is the same.
    log_every: steps a line of metrics covers.
    profile_steps: `a:b` records steps a+1 to b for xprof; empty records nothing.
    parameters: what the loss is computed with. The state keeps them in `float32`. With `bfloat16`
      each step begins with a copy in that of the kernels, laid out as they are, and their gradients
      reach the optimizer in bfloat16; microbatches are added in float32. For `model.dtype`
      bfloat16, of which the compiler gathers kernels in bfloat16 anyway, they are rounded once a
      step and not at each use; it takes 2 bytes a parameter, split as the parameters are.
    stall_seconds: a run that makes no step for so long ends, with the stacks of all its processes;
      what compiles, evaluates or saves may take five times as long. 0 lets it wait.
    """

    steps: int = 10_000
    accumulate: int = 1
    log_every: int = 100
    profile_steps: str = ""
    parameters: str = "float32"
    stall_seconds: float = 600.0

    def __post_init__(self):
        choose(self.parameters, {"float32": 4, "bfloat16": 2}, "config.train.parameters")
        if self.stall_seconds < 0:
            raise UserError(
                f"config.train.stall_seconds={self.stall_seconds}; give seconds, or 0 for no limit"
            )
        if self.steps < 1:
            raise UserError(f"config.train.steps={self.steps}; a run has at least 1 step")
        if self.log_every < 1:
            raise UserError(f"config.train.log_every={self.log_every}; give 1 or more steps")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on the held-out documents: every so many steps (0: at the end only)."""

    every: int = 1000

    def __post_init__(self):
        if self.every < 0:
            raise UserError(
                f"config.evaluation.every={self.every}; give a number of steps, or 0 to evaluate at"
                " the end only"
            )


@dataclasses.dataclass(frozen=True)
class Settings:
    """A whole config, section by section.

    seed: of initialisation, dropout, shuffling and masking.
    init_from: the workdir of another run, whose parameters this one begins with; a run that has
      a checkpoint of its own resumes from that.
    model: `family` and the fields of that family's Config. `vocab_size` 0 takes the tokenizer's;
      `dtype` `auto` takes what is faster on the machine.
    objective: `name`.
    task: `name`, of `plmjax.data.labelled`, and its fields: what an encoder is fine-tuned to tell
      of labelled examples, which come in place of the corpus; empty to train on text.
    phases: named parts of the run, each with `start`, a fraction of `train.steps` (a float below 1)
      or a step (an int), and the fields of `data` that it changes, those of plan and masking one by
      one; before the first of them `data` holds.
    ramp: how the batch grows to that of `data` at the beginning of the run.
    """

    seed: int = 0
    init_from: str = ""
    model: dict = dataclasses.field(default_factory=dict)
    objective: dict = dataclasses.field(default_factory=lambda: {"name": "bert_pretraining"})
    task: dict = dataclasses.field(default_factory=dict)
    corpus: CorpusConfig = CorpusConfig()
    data: DataConfig = DataConfig()
    phases: dict = dataclasses.field(default_factory=dict)
    ramp: RampConfig = RampConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    transfer: TransferConfig = TransferConfig()
    train: TrainConfig = TrainConfig()
    guard: GuardConfig = GuardConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mesh: MeshConfig = MeshConfig()
    sharding: ShardingConfig = ShardingConfig()


def default_config(family: str, preset: str) -> ConfigDict:
    """A config with every setting at its default and the model at a published size.

    Config files start from it, so that any setting can be overridden on the command line.

    Raises:
      UserError: for an unknown family or preset.
    """
    chosen = choose(family, FAMILIES, "the family")
    values = dataclasses.asdict(choose(preset, chosen.presets, "the size"))
    config = to_config(Settings())
    config.model = ConfigDict({"family": family, **values})
    config.objective = ConfigDict(objective_config(chosen.objective))
    config.data.plan = plan_config(chosen.plan)
    config.data.masking = masking_config(chosen.masking)
    config.data.frame = chosen.frame
    config.phases = ConfigDict()
    config.task = ConfigDict()
    return config


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config means on this machine. Built by `build`."""

    settings: Settings
    phases: tuple[PhasePlan, ...]
    mesh: Mesh | AbstractMesh
    objective: nn.Module
    form: BatchForm | LabelledForm
    boxed: Any
    optimizer: optax.GradientTransformation
    learning_rate: Callable[[int], Any]
    shardings: TrainState
    abstract_state: TrainState

    @property
    def spec(self) -> Mapping[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a batch of the first phase."""
        return self.form.spec

    @property
    def shortest(self) -> int:
        """Of how many tokens the rows of a labelled task's batch are at least; 0 for seq_len
        always. See `LabelledTask.shortest`."""
        model, rules = self.objective.backbone.config, self.settings.sharding.rules
        is_any = model.attention_implementation in ("auto", "xla")
        return self.form.asked.shortest * (is_any and shards(LENGTH, self.mesh, rules) == 1)

    @property
    def batch_sharding(self) -> NamedSharding:
        """Of every array of a batch."""
        return batch_sharding(self.mesh, self.settings.sharding.rules)

    def fresh_state(self) -> TrainState:
        """The state at step 0, laid out on the mesh."""
        return self._on_mesh(jax.jit(self._fresh, out_shardings=self.shardings))()

    def fresh_guard(self) -> Guard:
        """The guard of a state at step 0, laid out on the mesh."""
        return self._on_mesh(jax.jit(fresh_guard, out_shardings=self.shardings.guard))()

    def fresh_carried(self) -> Any:
        """What the first of a row of batches is handed, laid out on the mesh; {} for nothing."""

        def fresh() -> Any:
            return carried.fresh_carried(self.objective, self.spec)

        return self._on_mesh(jax.jit(fresh, out_shardings=self.shardings.carried))()

    def compiled_train_step(self) -> Callable:
        """The jitted update; it compiles anew for a batch of another shape."""
        step = train_step(
            self.objective,
            self.optimizer,
            seed=self.settings.seed,
            accumulate=self.settings.train.accumulate,
            log_every=self.settings.train.log_every,
            narrowed=self._narrowed,
            frozen=self._frozen(),
            guard=self.settings.guard,
            phase_starts=tuple(phase.first for phase in self.phases),
        )
        return self._on_mesh(jit_train_step(step, self.shardings, self.batch_sharding))

    def compiled_evaluation_step(self) -> Callable:
        """The jitted evaluation of one batch; see `plmjax.train.step.evaluation_step`."""
        jitted = jax.jit(
            evaluation_step(self.objective),
            in_shardings=(self.shardings.params, self.batch_sharding, self.shardings.carried),
            out_shardings=(self.shardings.step, self.shardings.carried),
        )
        return self._on_mesh(jitted)

    def compiled_masked_logits(self) -> Callable:
        """The jitted logits of a batch: from parameters and batch to float32 [B, M, V]."""
        return self.compiled_method("masked_logits")

    def compiled_method(self, name: str) -> Callable:
        """A jitted method of the objective: from parameters and batch to what it returns."""

        def answer(params: Any, batch: Mapping[str, jax.Array]) -> Any:
            return self.objective.apply({"params": params}, batch, method=name)

        shardings = (self.shardings.params, self.batch_sharding)
        # A copy in each process, which can look at its own devices only.
        everywhere = replicated(self.mesh)
        return self._on_mesh(jax.jit(answer, in_shardings=shardings, out_shardings=everywhere))

    def compiled_answer(self) -> Callable:
        """The jitted loss of a batch without dropout, and the head's numbers of all its examples,
        of an objective with a method `logits` that labels texts; None of one that writes."""
        writes = self.form.asked.writes

        def answer(params: Any, batch: Mapping[str, jax.Array]) -> tuple[Any, jax.Array | None]:
            variables = {"params": params}
            loss = self.objective.apply(variables, batch, train=False)
            return loss, None if writes else self.objective.apply(variables, batch, method="logits")

        shardings = (self.shardings.params, self.batch_sharding)
        everywhere = replicated(self.mesh)
        return self._on_mesh(jax.jit(answer, in_shardings=shardings, out_shardings=everywhere))

    @functools.cached_property
    def own_parts(self) -> tuple[tuple[int, ...], int]:
        """As `rules.own_parts`: what of each batch this process reads."""
        return own_parts(self.mesh, self.settings.sharding.rules)

    def place(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Puts this process's part of a host batch, its `own_parts`, on its devices."""
        return placed(batch, self.batch_sharding, *self.own_parts)

    def place_whole(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Puts a batch that every process has as a whole on the devices."""
        count = self.own_parts[1]
        return placed(batch, self.batch_sharding, range(count), count)

    def parameter_count(self) -> int:
        """How many parameters the model has, rows that pad the vocabulary left out."""
        return _unpadded_count(self.settings, self.form)

    def _fresh(self) -> TrainState:
        return fresh_state(self.objective, self.spec, self.optimizer, self.settings.seed)

    def _frozen(self) -> Any:
        settings = self.settings.transfer
        return frozen(settings, self.abstract_state.params) if settings.frozen else None

    def _narrowed(self, params: Any) -> Any:
        if self.settings.train.parameters == "float32":
            return params
        return bfloat16_kernels(params, self.shardings.params)

    def _on_mesh(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def laid_out(*args, call: Callable = function):
            with on_mesh(self.mesh, self.settings.sharding.rules, self.settings.mesh.microbatches):
                return call(*args)

        # As of a jitted function: for what is compiled and not run.
        laid_out.lower = lambda *args: laid_out(*args, call=function.lower)
        return laid_out


def read_settings(config: ConfigDict) -> Settings:
    """The config as frozen settings; a misspelt key or a wrong type is a UserError.

    Of a labelled task that is gone through in epochs, `train.steps` are as many as those take.
    """
    settings = from_config(Settings, config)
    if not settings.task or not (epochs := task_of(settings.task).epochs):
        return settings
    corpus = open_corpus(settings)
    (phase,) = planned_phases(dataclasses.replace(settings, phases={}))[-1:]
    layout = batch_form(phase, settings.corpus, corpus).layout
    count = len(corpus.train["train"].features(layout))
    steps = max(1, math.ceil(epochs * count / settings.data.batch_size))
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, steps=steps))


def resolved(
    settings: Settings, tokenizer_size: int | None, stored: Mapping[str, Any] | None
) -> Settings:
    """Settings with nothing left open: vocabulary size and dtype are a number and a name.

    Args:
      settings: as given.
      tokenizer_size: entries of the tokenizer's vocabulary; None while there is no tokenizer yet,
        which takes the stored run's, or the size that is asked for.
      stored: the config of the run that is being resumed, which does not choose its dtype again;
        None for a fresh run.

    Raises:
      UserError: if the model's vocabulary is not the tokenizer's.
    """
    model, before = dict(settings.model), (stored or {}).get("model", {})
    asked = model.get("vocab_size")
    added = len(FRAMES[settings.data.frame].added) if settings.data.frame in FRAMES else 0
    if tokenizer_size is not None:
        tokenizer_size += added
    else:
        tokenizer_size = asked or before.get("vocab_size") or settings.corpus.vocab_size + added
    if asked and asked != tokenizer_size and not _has_spare_rows(settings, asked, tokenizer_size):
        raise UserError(
            f"config.model.vocab_size={asked}, but the tokenizer has {tokenizer_size} entries"
            f"{f', {added} of them of the frame' if added else ''};"
            " set it to 0 to take the tokenizer's, or name the vocabulary in corpus.vocab_file"
        )
    model["vocab_size"] = asked or tokenizer_size
    if model.get("dtype") == "auto":
        model["dtype"] = before.get("dtype") or fastest_dtype()
    return dataclasses.replace(settings, model=model)


def _has_spare_rows(settings: Settings, asked: int, tokenizer_size: int) -> bool:
    """Whether the table may be larger than the tokenizer: where it begins as another run's is."""
    if not settings.init_from or asked < tokenizer_size:
        return False
    other = Workdir(settings.init_from, "config.init_from").stored_config()
    return other is not None and other["model"].get("vocab_size") == asked


def drafted(settings: Settings, stored: Mapping[str, Any] | None) -> Settings:
    """As `resolved`, before the corpus is prepared: a tokenizer that is given is known by then."""
    given = open_corpus(settings).tokenizer if settings.task else given_tokenizer(settings.corpus)
    return resolved(settings, given.vocab_size if given else None, stored)


def build(
    settings: Settings,
    devices: list[jax.Device] | None = None,
    corpus: PreparedCorpus | LabelledCorpus | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    tokenizer: Tokenizer | None = None,
) -> Experiment:
    """Builds and checks everything a run needs but its data; allocates no array.

    Args:
      settings: resolved settings.
      devices: what the mesh is made of; default all there are.
      corpus: whose tokenizer frames the text; without one, what is known of it before the corpus
        is prepared.
      mesh: in place of `devices`; on an abstract one nothing can be run or compiled.
      tokenizer: without a corpus, what stands for its tokenizer.

    Raises:
      UserError: for anything that does not fit together.
    """
    mesh = make_mesh(settings.mesh, devices) if mesh is None else mesh
    phases = planned_phases(settings)
    model = model_config(settings)
    if settings.task:
        check_unread(settings)
        metric_of(task_of(settings.task))
        corpus = open_corpus(settings) if corpus is None else corpus
    forms = [batch_form(phase, settings.corpus, corpus, tokenizer) for phase in phases]
    for phase, form in zip(phases, forms, strict=True):
        check_phase(settings, phase, model, mesh)
        check_form(phase, form, forms[0], model)
        check_split(model, mesh, settings.sharding.rules, decoder_lengths(phase.where, form.spec))
    if settings.task:
        check_written(settings, forms[0].spec, model)
    objective = objective_of(settings, forms[0].named)
    for phase, form in zip(phases, forms, strict=True):
        check_batch_keys(objective, settings.objective["name"], form.spec, phase)
    check_memory(objective, phases, corpus)
    spec = forms[0].spec
    boxed, rules = boxed_parameters(objective, spec), settings.sharding.rules
    check_parameters(boxed, model, mesh, rules)
    for form in forms:
        check_computable(objective, boxed, form.spec, mesh, rules, settings.train.accumulate)
    axes = layer_axes(boxed), matrix_axes(boxed)
    clock = TokenClock(*tokens_seen(phases))
    optimizer = optimizers.build(settings.optimizer, settings.train.steps, *axes, clock)
    shapes, transfer = nn.meta.unbox(boxed), settings.transfer
    frozen(transfer, shapes)  # says what is wrong
    if transfer.scales:
        slower = scaled(transfer, shapes, axes[0], settings.train.steps)
        optimizer = optax.chain(optimizer, slower)
    fresh = functools.partial(fresh_state, objective, spec, optimizer, settings.seed)
    with on_mesh(mesh, rules, settings.mesh.microbatches):
        abstract = jax.eval_shape(fresh)
    boxed_carried = carried.boxed_carried(objective, carried.rows_of(spec))
    shardings = state_shardings(abstract, boxed, optimizer, mesh, rules, boxed_carried)
    abstract = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        abstract,
        shardings,
    )
    rate = optimizers.learning_rate(settings.optimizer, settings.train.steps, clock)
    return Experiment(
        *(settings, phases, mesh, objective, forms[0], boxed, optimizer, rate, shardings, abstract)
    )


def planned_phases(settings: Settings) -> tuple[PhasePlan, ...]:
    """The parts of a run, in order; see `plan_phases`."""
    return plan_phases(settings.data, settings.phases, settings.train.steps, settings.ramp)


def model_config(settings: Settings) -> Any:
    """The family's Config."""
    fields = dict(settings.model)
    family = fields.pop("family", None)
    chosen = choose(family, FAMILIES, "config.model.family")
    return from_config(chosen.config, fields, "config.model")


def open_corpus(settings: Settings, quiet: bool = False) -> PreparedCorpus | LabelledCorpus:
    """Prepares the corpus, or reuses what was prepared before; reads a labelled task's files."""
    if settings.task:
        return _labelled(json.dumps(settings.task), settings.corpus)
    corpus = prepare(settings.corpus, quiet=quiet)
    return with_tables(corpus, planned_phases(settings), quiet)


@functools.lru_cache(maxsize=2)
def _labelled(task: str, corpus: CorpusConfig) -> LabelledCorpus:
    return open_labelled(json.loads(task), corpus)


def objective_of(settings: Settings, told: Mapping[str, Any]) -> nn.Module:
    """The objective with its model; `told` as `BatchForm.named`."""
    model = model_config(settings)
    return make_objective(settings.objective, settings.model["family"], model, told)


def _unpadded_count(settings: Settings, form: BatchForm | LabelledForm) -> int:
    model = {**settings.model, "vocab_multiple": 1}
    plain = dataclasses.replace(settings, model=model)
    shapes = boxed_parameters(objective_of(plain, form.named), form.spec)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
