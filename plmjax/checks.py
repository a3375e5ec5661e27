"""Whether the parts of a config fit one another, the model and the mesh."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh

from plmjax.data.batch_form import BatchForm, masking_config, plan_config
from plmjax.data.plans import FRAMES
from plmjax.data.preparation import PreparedCorpus
from plmjax.errors import UserError
from plmjax.families import FAMILIES
from plmjax.nn.stack import check_stages
from plmjax.objectives.span_boundary import SpanBoundary
from plmjax.parallel.layout import check_batch
from plmjax.parallel.pipeline import microbatch_count, row_shards, stage_count
from plmjax.parallel.rules import HEADS, LENGTH, on_mesh, shards
from plmjax.phases import PhasePlan
from plmjax.settings import choose
from plmjax.types import OVERFLOW, Batch, Loss, Spec

if TYPE_CHECKING:  # It builds with these checks.
    from plmjax.experiment import Settings


def check_phase(
    settings: "Settings", phase: PhasePlan, model: Any, mesh: Mesh | AbstractMesh
) -> None:
    """Raises a UserError if a phase's batches do not fit the model or the mesh."""
    where = phase.where
    if phase.data.seq_len > model.longest:
        raise UserError(
            f"{where}.seq_len={phase.data.seq_len} is longer than the model can take: with"
            f" config.model.max_positions={model.max_positions} that is {model.longest} tokens"
        )
    model.attention.check(phase.data.seq_len)
    rows, accumulate = phase.data.batch_size, settings.train.accumulate
    check_batch(rows, accumulate, phase.data.seq_len, where, mesh, settings.sharding.rules)
    _check_pipeline(settings, rows // accumulate, model, mesh)


def _check_pipeline(settings: "Settings", rows: int, model: Any, mesh: Mesh) -> None:
    """Raises a UserError if layers or `rows` cannot be cut as the mesh's pipeline wants them."""
    rules = settings.sharding.rules
    stages = stage_count(mesh.shape, rules)
    if stages > 1:
        if settings.train.parameters != "float32":
            raise UserError(
                f"config.train.parameters='{settings.train.parameters}' with config.mesh.pipeline="
                f"{stages} would add gradients of microbatches in bfloat16; set it to float32"
            )
        for layers in model.stacks:
            check_stages(layers, model.scan, model.groups, stages)
        shards = row_shards(mesh.shape, rules)
        microbatch_count(rows, shards, stages, settings.mesh.microbatches)


def check_unread(settings: "Settings") -> None:
    """Raises a UserError where a labelled task is given settings of text that it does not read."""
    family = choose(settings.model.get("family"), FAMILIES, "config.model.family")
    usual = {"plan": plan_config(family.plan), "masking": masking_config(family.masking)}
    usual |= {"sources": "", "tasks": {}, "alpha": 1.0, "languages": ""}
    for key, value in usual.items():
        if getattr(settings.data, key) != value:
            raise UserError(
                f"config.data.{key} is of text, and config.task.name="
                f"'{settings.task['name']}' reads labelled examples; leave it as it is"
            )


def check_written(settings: "Settings", spec: Spec, model: Any) -> None:
    """Raises a UserError where the targets of a labelled task are longer than the model writes."""
    if "decoder_tokens" in spec and spec["decoder_tokens"][0][1] >= model.longest:
        raise UserError(
            f"config.task.target_len={settings.task['target_len']} is longer than the model writes:"
            f" with config.model.max_positions={model.max_positions} give at most"
            f" {model.longest - 1}"
        )


def check_form(phase: PhasePlan, form: BatchForm, first: BatchForm, model: Any) -> None:
    """Raises a UserError if a phase's examples do not fit the model, or the first phase's."""
    if isinstance(form.labels, tuple) and isinstance(first.labels, tuple):
        if form.labels != first.labels:
            raise UserError(
                f"{phase.where}.plan.tasks={phase.data.plan['tasks']} has other tasks than the"
                " first phase, and each has a head; name all of them in every phase, in the same"
                " order, with weight 0 for what has not joined"
            )
    elif (form.task, form.labels) != (first.task, first.labels):
        raise UserError(
            f"{phase.where}.plan.name={phase.data.plan['name']} has"
            f" {form.task or 'no'} labels and the first phase {first.task or 'none'}; the model's"
            " heads would have to change, so give all phases plans with the same labels"
        )
    highest = form.layout.highest_special
    if FRAMES[phase.data.frame].added and highest >= model.vocab_size:
        raise UserError(
            f"{phase.where}.frame={phase.data.frame} adds tokens, up to number {highest}, and"
            f" config.model.vocab_size={model.vocab_size}; give {highest + 1}, or 0"
        )
    if form.labels and not model.pooler:
        raise UserError(
            f"{phase.where}.plan.name={phase.data.plan['name']} has labels of pairs, which are"
            " predicted from a pooler, and config.model has none; choose another plan"
        )
    rows = getattr(model, "task_types", 0)
    if isinstance(form.labels, tuple) and len(form.labels) > rows > 0:
        raise UserError(
            f"{phase.where}.plan.tasks={phase.data.plan['tasks']} are {len(form.labels)} and"
            f" config.model.task_types={rows}; give the model as many, or 0 for no embedding"
        )
    told = len(phase.data.language_names)
    if "languages" in form.spec and told > model.languages > 0:
        raise UserError(
            f"{phase.where}.languages={phase.data.languages} are {told} and"
            f" config.model.languages={model.languages}; give the model as many"
        )
    if form.layout.token_types > model.token_types > 1:
        raise UserError(
            f"{phase.where}.frame={phase.data.frame} has {form.layout.token_types} token types with"
            f" plan {phase.data.plan['name']}, and config.model.token_types={model.token_types};"
            " choose another frame or more types"
        )


def check_batch_keys(
    objective: nn.Module, name: str, spec: Mapping[str, Any], phase: PhasePlan
) -> None:
    """Raises a UserError if a phase's batches lack what the objective reads, or have more."""
    needed, taken = objective.batch_keys(), (*objective.optional_keys, OVERFLOW)
    made = f"{phase.where} (plan {phase.data.plan['name']}, masking {phase.data.masking['name']})"
    if missing := [key for key in needed if key not in spec]:
        raise UserError(
            f"config.objective needs {', '.join(missing)} in the batch; {made} makes"
            f" {', '.join(spec)}"
        )
    if unread := [key for key in spec if key not in needed and key not in taken]:
        raise UserError(
            f"{made} makes {', '.join(unread)}, which config.objective.name='{name}' does not"
            " read; choose another plan or masking"
        )
    _check_places(objective, phase)


def _check_places(objective: nn.Module, phase: PhasePlan) -> None:
    """Raises a UserError if a masking has targets further inside a span than there are places."""
    asked = phase.data.masking.get("max_span_targets", 0)
    if isinstance(objective, SpanBoundary) and asked > objective.max_span_targets:
        raise UserError(
            f"{phase.where}.masking.max_span_targets={asked} is above config.objective"
            f".max_span_targets={objective.max_span_targets}, the places in a span that the head"
            " knows; give both the same number"
        )


def check_memory(
    objective: nn.Module, phases: Sequence[PhasePlan], corpus: PreparedCorpus | None
) -> None:
    """Raises a UserError if a memory would not be of the text before: rows have to go on.

    Args:
      objective: with its `backbone`.
      phases: of the run.
      corpus: what is read, if it is prepared.
    """
    if not getattr(objective, "memory", False):
        return
    model, first = objective.backbone.config, phases[0]
    on = "config.objective.memory=True"
    if not model.mem_len:
        raise UserError(f"{on} with config.model.mem_len=0 remembers nothing; give places")
    for phase in phases:
        data, plan, where = phase.data, phase.data.plan_settings, phase.where
        if data.tasks:
            raise UserError(
                f"{on} needs rows that go on from batch to batch, and those of {where}.tasks take"
                " turns; leave them out"
            )
        if not hasattr(plan, "contiguous"):
            raise UserError(
                f"{on} needs rows that go on from batch to batch, and {where}.plan.name="
                f"'{data.plan['name']}' has none; set it to 'streams'"
            )
        if data.batch_size != first.data.batch_size or phase.growing is not None:
            raise UserError(
                f"{on} needs the same rows in every batch, and {where} changes how many there are;"
                " leave the change out"
            )
        if FRAMES[data.frame].begin:
            raise UserError(
                f"{on} remembers the beginning of a row, which {where}.frame='{data.frame}' begins"
                " with a token that is no text; set it to 'xlnet'"
            )
        sources = data.pick(corpus.train) if corpus else ()
        if len(sources) > 1:
            raise UserError(
                f"{on} reads one source, and {where}.sources mixes {', '.join(sources)}; name one"
                " of them there, or prepare them as one"
            )
        reused = plan.reused(data.seq_len)
        if (model.reuse_len or data.seq_len) != reused:
            raise UserError(
                f"{where}.plan goes on by {reused} tokens with each batch, and config.model"
                f".reuse_len={model.reuse_len} remembers another number; give both the same"
            )
        if data.masking.get("reuse_len") != reused:
            raise UserError(
                f"{where}.masking.reuse_len={data.masking.get('reuse_len')}, but what is remembered"
                f" may not see what is read again: give the {reused} tokens of {where}.plan"
            )


def decoder_lengths(where: str, spec: Spec) -> dict[str, int]:
    """How long the rows of a decoder are, if it has a length of its own, by a name for `where`."""
    if "decoder_tokens" not in spec:
        return {}
    return {f"{where}: the length of decoder_tokens": spec["decoder_tokens"][0][1]}


def check_split(model: Any, mesh: Mesh, rules: tuple, lengths: Mapping[str, int]) -> None:
    """Raises a UserError if the mesh cannot split rows, or heads in their place.

    Args:
      model: the family's Config.
      mesh, rules: what splits what.
      lengths: places of rows, by what the user set them with.
    """
    parts, head_parts = shards(LENGTH, mesh, rules), shards(HEADS, mesh, rules)
    for name, length in lengths.items():
        if length % parts:
            raise UserError(
                f"{name}={length} is not divisible by config.mesh.sequence={parts}, which splits"
                " rows; change one of them"
            )
    if parts == 1 or model.sequence_attention != "all_to_all":
        return
    heads = {"num_heads": model.num_heads}
    if hasattr(model, "decoder_heads"):
        heads["num_decoder_heads"] = model.decoder_heads
    for name, count in heads.items():
        if count % (parts * head_parts):
            raise UserError(
                f"config.model.{name}={count} is not divisible by config.mesh.sequence={parts}"
                f" times config.mesh.tensor={head_parts}, into which sequence_attention="
                "'all_to_all' splits heads; choose config.model.sequence_attention='ring', which"
                " needs no more heads, or 'gather'"
            )


def check_computable(
    objective: nn.Module, boxed: Any, spec: Spec, mesh: Mesh, rules: tuple, accumulate: int
) -> None:
    """Raises a UserError if what the config names cannot compute the attention of a train step.

    Only tracing tells all that a call asks for. By `auto` and XLA everything can be computed, and
    nothing is traced.

    Args:
      objective: with its `backbone`.
      boxed: shapes of its parameters, with the names of their axes.
      spec: of its batches.
      mesh, rules: what splits what.
      accumulate: microbatches of a batch.
    """
    model = objective.backbone.config
    is_ring = model.sequence_attention == "ring" and shards(LENGTH, mesh, rules) > 1
    if model.attention_implementation in ("auto", "xla") and not is_ring:
        return
    rows = spec["tokens"][0][0] // accumulate
    batch = {
        key: jax.ShapeDtypeStruct((rows, *shape[1:]), dtype)
        for key, (shape, dtype) in spec.items()
        if key != OVERFLOW
    }

    def forward(params: Any, batch: Batch) -> Loss:
        rngs = {"dropout": jax.random.key(0)}
        return objective.apply({"params": params}, batch, train=jnp.arange(rows), rngs=rngs)

    with on_mesh(mesh, rules):
        jax.eval_shape(forward, nn.meta.unbox(boxed), batch)
