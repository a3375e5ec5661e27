"""Run by test_scoring_on_devices.py in a process of its own, on eight fake devices.

Prints one JSON object: for each case of a family and a mesh, how far its log-probabilities are from
one device's.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import dataclasses
import functools
import json
import sys

import flax.linen as nn
import jax
import numpy as np

from plmjax.decoding.scoring import Scorer
from plmjax.families import FAMILIES
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import RULES, parameter_shardings
from tests.training import batch_of, objective_of

MESHES = {
    "data 2, tensor 2, sequence 2": MeshConfig(data=2, tensor=2, sequence=2),
    "fsdp 4, tensor 2": MeshConfig(data=1, fsdp=4, tensor=2),
    "fsdp 8": MeshConfig(data=1, fsdp=8),
}
PRESETS = {"gpt": "gpt2-small", "t5": "small", "bert": "base"}
SMALL = {"vocab_size": 200, "num_layers": 2, "hidden_size": 32, "num_heads": 8, "mlp_size": 64}
SMALL |= {"initializer_range": 0.2}


def texts() -> list[tuple[list[int], list[int]]]:
    random = np.random.default_rng(0)
    sizes = [(3, 1), (9, 4), (20, 9), (12, 2), (30, 1)]
    return [tuple(random.integers(5, 200, size).tolist() for size in pair) for pair in sizes]


def deviation(case: str) -> float:
    family, mesh = case.split(" / ")
    config = dataclasses.replace(FAMILIES[family].presets[PRESETS[family]], **SMALL)
    if family == "t5":
        config = dataclasses.replace(config, head_size=8)
    objective = objective_of(family, config)
    init = functools.partial(objective.init, train=False)
    boxed = jax.jit(init)(jax.random.key(0), batch_of(family, config, 2, 16, 3))["params"]
    host = jax.device_get(nn.meta.unbox(boxed))
    options = {"begin": (1,), "mask": 4, "rows": 3}
    alone = make_mesh(MeshConfig(), jax.devices()[:1])
    eight = make_mesh(MESHES[mesh])
    split = jax.device_put(host, parameter_shardings(boxed, eight, RULES))
    found = Scorer(objective, split, eight, **options).scores(texts())
    expected = Scorer(objective, host, alone, **options).scores(texts())
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(a.logprobs - b.logprobs).max()) for a, b in pairs)


if __name__ == "__main__":
    print(json.dumps({case: deviation(case) for case in sys.argv[1:]}))
