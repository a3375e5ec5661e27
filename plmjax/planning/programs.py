"""The programs of a run, lowered for a mesh whose devices need not be there."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from plmjax.experiment import Experiment
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from plmjax.parallel.rules import BATCH, HEAD_WIDTH, HEADS, LAYERS, LENGTH, batch_sharding, on_mesh
from plmjax.phases import batch_form
from plmjax.planning.stand_in import stand_in
from plmjax.types import Spec

TRAIN, EVALUATION, DECODE = "train", "evaluation", "decode"


@dataclasses.dataclass(frozen=True)
class Program:
    """One of a run's programs.

    kind: TRAIN, EVALUATION or DECODE. phase: index of the phase whose batches it takes.
    rows, length: of DECODE, how many texts, and how many places the cache has for each.
    """

    kind: str
    phase: int
    rows: int = 0
    length: int = 0


def phase_spec(plan: Experiment, phase: int) -> Spec:
    """Shape and dtype of each array of a batch of a phase."""
    corpus = plan.settings.corpus
    return batch_form(plan.phases[phase], corpus, tokenizer=stand_in(corpus)).spec


def can_decode(objective: nn.Module) -> bool:
    """Whether the model makes texts, token by token."""
    return isinstance(objective, CausalLM | Seq2SeqLM)


def lowered(plan: Experiment, program: Program) -> jax.stages.Lowered:
    """The program for the mesh of `plan`, to be compiled.

    Raises:
      UserError: from a model that cannot do it, such as attention that keeps no cache.
    """
    if program.kind == DECODE:
        return _decode_step(plan, program)
    spec = phase_spec(plan, program.phase)
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}
    if program.kind == TRAIN:
        return plan.compiled_train_step().lower(plan.abstract_state, batch)
    return plan.compiled_evaluation_step().lower(plan.abstract_state.params, batch)


def _decode_step(plan: Experiment, program: Program) -> jax.stages.Lowered:
    """One more token for each of `rows` texts, with the keys and values of `length` places kept."""
    objective, rows, length = plan.objective, program.rows, program.length
    params, dtype = plan.abstract_state.params, plan.objective.backbone.config.dtype
    is_seq2seq = isinstance(objective, Seq2SeqLM)
    source_length = phase_spec(plan, program.phase)["tokens"][0][1] if is_seq2seq else 0
    source_shape = (rows, source_length, objective.backbone.config.hidden_size)

    def step(params: Any, cache: Any, tokens_B: Any, mask_BM: Any, start: Any, source_BSD: Any):
        given = (tokens_B[:, None], mask_BM, start, source_BSD, source_length)
        method = _next_of_target if is_seq2seq else _next_of_text
        (logits_BV), kept = objective.apply(
            {"params": params, **cache}, *given, method=method, mutable=["cache"]
        )
        return logits_BV.argmax(-1), kept

    tokens_B = jax.ShapeDtypeStruct((rows,), jnp.int32)
    mask_BM = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    start = jax.ShapeDtypeStruct((), jnp.int32)
    source_BSD = jax.ShapeDtypeStruct(source_shape, dtype)
    # The first call, which has the source, makes the cache.
    _, cache = jax.eval_shape(step, params, {}, tokens_B, mask_BM, start, source_BSD)

    rules, mesh = plan.settings.sharding.rules, plan.mesh
    of_rows = batch_sharding(mesh, rules)
    everywhere = plan.shardings.step

    def of_cache(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes = (BATCH, LENGTH, HEADS, HEAD_WIDTH)[: leaf.ndim]
        if leaf.shape[0] != rows:  # layers are stacked
            axes = (LAYERS, *axes)[: leaf.ndim]
        return NamedSharding(mesh, nn.logical_to_mesh_axes(axes, rules))

    cache_shardings = jax.tree.map(of_cache, cache)

    def next_tokens(params: Any, cache: Any, tokens_B: Any, mask_BM: Any, start: Any):
        return step(params, cache, tokens_B, mask_BM, start, None)

    jitted = jax.jit(
        next_tokens,
        in_shardings=(plan.shardings.params, cache_shardings, of_rows, of_rows, everywhere),
        out_shardings=(of_rows, cache_shardings),
        donate_argnums=1,
    )
    with on_mesh(mesh, rules):
        return jitted.lower(params, cache, tokens_B, mask_BM, start)


def _next_of_text(
    objective: CausalLM,
    tokens_B1: jax.Array,
    mask_BM: jax.Array,
    start: jax.Array,
    source_BSD: None,
    source_length: int,
) -> jax.Array:
    backbone = objective.backbone
    hidden_B1D = backbone(tokens_B1, mask_BM, train=False, start=start).hidden_BLD
    return backbone.logits(hidden_B1D)[:, 0]


def _next_of_target(
    objective: Seq2SeqLM,
    tokens_B1: jax.Array,
    mask_BM: jax.Array,
    start: jax.Array,
    source_BSD: jax.Array | None,
    source_length: int,
) -> jax.Array:
    backbone = objective.backbone
    source_mask_BS = jnp.ones((len(tokens_B1), source_length), jnp.int32)
    hidden_B1D, _ = backbone.decode(
        tokens_B1, mask_BM, source_BSD, source_mask_BS, train=False, start=start
    )
    return backbone.logits(hidden_B1D)[:, 0]
