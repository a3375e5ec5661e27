"""Run by test_ahead_of_time.py in a process of its own: compiles for TPUs that are not there.

Takes a topology, a family, a preset, rows and tokens of a batch, a remat policy and the mesh's
sizes; prints what the compiler says of the train step as JSON.
"""

import os

# libtpu holds a lock, as for a real TPU, and would fail in the second of two processes.
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"

import dataclasses
import json
import sys
import time

import jax
from jax.experimental import topologies

from plmjax.families import FAMILIES
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import batch_sharding, layer_axes, on_mesh
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import jit_train_step, train_step
from tests.training import objective_of, spec_of

PREDICTIONS = {128: 20, 512: 77}


def compile_train_step(
    family: str, preset: str, rows: int, length: int, remat: str, mesh: jax.sharding.Mesh
) -> dict:
    """Lowers and compiles the whole update for `mesh`; sizes are bytes a device."""
    preset = FAMILIES[family].presets[preset]
    config = dataclasses.replace(preset, dtype="bfloat16", remat=remat)
    spec = spec_of(family, config, rows, length, PREDICTIONS.get(length, length // 6))
    objective = objective_of(family, config)
    boxed = boxed_parameters(objective, spec)
    settings = OptimizerConfig(name="adamw_google", learning_rate=1e-4, schedule="bert")
    optimizer = build(settings, 1_000_000, layer_axes(boxed))
    state = jax.eval_shape(lambda: fresh_state(objective, spec, optimizer, seed=0))
    shardings = state_shardings(state, boxed, optimizer, mesh)
    step = train_step(objective, optimizer, seed=0, accumulate=1, log_every=100)
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}
    began = time.monotonic()
    with on_mesh(mesh):
        jitted = jit_train_step(step, shardings, batch_sharding(mesh))
        compiled = jitted.lower(state, batch).compile()
    memory = compiled.memory_analysis()
    return {
        "seconds": time.monotonic() - began,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "state": memory.argument_size_in_bytes,
        "donated": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
    }


def main(topology: str, *arguments: str):
    family, preset, rows, length, remat, *sizes = arguments
    # One device a chip: without `megacore` a v4 chip counts as two of 16 GiB.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4") else {}
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    devices = list(found.devices)
    if topology == "v4:4x4x4":
        for other in ((64, 1, 1), (1, 64, 1), (8, 8, 1), (2, 8, 4), (1, 32, 2)):
            mesh = make_mesh(MeshConfig(*other), devices)  # none may be refused by the torus
            assert tuple(mesh.shape[axis] for axis in ("data", "fsdp", "tensor")) == other
            assert len(set(mesh.devices.flat)) == 64
    mesh = make_mesh(MeshConfig(*map(int, sizes)), devices)
    print(json.dumps(compile_train_step(family, preset, int(rows), int(length), remat, mesh)))


if __name__ == "__main__":
    main(*sys.argv[1:])
