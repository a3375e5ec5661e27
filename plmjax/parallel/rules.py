"""Logical axis names, and the rules that map them to mesh axes.

Layers name the axes of their parameters and activations with the constants below and know nothing
of meshes. A misspelt name would silently replicate, so names are used as constants only, and a
test checks that every parameter axis of every family has a rule.
"""

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

BATCH = "batch"
LENGTH = "length"
EMBED = "embed"  # model width, D, of a parameter
WIDTH = "width"  # model width, D, of an activation, or the second D of a square kernel
HEADS = "heads"
HEAD_WIDTH = "head_width"
MLP = "mlp"
VOCAB = "vocab"
POSITIONS = "positions"
TYPES = "types"
LAYERS = "layers"
RANK = "rank"  # what Linformer makes of a row
SCORES = "scores"  # heads, where another axis is HEADS

RULES: tuple[tuple[str, Any], ...] = (
    (BATCH, ("data", "fsdp")),
    (LENGTH, None),
    (EMBED, "fsdp"),
    (WIDTH, None),
    (HEADS, "tensor"),
    (HEAD_WIDTH, None),
    (MLP, "tensor"),
    (VOCAB, "tensor"),
    (POSITIONS, None),
    (TYPES, None),
    (LAYERS, None),
    (RANK, None),
    (SCORES, None),
)


def constrain(x: jax.Array, *names: str) -> jax.Array:
    """Asks for `x` to be laid out by the rules of its axes; does nothing without a mesh."""
    return nn.with_logical_constraint(x, names, rules=RULES)


def parameter_shardings(boxed: Any, mesh: Mesh) -> Any:
    """The sharding of each parameter.

    Args:
      boxed: parameters (or their shapes) with logical names, as a module's `init` returns them.
      mesh: where they go.

    Returns:
      A tree of NamedSharding like the unboxed parameters.
    """
    return nn.logical_to_mesh_sharding(nn.get_partition_spec(boxed), mesh, RULES)


def layer_axes(boxed: Any) -> Any:
    """Which axes of each parameter run over stacked layers: a tree of tuples of int.

    Scanned layers share one array; an optimizer with a norm a tensor needs to know.
    """

    def axes(spec: PartitionSpec) -> tuple[int, ...]:
        return tuple(axis for axis, name in enumerate(spec) if name == LAYERS)

    specs = nn.get_partition_spec(boxed)
    return jax.tree.map(axes, specs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every array of a batch: axis 0 over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of scalars: a copy everywhere."""
    return NamedSharding(mesh, PartitionSpec())
