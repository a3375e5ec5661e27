"""Run by test_narrow_on_tpu.py in a process of its own: what a TPU program moves between chips.

Takes a mesh of eight chips as numbers: data, fsdp, tensor. Compiles BERT's train step ahead of
time, with the parameters in float32 and with a copy in bfloat16, and prints as JSON, for each and
for each kind of collective, the bytes of its results by dtype: once an instruction, whatever loop
it stands in.
"""

import os

# libtpu holds a lock, as for a real TPU, and would fail in the second of two processes.
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"

import functools
import json
import math
import re
import sys
from collections import Counter

import jax
from jax.experimental import topologies

from plmjax.models.bert import Config
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import batch_sharding, layer_axes, matrix_axes, on_mesh
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.precision import bfloat16_matrices
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
    dtype="bfloat16",
)
SIZES = {"bf16": 2, "f32": 4}
KINDS = ("all-gather", "all-reduce", "reduce-scatter")


def program(mesh: jax.sharding.Mesh, narrow: bool, accumulate: int) -> str:
    """The compiled train step as text."""
    spec = spec_of("bert", CONFIG, 32, 128, 16)
    objective = objective_of("bert", CONFIG)
    boxed = boxed_parameters(objective, spec)
    optimizer = build(OptimizerConfig("adamw"), 100, layer_axes(boxed))
    state = jax.eval_shape(lambda: fresh_state(objective, spec, optimizer, seed=0))
    shardings = state_shardings(state, boxed, optimizer, mesh)
    axes = {"matrix_axes": matrix_axes(boxed), "shardings": shardings.params}
    options = {"narrowed": functools.partial(bfloat16_matrices, **axes)} if narrow else {}
    step = train_step(objective, optimizer, seed=0, accumulate=accumulate, log_every=100, **options)
    batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}
    with on_mesh(mesh):
        jitted = jit_train_step(step, shardings, batch_sharding(mesh))
        return jitted.lower(state, batch).compile().as_text()


def moved(text: str) -> dict[str, dict[str, int]]:
    """Bytes of what collectives of a program return, by kind and dtype."""
    found = {kind: Counter() for kind in KINDS}
    pattern = rf"= (.*?) ({'|'.join(KINDS)})(-start)?\("
    for result, kind, _ in re.findall(pattern, text):
        for dtype, shape in re.findall(r"(bf16|f32)\[([\d,]*)\]", result):
            found[kind][dtype] += SIZES[dtype] * math.prod(map(int, filter(None, shape.split(","))))
    return found


def main(*sizes: str):
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
    mesh = make_mesh(MeshConfig(*map(int, sizes)), list(devices))
    report = {
        name: moved(program(mesh, name == "bfloat16", accumulate=2))
        for name in ("float32", "bfloat16")
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
