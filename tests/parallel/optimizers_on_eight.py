"""Run by test_optimizers_on_eight.py in a process of its own, on eight fake devices.

Takes cases such as "adafactor / fsdp 8". Prints one JSON object: for each case, how far updates and
optimizer state are from one device's after the same gradients, and what each device holds.
"""

import functools
import json
import sys
from dataclasses import replace
from typing import Any

import tests.parallel.eight_devices  # isort: skip  before jax, of which it makes eight devices

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import layer_axes, matrix_axes
from plmjax.train.guard import fresh_guard
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import TrainState, boxed_parameters, state_shardings
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


@functools.cache
def boxed() -> Any:
    """The shapes of BERT's parameters and the names of their axes."""
    batch = batch_of("bert", MODEL, 8, 20, 5)
    return boxed_parameters(objective_of("bert", MODEL), spec(batch))


def updated_on(mesh: jax.sharding.Mesh, config: OptimizerConfig) -> tuple[dict, TrainState]:
    """The last update and the state after STEPS updates with gradients that do not depend on it."""
    optimizer = build(config, 100, layer_axes(boxed()), matrix_axes(boxed()))
    params = random(seed=STEPS)

    def fresh(params: dict) -> TrainState:
        zero = jnp.zeros((), jnp.int32)
        return TrainState(zero, params, optimizer.init(params), {}, fresh_guard())

    def update(state: TrainState, grads: dict) -> tuple[dict, TrainState]:
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return updates, state.replace(params=params, opt_state=opt_state)

    shardings = state_shardings(jax.eval_shape(fresh, params), boxed(), optimizer, mesh)
    state = jax.jit(fresh, out_shardings=shardings)(jax.device_put(params, shardings.params))
    step = jax.jit(update, out_shardings=(shardings.params, shardings))
    for index in range(STEPS):
        updates, state = step(state, jax.device_put(random(seed=index), shardings.params))
    return updates, state


def random(seed: int) -> dict:
    """Arrays whose rows have many sizes: of equal ones, a part's mean would be the whole's."""
    rng = np.random.default_rng(seed)

    def leaf(x: jax.ShapeDtypeStruct) -> np.ndarray:
        sizes = 10.0 ** rng.normal(0, 1, (*x.shape[:-1], 1))
        return (sizes * rng.normal(0, 1, x.shape)).astype(np.float32)

    return jax.tree.map(leaf, nn.meta.unbox(boxed()))


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


def _wide(tree: optax.OptState) -> optax.OptState:
    return optax.tree.cast(tree, jnp.float32)


if __name__ == "__main__":
    main(sys.argv[1:])
