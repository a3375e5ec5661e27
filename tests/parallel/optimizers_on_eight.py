"""Run by test_optimizers_on_eight.py in a process of its own, on eight fake devices.

Takes cases such as "adafactor / fsdp 8". Prints one JSON object: for each case, how far updates and
optimizer state are from one device's after the same gradients, and what each device holds.
"""

import functools
import json
import sys
from dataclasses import replace

import tests.parallel.eight_devices  # isort: skip  before jax, of which it makes eight devices

import jax
import jax.numpy as jnp
import optax

from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import layer_axes, matrix_axes, on_mesh
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import TrainState, boxed_parameters, fresh_state, state_shardings
from tests.batches import spec
from tests.compare import deviations, leaves
from tests.training import batch_of, objective_of

MODEL = replace(tests.parallel.eight_devices.CONFIGS["bert"], num_heads=8)
MESHES = {
    "fsdp 8": MeshConfig(data=1, fsdp=8),
    "tensor 8": MeshConfig(data=1, tensor=8),
    "fsdp 4, tensor 2": MeshConfig(data=1, fsdp=4, tensor=2),
    "pipeline 2, fsdp 4": MeshConfig(data=1, pipeline=2, fsdp=4),
}
_SETTINGS = {"learning_rate": 1e-2, "schedule": "constant", "weight_decay": 0.1}
_FACTORED = {"name": "adafactor", "min_dim_size_to_factor": 8, **_SETTINGS}
OPTIMIZERS = {
    "lamb": OptimizerConfig(name="lamb", **_SETTINGS),
    "lamb_nvidia": OptimizerConfig(name="lamb_nvidia", **_SETTINGS),
    # Elementwise but for the ratio: unclipped, what is rounded is the same to the bit.
    "lamb, narrow": OptimizerConfig(
        name="lamb", clip_norm=0.0, moments_dtype="bfloat16", **_SETTINGS
    ),
    "adafactor": OptimizerConfig(**_FACTORED),
    "adafactor, momentum": OptimizerConfig(momentum=0.9, **_FACTORED),
}
STEPS = 3


def updated_on(mesh: jax.sharding.Mesh, config: OptimizerConfig) -> tuple[dict, TrainState]:
    """The last update and the state after STEPS updates with gradients that do not depend on it."""
    batch, objective = batch_of("bert", MODEL, 8, 20, 5), objective_of("bert", MODEL)
    boxed = boxed_parameters(objective, spec(batch))
    optimizer = build(config, 100, layer_axes(boxed), matrix_axes(boxed))

    def fresh() -> TrainState:
        return fresh_state(objective, spec(batch), optimizer, seed=0)

    def update(state: TrainState, grads: dict) -> tuple[dict, TrainState]:
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return updates, state.replace(params=params, opt_state=opt_state)

    with on_mesh(mesh):
        shardings = state_shardings(jax.eval_shape(fresh), boxed, optimizer, mesh)
        state = jax.jit(fresh, out_shardings=shardings)()
        step = jax.jit(update, out_shardings=(shardings.params, shardings))
        for index in range(STEPS):
            grads = jax.device_put(_random(state.params, index), shardings.params)
            updates, state = step(state, grads)
    return updates, state


def main(cases: list[str]):
    one_device = make_mesh(MeshConfig(), jax.devices()[:1])

    @functools.cache
    def expected(name: str) -> dict:
        updates, state = updated_on(one_device, OPTIMIZERS[name])
        return jax.device_get({"updates": updates, "state": _wide(state.opt_state)})

    report = {}
    for case in cases:
        name, mesh = case.split(" / ")
        updates, state = updated_on(make_mesh(MESHES[mesh]), OPTIMIZERS[name])
        found = jax.device_get({"updates": updates, "state": _wide(state.opt_state)})
        arrays = leaves({"params": state.params, "state": state.opt_state})
        report[case] = {
            "deviations": deviations(found, expected(name)),
            "shapes": {
                path: (x.shape, x.addressable_shards[0].data.shape) for path, x in arrays.items()
            },
        }
    print(json.dumps(report))


def _random(params: dict, seed: int) -> dict:
    """Gradients whose rows have many sizes: of equal ones, a part's mean would be the whole's."""

    def leaf(key: jax.Array, x: jax.Array) -> jax.Array:
        sizes = 10.0 ** jax.random.normal(jax.random.fold_in(key, 1), (*x.shape[:-1], 1))
        return sizes * jax.random.normal(key, x.shape)

    flat, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(flat))
    return structure.unflatten(map(leaf, keys, flat))


def _wide(tree: optax.OptState) -> optax.OptState:
    return optax.tree.cast(tree, jnp.float32)


if __name__ == "__main__":
    main(sys.argv[1:])
