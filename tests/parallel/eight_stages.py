"""Run by test_pipeline.py in a process of its own, on eight fake devices.

Prints as JSON how far what stages compute without training is from what one device does: every
layer's output, and decoding with a cache.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import json

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.families import FAMILIES
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import on_mesh
from tests.compare import deviation
from tests.parallel.eight_devices import CONFIGS
from tests.training import batch_of

INPUTS = {
    "albert": ("tokens", "token_types", "attention_mask"),
    "modernbert": ("tokens", "token_types", "attention_mask"),
    "gpt": ("tokens", "attention_mask"),
    "t5": ("tokens", "attention_mask", "decoder_tokens", "decoder_tokens"),
}


def all_hidden(family: str, sizes: MeshConfig, devices: int) -> list[jax.Array]:
    """What the model computes, all layers of it."""
    config = CONFIGS[family]
    module, batch = FAMILIES[family].module(config), batch_of(family, config, 16, 20, 5)
    inputs = [batch[name] for name in INPUTS[family]]
    with on_mesh(make_mesh(sizes, jax.devices()[:devices])):
        variables = nn.meta.unbox(module.init(jax.random.key(0), *inputs, train=False))
        found = jax.jit(lambda v: module.apply(v, *inputs, train=False, all_hidden=True))(variables)
    return jax.device_get(jax.tree.leaves(found))


def decoded(sizes: MeshConfig, devices: int) -> jax.Array:
    """GPT's states of ten places, one call for each."""
    config = CONFIGS["gpt"]
    module, batch = FAMILIES["gpt"].module(config), batch_of("gpt", config, 16, 10, 5)
    tokens_BL, mask_BL = batch["tokens"], jnp.ones((16, 10), jnp.int32)
    with on_mesh(make_mesh(sizes, jax.devices()[:devices])):
        variables = nn.meta.unbox(module.init(jax.random.key(0), tokens_BL, mask_BL, train=False))

        @jax.jit
        def call(variables, token_B1, start):
            given = {"train": False, "start": start, "mutable": ["cache"]}
            return module.apply(variables, token_B1, mask_BL, **given)

        hidden = []
        for start in range(10):
            out, kept = call(variables, tokens_BL[:, start : start + 1], jnp.asarray(start))
            variables = {**variables, **kept}
            hidden.append(out.hidden_BLD)
    return jax.device_get(jnp.concatenate(hidden, axis=1))


def main():
    mesh = MeshConfig(pipeline=2, data=2, tensor=2)
    report = {}
    for family in INPUTS:
        pairs = zip(all_hidden(family, mesh, 8), all_hidden(family, MeshConfig(), 1), strict=True)
        report[family] = [deviation(ours, theirs) for ours, theirs in pairs]
    report["decoded"] = [deviation(decoded(mesh, 8), decoded(MeshConfig(), 1))]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
