"""Run by test_sharding.py in a process of its own, on eight fake devices.

Takes cases such as "bert / data 8 / 1": a family (or one "by" another objective than its own), a
mesh and a number of microbatches. Prints one JSON object: for each case, how far the state and the
metrics of a step with dropout are from one device's, and the shape of what each device holds of
every array. BERT is initialised where it is trained and updated by LAMB; of the other families only
the gradients are kept, which compiles in half the time.
"""

import os

# Machine code that is run once need not be good.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    + " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import functools
import json
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import optax

from plmjax.families import FAMILIES
from plmjax.models.bert import Config
from plmjax.nn.efficient.kinds import Full
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import (
    BATCH,
    MLP,
    batch_sharding,
    constrain,
    layer_axes,
    on_mesh,
)
from plmjax.train.carried import boxed_carried
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import TrainState, boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import jit_train_step, train_step
from tests.batches import spec
from tests.compare import deviations, leaves
from tests.training import batch_of, objective_of

MESHES = {
    "data 8": MeshConfig(),
    "fsdp 8": MeshConfig(data=1, fsdp=8),
    "tensor 8": MeshConfig(data=1, tensor=8),
    "fsdp 4, tensor 2": MeshConfig(data=1, fsdp=4, tensor=2),
    "data 2, tensor 2, sequence 2": MeshConfig(data=2, tensor=2, sequence=2),
    "pipeline 2, data 4": MeshConfig(pipeline=2, data=4),
    "pipeline 2, data 4, microbatches 2": MeshConfig(pipeline=2, data=4, microbatches=2),
    "pipeline 2, fsdp 2, tensor 2": MeshConfig(pipeline=2, data=1, fsdp=2, tensor=2),
    "pipeline 4, data 2": MeshConfig(pipeline=4, data=2),
}
_SMALL = {"vocab_size": 200, "num_layers": 2, "hidden_size": 32, "num_heads": 8, "mlp_size": 64}
_SMALL |= {"initializer_range": 0.2, "hidden_dropout": 0.1, "attention_dropout": 0.1}
CONFIGS = {
    "bert": Config(max_positions=24, **_SMALL),
    "roberta": replace(
        FAMILIES["roberta"].presets["base"], max_positions=26, **(_SMALL | {"num_layers": 4})
    ),
    "albert": replace(
        FAMILIES["albert"].presets["base"],
        max_positions=24,
        **(_SMALL | {"embedding_size": 16, "groups": 3, "num_layers": 4}),
    ),
    "electra": replace(
        FAMILIES["electra"].presets["small"], max_positions=24, **(_SMALL | {"embedding_size": 16})
    ),
    "ernie": replace(FAMILIES["ernie"].presets["2.0-base"], max_positions=24, **_SMALL),
    "nezha": replace(FAMILIES["nezha"].presets["base-zh"], **(_SMALL | {"max_relative": 6})),
    "distilbert": replace(FAMILIES["distilbert"].presets["base"], max_positions=24, **_SMALL),
    "roformer": replace(
        FAMILIES["roformer"].presets["base-zh"], **(_SMALL | {"embedding_size": 16})
    ),
    "gpt": replace(
        FAMILIES["gpt"].presets["gpt3-125m"],
        max_positions=24,
        **(_SMALL | {"num_layers": 5, "query_layer": "before_norm"}),
        attention=Full(reach=5),
    ),
    "yuefu": replace(FAMILIES["yuefu"].presets["base"], max_positions=24, **_SMALL),
    "xlm": replace(FAMILIES["xlm"].presets["15-langs"], max_positions=24, **_SMALL),
    "mobilebert": replace(
        FAMILIES["mobilebert"].presets["uncased"],
        max_positions=24,
        **(_SMALL | {"bottleneck_size": 16, "embedding_size": 16}),
    ),
    "modernbert": replace(
        FAMILIES["modernbert"].presets["base"], **(_SMALL | {"num_layers": 7, "window": 6})
    ),
    "xlnet": replace(FAMILIES["xlnet"].presets["base"], mem_len=24, reuse_len=8, **_SMALL),
    "t5": replace(FAMILIES["t5"].presets["v1.1-base"], **(_SMALL | {"head_size": 6})),
    "bart": replace(FAMILIES["bart"].presets["base"], max_positions=26, **_SMALL),
}
"""Small models of each family, by its name in `plmjax.families.FAMILIES`."""


@functools.cache
def on_one(family: str, accumulate: int) -> dict:
    """What one device makes of it."""
    return trained_on(family, MeshConfig(), 1, accumulate)


def trained_on(family: str, sizes: MeshConfig, devices: int, accumulate: int) -> dict:
    """Everything that is compared, computed on a mesh."""
    config, mesh = CONFIGS[family.partition(" by ")[0]], make_mesh(sizes, jax.devices()[:devices])
    assert config.hidden_dropout and config.attention_dropout
    # 20 tokens are no multiple of 8: with tensor 8 devices have residuals of different lengths.
    batch, objective = batch_of(family, config, 16, 20, 5), objective_of(family, config)
    boxed = boxed_parameters(objective, spec(batch))
    # Without clipping, the first moment is the gradient times 1 - b1.
    settings = OptimizerConfig(name="lamb", learning_rate=1e-2, schedule="constant", clip_norm=0.0)
    is_whole = family == "bert"
    optimizer = build(settings, 100, layer_axes(boxed)) if is_whole else optax.trace(decay=0.0)

    def fresh():
        return fresh_state(objective, spec(batch), optimizer, seed=0)

    with on_mesh(mesh, microbatches=sizes.microbatches):
        handed = boxed_carried(objective, 16)
        abstract = jax.eval_shape(fresh)
        shardings = state_shardings(abstract, boxed, optimizer, mesh, boxed_carried=handed)
        if is_whole or mesh.size == 1:
            state = jax.jit(lambda: remembering(fresh()), out_shardings=shardings)()
        else:
            state = jax.device_put(on_one(family, accumulate)["before"], shardings)
        before = jax.device_get(state)
        placed = jax.device_put(batch, batch_sharding(mesh))
        step = train_step(objective, optimizer, seed=0, accumulate=accumulate, log_every=10)
        state, metrics = jit_train_step(step, shardings, batch_sharding(mesh))(state, placed)
        activation = jax.jit(lambda: constrain(jnp.zeros((16, 64)), BATCH, MLP))()
    values = {"initial": before.params, "state": state, "metrics": metrics}
    return {
        "before": before,
        "values": jax.device_get(values),
        "shards": {
            path: leaf.addressable_shards[0].data.shape for path, leaf in leaves(state).items()
        },
        "batch_shard": placed["tokens"].addressable_shards[0].data.shape,
        "activation_shard": activation.addressable_shards[0].data.shape,
    }


def remembering(state: TrainState) -> TrainState:
    """A state that was handed something on."""
    leaves, tree = jax.tree.flatten(state.carried)
    made = [jax.random.normal(jax.random.key(n), x.shape, x.dtype) for n, x in enumerate(leaves)]
    return state.replace(carried=jax.tree.unflatten(tree, made))


def main(cases: list[str]):
    report = {}
    for case in cases:
        family, mesh, accumulate = case.split(" / ")
        found = trained_on(family, MESHES[mesh], 8, int(accumulate))
        expected = on_one(family, int(accumulate))["values"]
        found["deviations"] = deviations(found.pop("values"), expected)
        del found["before"]
        report[case] = found
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
