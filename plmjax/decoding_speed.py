"""How fast a config's model writes on this machine: what `plmjax.bench decode` measures."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.experiment import Settings, model_config
from plmjax.from_huggingface import run_objective
from plmjax.objectives.causal_lm import CausalLM
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from plmjax.parallel.mesh import make_mesh
from plmjax.parallel.rules import on_mesh, parameter_shardings
from plmjax.train.state import boxed_parameters, dummy_batch


def measure_decoding(
    settings: Settings, rows: Sequence[int], prompt_length: int, new: int, repeats: int
) -> dict[str, Any]:
    """Times a model with fresh parameters that goes on with random prompts, the best token each.

    Args:
      settings: resolved; of them the model, the mesh and the seed.
      rows: texts at once, of each measurement.
      prompt_length: tokens of each prompt; of an encoder-decoder of each source.
      new: tokens that each gets.
      repeats: timed rounds, in each of which every measurement has its turn.

    Returns:
      Figures by name. `tokens_per_second` are new tokens over the whole time, prompts included;
      `tokens_per_second_after_prompt` are those after the first.

    Raises:
      UserError: for a model that does not write, or prompts that do not fit it.
    """
    model, generator = model_config(settings), fresh_generator(settings, max(rows))
    random = np.random.default_rng(0)
    prompts = random.integers(model.vocab_size, size=(max(rows), prompt_length)).tolist()
    times: dict[tuple[int, int], list[float]] = {}
    for _ in range(1 + repeats):
        for count in rows:
            # Alone, the first token is what reading the prompt takes.
            for length in (1, new):
                begin = time.perf_counter()
                config = DecodingConfig(max_new_tokens=length)
                generator.generate(prompts[:count], config)
                times.setdefault((count, length), []).append(time.perf_counter() - begin)
    medians = {key: statistics.median(some[1:]) for key, some in times.items()}
    return {
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "model": settings.model["family"],
        "dtype": model.dtype,
        "prompt_length": prompt_length,
        "new_tokens": new,
        "rows": {
            str(count): {
                "first_seconds": times[count, 1][0] + times[count, new][0],
                "prompt_seconds": medians[count, 1],
                "seconds": medians[count, new],
                "tokens_per_second": count * new / medians[count, new],
                "tokens_per_second_after_prompt": count
                * (new - 1)
                / max(medians[count, new] - medians[count, 1], 1e-9),
            }
            for count in rows
        },
    }


def decoding_lines(figures: dict[str, Any]) -> dict[str, str]:
    """The figures for a person."""
    lines = {
        "device": figures["device"],
        "model": f"{figures['model']}, {figures['dtype']}",
        "each text": f"{figures['prompt_length']} tokens of prompt, {figures['new_tokens']} new",
    }
    for rows, of in figures["rows"].items():
        lines[f"batch {rows}"] = (
            f"{of['tokens_per_second']:,.1f} new tokens/s;"
            f" {of['tokens_per_second_after_prompt']:,.1f} after the prompt, which takes"
            f" {of['prompt_seconds']:.3f} s; {of['first_seconds']:.1f} s the first time"
        )
    return lines


def fresh_generator(settings: Settings, most_rows: int) -> Generator:
    """A model with fresh parameters that goes on with so many texts at once; none ends early."""
    objective, spec = run_objective(settings)
    if not isinstance(objective, CausalLM | Seq2SeqLM):
        raise UserError(
            f"config.model.family='{settings.model['family']}' does not write texts; name a config"
            " of gpt, t5 or bart"
        )
    mesh, rules = make_mesh(settings.mesh), settings.sharding.rules
    shardings = parameter_shardings(boxed_parameters(objective, spec), mesh, rules)

    def fresh() -> Any:
        key = jax.random.key(settings.seed)
        return nn.meta.unbox(objective.init(key, dummy_batch(spec), train=False)["params"])

    with on_mesh(mesh, rules):
        params = jax.jit(fresh, out_shardings=shardings)()
    begin = 0 if isinstance(objective, Seq2SeqLM) else None
    return Generator(objective, params, begin=begin, mesh=mesh, rules=rules, most_rows=most_rows)
