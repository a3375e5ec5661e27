"""Run by test_decoders_on_eight.py in a process of its own, on eight fake devices.

Takes cases such as "gpt / tensor 8". Prints one JSON object: for each case the texts that one
device and the mesh make, greedily, by draws and by a beam search, and the shapes of what each
device holds of the cache and of the parameters.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import json
import sys
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from plmjax.decoding import steps
from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.families import FAMILIES
from plmjax.nn.efficient.kinds import Full
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import RULES, on_mesh, parameter_shardings
from plmjax.train.state import boxed_parameters
from tests.compare import leaves
from tests.training import objective_of, spec_of

MESHES = {
    "tensor 8": MeshConfig(data=1, tensor=8),
    "fsdp 4, tensor 2": MeshConfig(data=1, fsdp=4, tensor=2),
    "data 8": MeshConfig(),
    "data 2, tensor 2, sequence 2": MeshConfig(data=2, tensor=2, sequence=2),
}
_SMALL = {"vocab_size": 200, "num_layers": 2, "hidden_size": 32, "num_heads": 8, "mlp_size": 64}
CONFIGS = {
    "gpt": replace(
        FAMILIES["gpt"].presets["gpt3-125m"],
        max_positions=48,
        initializer_range=0.5,
        **(_SMALL | {"num_layers": 3, "query_layer": "after_norm"}),
        attention=Full(reach=5),
    ),
    "t5": replace(FAMILIES["t5"].presets["v1.1-base"], **(_SMALL | {"head_size": 6})),
}
SETTINGS = {
    "greedy": DecodingConfig(max_new_tokens=10, repetition_penalty=1.2, no_repeat_ngram=2),
    "drawn": DecodingConfig(max_new_tokens=10, sample=True, top_p=0.9, samples=2, seed=4),
    "beams": DecodingConfig(max_new_tokens=10, beams=3, n_best=2, length_penalty=0.6),
}
ROWS, LENGTH = 8, 16


def texts(generator: Generator) -> dict[str, list]:
    random = np.random.default_rng(0)
    prompts = [random.integers(9, 200, length).tolist() for length in (3, 12, 7)]
    found = {}
    for name, config in SETTINGS.items():
        made = generator.generate(prompts, config)
        found[name] = [[list(text.tokens) for text in some] for some in made]
    return found


def shards(tree) -> dict[str, list[int]]:
    return {
        path: list(leaf.sharding.shard_shape(leaf.shape)) for path, leaf in leaves(tree).items()
    }


def kept(generator: Generator):
    """The cache of a call, where the mesh has it."""
    model, given = generator.model, steps.Given(jnp.ones((ROWS, LENGTH), jnp.int32))
    tokens, source = jnp.ones((ROWS, 4), jnp.int32), None
    if generator.is_seq2seq:
        source = jnp.ones((ROWS, 6), jnp.int32)
        given = given.replace(source_mask_BS=source)
    with on_mesh(generator.mesh, RULES):
        return jax.jit(partial(steps.of_prompt, model))(generator.params, tokens, given, source)[1]


def report(case: str) -> dict:
    family, name = case.split(" / ")
    objective = objective_of(family, CONFIGS[family])
    boxed = boxed_parameters(objective, spec_of(family, CONFIGS[family], 2, 8, 4))
    begin = 0 if family == "t5" else None
    random = np.random.default_rng(1)

    def weight(leaf):
        return (random.normal(size=leaf.shape) * (0.6 if leaf.ndim > 1 else 0.1)).astype(np.float32)

    params = jax.tree.map(weight, nn.meta.unbox(boxed))
    mesh = make_mesh(MESHES[name])
    placed = jax.device_put(params, parameter_shardings(boxed, mesh, RULES))
    alone = Generator(objective, params, begin=begin, end=5, unroll=False)
    together = Generator(objective, placed, begin=begin, end=5, mesh=mesh, rules=RULES)
    return {
        "alone": texts(alone),
        "together": texts(together),
        "cache": shards(kept(together)),
        "params": shards(together.params),
    }


if __name__ == "__main__":
    print(json.dumps({case: report(case) for case in sys.argv[1:]}))
