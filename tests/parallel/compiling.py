"""The train step of any family, compiled for a mesh and not run."""

import time
from typing import Any

import jax

from plmjax.parallel.rules import RULES, batch_sharding, layer_axes, on_mesh
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import jit_train_step, train_step
from tests.training import objective_of, spec_of


def compiled_train_step(
    family: str,
    config: Any,
    rows: int,
    length: int,
    targets: int,
    mesh: jax.sharding.Mesh,
    rules: tuple = RULES,
) -> tuple[jax.stages.Compiled, dict[str, Any]]:
    """The compiled update, and what is known of it: seconds, parameters, and bytes a device."""
    spec = spec_of(family, config, rows, length, targets)
    objective = objective_of(family, config)
    boxed = boxed_parameters(objective, spec)
    settings = OptimizerConfig(name="adamw_google", learning_rate=1e-4, schedule="bert")
    optimizer = build(settings, 1_000_000, layer_axes(boxed))
    state = jax.eval_shape(lambda: fresh_state(objective, spec, optimizer, seed=0))
    shardings = state_shardings(state, boxed, optimizer, mesh, rules)
    step = train_step(objective, optimizer, seed=0, accumulate=1, log_every=100)
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}
    began = time.monotonic()
    with on_mesh(mesh, rules):
        jitted = jit_train_step(step, shardings, batch_sharding(mesh, rules))
        compiled = jitted.lower(state, batch).compile()
    memory = compiled.memory_analysis()
    return compiled, {
        "seconds": time.monotonic() - began,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "state": memory.argument_size_in_bytes,
        "donated": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
    }
