"""Run by test_loaded_on_devices.py in a process of its own, on eight fake devices.

Takes cases of a folder, a way to write and a mesh; prints one JSON object: for each case the tokens
on one device and on the mesh, what share of the parameters and of the cache a device has, and in
how many parts the rules split each.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import json
import sys
from typing import Any

import jax

from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.filling import BlankWriter
from plmjax.loaded import load_model
from plmjax.parallel.mesh import MeshConfig
from plmjax.prompts import Prompt

WAYS = {
    "drawn": DecodingConfig(max_new_tokens=9, sample=True, top_p=0.9, samples=2, seed=3),
    "beams": DecodingConfig(max_new_tokens=9, beams=3, n_best=2),
}
PROMPTS = [[20, 21, 22], [23, 24, 25, 26, 27, 28, 29], [30]]


def share(tree: Any) -> float:
    """Of the bytes of all arrays, what one device has."""
    leaves = jax.tree.leaves(tree)
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return held / sum(leaf.nbytes for leaf in leaves)


def written(folder: str, way: str, mesh: MeshConfig, is_watched: bool) -> dict[str, Any]:
    loaded = load_model(folder, mesh=mesh)
    generator = Generator.of(loaded)
    shares = {"params": share(generator.params)}
    go_on = generator._go_on

    def watched(params: Any, texts: Any, *rest: Any, **options: Any) -> Any:
        shares["cache"] = share(texts.cache)
        return go_on(params, texts, *rest, **options)

    if is_watched:
        generator._go_on = watched
    found = generator.generate(PROMPTS, WAYS[way])
    return {"tokens": [[list(one.tokens) for one in some] for some in found], **shares}


def filled(folder: str, mesh: MeshConfig) -> dict[str, Any]:
    """The same of a model that fills in blanks, in any order."""
    loaded = load_model(folder, mesh=mesh)
    config = DecodingConfig(sample=True, top_k=9, samples=3, seed=3)
    writer = BlankWriter(loaded, config, "random", tokens_per_step=2)
    texts = writer.write([Prompt("one", "[MASK]*9"), Prompt("two", "a [MASK]*5 b")])
    return {"tokens": [list(one.tokens) for one in texts], "params": share(loaded.params)}


def compared(case: str) -> dict[str, Any]:
    folder, way, sizes = case.split(" / ")
    mesh = MeshConfig(**{name: int(size) for name, size in json.loads(sizes).items()})
    if way == "filled":
        on_mesh = filled(folder, mesh)
    else:
        on_mesh = written(folder, way, mesh, is_watched=way != "beams")
    jax.clear_caches()
    devices = jax.devices
    try:
        jax.devices = lambda: devices()[:1]  # as if there were but one
        one = MeshConfig()
        alone = filled(folder, one) if way == "filled" else written(folder, way, one, False)
    finally:
        jax.devices = devices
    return {"alone": alone, "on_mesh": on_mesh}


if __name__ == "__main__":
    print(json.dumps({case: compared(case) for case in sys.argv[1:]}))
