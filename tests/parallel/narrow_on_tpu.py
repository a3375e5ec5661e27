"""Run by test_narrow_on_tpu.py in a process of its own: what a TPU program moves between chips.

Takes a mesh of eight chips as numbers: data, fsdp, tensor. Compiles BERT's train step ahead of time
and prints as JSON, by the dtypes of model and parameters and by the kind of collective, what comes
out of it: dtypes and shapes of arrays, each as often as an instruction has it.
"""

import os

# libtpu holds a lock, as for a real TPU, and would fail in the second of two processes.
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"

import dataclasses
import functools
import json
import re
import sys
from collections import defaultdict

import jax
from jax.experimental import topologies

from plmjax.models.bert import Config
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import batch_sharding, layer_axes, on_mesh
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.precision import bfloat16_kernels
from plmjax.train.state import boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import jit_train_step, train_step
from tests.training import objective_of, spec_of

CONFIG = Config(
    vocab_size=2048,
    max_positions=128,
    num_layers=2,
    hidden_size=256,
    num_heads=8,
    mlp_size=1024,
)
PROGRAMS = (("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16"))
COLLECTIVE = re.compile(r"= (.*?) (all-gather|all-reduce|reduce-scatter)(?:-start)?\(")


def program(mesh: jax.sharding.Mesh, dtype: str, parameters: str) -> str:
    """The compiled train step as text."""
    config = dataclasses.replace(CONFIG, dtype=dtype)
    spec, objective = spec_of("bert", config, 32, 128, 16), objective_of("bert", config)
    boxed = boxed_parameters(objective, spec)
    optimizer = build(OptimizerConfig("adamw"), 100, layer_axes(boxed))
    state = jax.eval_shape(lambda: fresh_state(objective, spec, optimizer, seed=0))
    shardings = state_shardings(state, boxed, optimizer, mesh)
    options = {}
    if parameters == "bfloat16":
        options["narrowed"] = functools.partial(bfloat16_kernels, shardings=shardings.params)
    step = train_step(objective, optimizer, seed=0, accumulate=1, log_every=100, **options)
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}
    with on_mesh(mesh):
        jitted = jit_train_step(step, shardings, batch_sharding(mesh))
        return jitted.lower(state, batch).compile().as_text()


def moved(text: str) -> dict[str, list[str]]:
    """The results of a program's collectives, as `bf16[2048,256]`."""
    found = defaultdict(list)
    for results, kind in COLLECTIVE.findall(text):
        found[kind] += re.findall(r"(?:bf16|f32)\[[\d,]*\]", results)
    return found


def main(*sizes: str):
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
    mesh = make_mesh(MeshConfig(*map(int, sizes)), list(devices))
    report = {" ".join(dtypes): moved(program(mesh, *dtypes)) for dtypes in PROGRAMS}
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
