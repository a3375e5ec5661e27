"""Run by test_compiled.py in a process of its own: compiles train steps for eight fake devices.

Takes one JSON object: by name what the small model, the mesh and the rules have beside the
defaults, rows, tokens and targets. Prints one: by the same names bytes a device and collectives.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import dataclasses
import json
import sys
from typing import Any

import jax

from plmjax.families import FAMILIES
from plmjax.parallel.collectives import collectives
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import ShardingConfig
from tests.parallel.compiling import compiled_train_step


def found(
    model: dict[str, Any],
    mesh: dict[str, int],
    sharding: dict[str, str] | None = None,
    rows: int = 8,
    length: int = 64,
    targets: int = 10,
    one_device: bool = False,
) -> dict[str, Any]:
    fields = dict(model)
    family, preset = fields.pop("family"), fields.pop("preset")
    config = dataclasses.replace(FAMILIES[family].presets[preset], **fields)
    devices = jax.devices()[:1] if one_device else jax.devices()
    on = make_mesh(MeshConfig(**mesh), devices)
    rules = ShardingConfig(**(sharding or {})).rules
    compiled, sizes = compiled_train_step(family, config, rows, length, targets, on, rules)
    return sizes | {"collectives": [dataclasses.asdict(x) for x in collectives(compiled.as_text())]}


if __name__ == "__main__":
    print(json.dumps({name: found(**case) for name, case in json.loads(sys.argv[1]).items()}))
