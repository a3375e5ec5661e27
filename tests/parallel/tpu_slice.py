"""Run by test_ahead_of_time.py in a process of its own: compiles for TPUs that are not there.

Takes a topology, a family, a preset, rows and tokens of a batch, a remat policy, what splits the
residual by length, and the mesh's sizes; prints what the compiler says of the train step as JSON.
"""

import os

# libtpu holds a lock, as for a real TPU, and would fail in the second of two processes.
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"

import dataclasses
import json
import sys

from jax.experimental import topologies

from plmjax.families import FAMILIES
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import ShardingConfig
from tests.parallel.compiling import compiled_train_step

PREDICTIONS = {128: 20, 512: 77}


def main(topology: str, *arguments: str):
    family, preset, rows, length, remat, residual, *sizes = arguments
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
    preset = FAMILIES[family].presets[preset]
    config = dataclasses.replace(preset, dtype="bfloat16", remat=remat)
    rows, length = int(rows), int(length)
    targets = PREDICTIONS.get(length, length // 6)
    rules = ShardingConfig(residual_length=residual).rules
    print(json.dumps(compiled_train_step(family, config, rows, length, targets, mesh, rules)[1]))


if __name__ == "__main__":
    main(*sys.argv[1:])
