"""Run by test_split_rows.py in a process of its own, on eight fake devices.

Takes cases such as "bert / data 2, sequence 4 / ring": a family of tests/parallel/eight_devices.py,
a mesh and a way of SEQUENCE_ATTENTIONS; or "call / ..." for all calls of tests/nn/attention_cases.
Prints one JSON object: for each case, how far loss and gradients are from one device's. With
"memory" it prints the bytes that devices need for a long row, with "mistakes" what is refused.
"""

import os

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import dataclasses
import functools
import json
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax import experiment
from plmjax.errors import UserError
from plmjax.models.bert import Config as BertConfig
from plmjax.nn.efficient.kinds import KINDS
from plmjax.nn.implementations import ring
from plmjax.parallel.mesh import MeshConfig, make_mesh
from plmjax.parallel.rules import batch_sharding, on_mesh, parameter_shardings
from plmjax.train.state import boxed_parameters
from tests.batches import spec
from tests.compare import deviations, gradient_deviations, leaves
from tests.nn.attention_cases import CASES, outcome
from tests.parallel.eight_devices import CONFIGS
from tests.training import batch_of, objective_of, spec_of

MESHES = {
    "data 2, tensor 2, sequence 2": MeshConfig(data=2, tensor=2, sequence=2),
    "sequence 8": MeshConfig(data=1, sequence=8),
    "data 2, sequence 4": MeshConfig(data=2, sequence=4),
}
LENGTH = 32


def config_of(family: str, way: str):
    """`bert` or `bert+longformer`: with eight heads, and for a ring without dropout."""
    name, _, kind = family.partition("+")
    changes = {"num_heads": 8, "sequence_attention": way}
    if hasattr(CONFIGS[name], "max_positions"):
        changes["max_positions"] = 2 * LENGTH
    if way == "ring":
        changes["attention_dropout"] = 0.0
    if kind:
        small = {"longformer": {"window": 4}, "bigbird": {"block": 2, "random_blocks": 1}}
        small |= {"linformer": {"length": LENGTH, "rank": 8}, "performer": {"features": 16}}
        changes["attention"] = KINDS[kind](**small.get(kind, {}))
    return dataclasses.replace(CONFIGS[name], **changes)


def trained_on(family: str, mesh: jax.sharding.Mesh, way: str) -> tuple:
    """Loss and gradients of a training step with dropout."""
    config = config_of(family, way)
    name = family.partition("+")[0]
    batch, objective = batch_of(name, config, 4, LENGTH, 5), objective_of(name, config)
    boxed = boxed_parameters(objective, spec(batch))
    rows_B = jnp.arange(4)

    def loss(params, batch):
        rngs = {"dropout": jax.random.key(1)}
        found = objective.apply({"params": params}, batch, train=rows_B, rngs=rngs)
        return sum(term.value() for term in found.terms.values())

    with on_mesh(mesh):
        shardings = parameter_shardings(boxed, mesh), batch_sharding(mesh)
        fresh = jax.jit(
            lambda: nn.meta.unbox(objective.init(jax.random.key(0), batch, train=False)["params"]),
            out_shardings=shardings[0],
        )
        placed = jax.device_put(batch, shardings[1])
        return jax.device_get(jax.jit(jax.value_and_grad(loss))(fresh(), placed))


def deviations_of_families(family: str, mesh: jax.sharding.Mesh, way: str, one) -> dict:
    (loss, grads), (expected, expected_grads) = trained_on(family, mesh, way), one(family, way)
    found, grads, expected_grads = (
        gradient_deviations(grads, expected_grads),
        leaves(grads),
        leaves(expected_grads),
    )
    # Sums that cancel: Fastformer's scores go through a softmax, and labels of pairs even out.
    for path in found:
        if path.endswith(("score/bias", "nsp_head/bias")):
            scale = abs(expected_grads[path.replace("/bias", "/kernel")]).max()
            found[path] = float(abs(grads[path] - expected_grads[path]).max() / scale)
    return found | {"loss": abs(float(loss) - float(expected)) / abs(float(expected))}


