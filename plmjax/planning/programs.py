"""The programs of a run, lowered for a mesh whose devices need not be there."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.decoding import loop, steps
from plmjax.decoding.settings import DecodingConfig
from plmjax.experiment import Experiment
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from plmjax.parallel.rules import batch_sharding, on_mesh
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
    state = plan.abstract_state
    return plan.compiled_evaluation_step().lower(state.params, batch, state.carried)


def _decode_step(plan: Experiment, program: Program) -> jax.stages.Lowered:
    """One more token for each of `rows` texts, with the keys and values of `length` places kept.

    The best one: the step of `plmjax.generate`, with nothing on that it does not need.
    """
    model, rows = steps.alone(plan.objective, remat="none"), program.rows
    params, shardings = (
        tree["backbone"] for tree in (plan.abstract_state.params, plan.shardings.params)
    )
    switches, values = loop.Switches.of(DecodingConfig(), ends=()), loop.Values.of(DecodingConfig())
    mesh, rules = plan.mesh, plan.settings.sharding.rules

    def of(shape: tuple[int, ...], dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    source_BS = source_mask_BS = None
    if steps.is_seq2seq(model):
        source_BS = source_mask_BS = of((rows, phase_spec(plan, program.phase)["tokens"][0][1]))
    given = steps.Given(of((rows, program.length)), source_mask_BS)
    numbers, used = of((rows, 2), jnp.uint32), of((rows,), jnp.bool)
    inputs = of((rows, 1)), given, source_BS, numbers, used, values

    def begun(params: Any, *inputs: Any) -> tuple[loop.Texts, steps.Given]:
        new = program.length - 1
        return loop.begun(model, params, *inputs, copies=1, switches=switches, new=new)

    def next_tokens(params: Any, texts: loop.Texts, given: steps.Given) -> loop.Texts:
        return loop.stepped(model, params, texts, given, switches, values)

    with on_mesh(mesh, rules):
        texts, given = jax.eval_shape(begun, params, *inputs)
        of_rows = batch_sharding(mesh, rules)
        of_texts = jax.tree.map(lambda leaf: of_rows if leaf.ndim else plan.shardings.step, texts)
        of_texts = of_texts.replace(cache=steps.cache_shardings(texts.cache, mesh, rules))
        jitted = jax.jit(
            next_tokens,
            in_shardings=(shardings, of_texts, jax.tree.map(lambda _: of_rows, given)),
            out_shardings=of_texts,
            donate_argnums=1,
        )
        return jitted.lower(params, texts, given)
