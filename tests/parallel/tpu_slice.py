"""Run by test_ahead_of_time.py in a process of its own: compiles for TPUs that are not there.

Takes a family, a preset, a sequence length and the mesh's sizes; prints what the compiler says of
the train step as JSON.
"""

import os

# libtpu holds a lock, as for a real TPU, and would fail in the second of two processes.
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"

import dataclasses
import json
import sys
import time

import jax
import numpy as np
from jax.experimental import topologies

from plmjax.experiment import FAMILIES
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import batch_sharding, layer_axes
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import jit_train_step, train_step

BATCH_SIZE = 256
PREDICTIONS = {128: 20, 512: 77}


def batch_spec(length: int, labels: int) -> dict:
    rows, predictions = (BATCH_SIZE, length), (BATCH_SIZE, PREDICTIONS[length])
    pairs = {"label": ((BATCH_SIZE,), np.int32), "label_weights": ((BATCH_SIZE,), np.float32)}
    return {
        "tokens": (rows, np.int32),
        "token_types": (rows, np.int32),
        "attention_mask": (rows, np.int32),
        "masked_positions": (predictions, np.int32),
        "masked_targets": (predictions, np.int32),
        "masked_weights": (predictions, np.float32),
        **(pairs if labels else {}),
    }


def compile_train_step(family: str, preset: str, mesh: jax.sharding.Mesh, length: int) -> dict:
    """Lowers and compiles the whole update for `mesh`; sizes are bytes a device."""
    _, presets, module = FAMILIES[family]
    config = dataclasses.replace(presets[preset], dtype="bfloat16")
    labels = 2 if config.pooler else 0
    objective, spec = BertPretraining(module(config), labels), batch_spec(length, labels)
    boxed = boxed_parameters(objective, spec)
    settings = OptimizerConfig(name="adamw_google", learning_rate=1e-4, schedule="bert")
    optimizer = build(settings, 1_000_000, layer_axes(boxed))
    state = jax.eval_shape(lambda: fresh_state(objective, spec, optimizer, seed=0))
    shardings = state_shardings(state, boxed, optimizer, mesh)
    step = train_step(objective, optimizer, seed=0, accumulate=1, log_every=100)
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}
    began = time.monotonic()
    with jax.set_mesh(mesh):
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


def main(family: str, preset: str, length: int, data: int, fsdp: int, tensor: int):
    # One device a chip: without `megacore` a v4 chip counts as two of 16 GiB.
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name="v4:4x4x4", chip_config_name="megacore"
    )
    devices = list(topology.devices)
    for sizes in ((64, 1, 1), (1, 64, 1), (8, 8, 1), (2, 8, 4), (1, 32, 2)):
        mesh = make_mesh(MeshConfig(*sizes), devices)  # none may be refused by the torus
        assert tuple(mesh.shape.values()) == sizes
        assert len(set(mesh.devices.flat)) == 64
    mesh = make_mesh(MeshConfig(data, fsdp, tensor), devices)
    print(json.dumps(compile_train_step(family, preset, mesh, length)))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