def deviations_of_calls(mesh: jax.sharding.Mesh) -> dict:
    """Of the ring itself, with shapes that the mesh divides."""
    found = {}
    for name, case in CASES.items():
        case = dataclasses.replace(case, length=64, heads=4, keys=case.keys and 32)
        *arrays, worth = case.arrays()

        def by_ring(*arrays, case=case):
            return ring.mixed(*arrays, case.seen, case.settings, case.reach)

        expected = outcome(case.expected, worth, *arrays)
        with on_mesh(mesh):
            made = outcome(by_ring, worth, *arrays)
        found |= {f"{name}: {path}": x for path, x in deviations(made, expected).items()}
    return found


def memory() -> dict[str, int]:
    """Temporary bytes a device of loss and gradients of one layer, rows of 4,096 tokens."""
    small = {"num_layers": 1, "hidden_size": 64, "num_heads": 8, "mlp_size": 64, "vocab_size": 128}
    config = BertConfig(max_positions=4096, attention_dropout=0.0, hidden_dropout=0.0, **small)

    def needed(way: str, sizes: MeshConfig) -> int:
        mesh = make_mesh(sizes, jax.devices()[: sizes.sequence])
        model = dataclasses.replace(config, sequence_attention=way)
        objective, spec = objective_of("bert", model), spec_of("bert", model, 1, 4096, 16)
        params = nn.meta.unbox(boxed_parameters(objective, spec))
        batch = {name: jax.ShapeDtypeStruct(*of) for name, of in spec.items()}

        def loss(params, batch):
            found = objective.apply({"params": params}, batch, train=False)
            return sum(term.value() for term in found.terms.values())

        with on_mesh(mesh):
            compiled = jax.jit(jax.grad(loss)).lower(params, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    return {
        "one": needed("all_to_all", MeshConfig(data=1)),
        "all_to_all": needed("all_to_all", MeshConfig(data=1, sequence=8)),
        "ring of 2": needed("ring", MeshConfig(data=1, sequence=2)),
        "ring": needed("ring", MeshConfig(data=1, sequence=8)),
    }


def mistakes() -> dict[str, str]:
    """What `plmjax.experiment.build` says of configs that cannot be split as they ask."""
    asked = {
        "heads": {"sequence": 4, "num_heads": 2},
        "heads and tensor": {"sequence": 2, "tensor": 4, "num_heads": 4},
        "rows": {"sequence": 8, "seq_len": 60},
        "dropout in a ring": {"sequence": 2, "sequence_attention": "ring"},
        "relative positions in a ring": {
            "sequence": 2,
            "sequence_attention": "ring",
            "attention_dropout": 0.0,
            "max_relative": 8,
        },
        "nothing": {"sequence": 2, "sequence_attention": "ring", "attention_dropout": 0.0},
    }
    return {name: _said(**changes) for name, changes in asked.items()}


def _said(seq_len: int = 64, sequence: int = 1, tensor: int = 1, **model) -> str:
    config = experiment.default_config("bert", "tiny")
    config.data.seq_len, config.data.batch_size = seq_len, 16
    config.mesh.sequence, config.mesh.tensor = sequence, tensor
    config.model.vocab_size, config.model.dtype = 0, "float32"
    for name, value in model.items():
        config.model[name] = value
    settings = experiment.resolved(experiment.read_settings(config), None, None)
    try:
        experiment.build(settings)
    except UserError as error:
        return str(error)
    return ""


def main(cases: list[str]):
    if cases in (["memory"], ["mistakes"]):
        print(json.dumps({"memory": memory, "mistakes": mistakes}[cases[0]]()))
        return
    one_device = make_mesh(MeshConfig(), jax.devices()[:1])

    @functools.cache
    def one(family: str, way: str) -> tuple:
        return trained_on(family, one_device, way)

    report = {}
    for case in cases:
        family, mesh, way = case.split(" / ")
        mesh = make_mesh(MESHES[mesh])
        if family == "call":
            report[case] = deviations_of_calls(mesh)
        else:
            report[case] = deviations_of_families(family, mesh, way, one)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
