"""Run by test_sharding.py in a process of its own, on eight fake devices.

Takes cases such as "data 8 / 1": a mesh and a number of microbatches. Prints one JSON object: for
each case, how far the state and the metrics of a step with dropout are from one device's, and the
shape of what each device holds of every array.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import functools
import json
import sys

import jax
import jax.numpy as jnp

from plmjax.models.bert import Bert, Config
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import BATCH, MLP, batch_sharding, constrain, layer_axes
from plmjax.train.optimizers import OptimizerConfig, build
from plmjax.train.state import boxed_parameters, fresh_state, state_shardings
from plmjax.train.step import jit_train_step, train_step
from tests.batches import bert_batch, spec
from tests.compare import deviations, leaves

MESHES = {
    "data 8": MeshConfig(),
    "fsdp 8": MeshConfig(data=1, fsdp=8),
    "tensor 2, data 4": MeshConfig(data=4, tensor=2),
    "fsdp 4, tensor 2": MeshConfig(data=1, fsdp=4, tensor=2),
}
CONFIG = Config(
    vocab_size=200,
    max_positions=24,
    num_layers=2,
    hidden_size=32,
    num_heads=4,
    mlp_size=64,
    initializer_range=0.2,
)


def on_mesh(mesh: jax.sharding.Mesh, accumulate: int) -> dict:
    """Everything that is compared, computed on `mesh`."""
    batch = bert_batch(CONFIG, 16, 20, 5, seed=0)
    objective = BertPretraining(Bert(CONFIG))
    boxed = boxed_parameters(objective, spec(batch))
    # Without clipping, the first moment is the gradient times 1 - b1.
    settings = OptimizerConfig(name="lamb", learning_rate=1e-2, schedule="constant", clip_norm=0.0)
    optimizer = build(settings, 100, layer_axes(boxed))

    def fresh():
        return fresh_state(objective, spec(batch), optimizer, seed=0)

    with jax.set_mesh(mesh):
        shardings = state_shardings(jax.eval_shape(fresh), boxed, optimizer, mesh)
        state = jax.jit(fresh, out_shardings=shardings)()
        placed = jax.device_put(batch, batch_sharding(mesh))
        initial = jax.device_get(state.params)
        step = train_step(objective, optimizer, seed=0, accumulate=accumulate, log_every=10)
        state, metrics = jit_train_step(step, shardings, batch_sharding(mesh))(state, placed)
        activation = jax.jit(lambda: constrain(jnp.zeros((16, 64)), BATCH, MLP))()
    values = {"initial": initial, "state": state, "metrics": metrics}
    return {
        "values": jax.device_get(values),
        "shards": {
            path: leaf.addressable_shards[0].data.shape for path, leaf in leaves(state).items()
        },
        "batch_shard": placed["tokens"].addressable_shards[0].data.shape,
        "activation_shard": activation.addressable_shards[0].data.shape,
    }


def main(cases: list[str]):
    one_device = make_mesh(MeshConfig(), jax.devices()[:1])
    one = functools.cache(functools.partial(on_mesh, one_device))
    report = {}
    for case in cases:
        mesh, accumulate = case.split(" / ")
        found = on_mesh(make_mesh(MESHES[mesh]), int(accumulate))
        found["deviations"] = deviations(found.pop("values"), one(int(accumulate))["values"])
        report[case] = found
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
