"""Logical axis names, and the rules that map them to mesh axes.

Layers name the axes of their parameters and activations with the constants below and know nothing
of meshes. A misspelt name would silently replicate, so names are used as constants only, and a
test checks that every parameter axis of every family has a rule.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from plmjax.errors import UserError
from plmjax.parallel.mesh import AXES
from plmjax.settings import nearest

BATCH = "batch"
LENGTH = "length"  # where heads or the feed-forward's width are split
RESIDUAL_LENGTH = "residual_length"  # between the halves of a layer: residual, norms, dropout
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


@dataclasses.dataclass(frozen=True)
class ShardingConfig:
    """Which mesh axes split each logical axis: their names joined by commas; empty for none.

    Of two axes of one array that name the same mesh axis, the one that stands here first has it.
    The default is Megatron-LM's: the first of two projections is split by its outputs and the
    second by its inputs, the token table by its rows, and the residual by length between them.
    Outside of the layers, embeddings and heads have no stages, and the pipeline's devices take
    their part of the batch.
    """

    batch: str = "slice,data,fsdp,pipeline"
    length: str = "sequence"
    residual_length: str = "sequence,tensor"
    embed: str = "fsdp"
    width: str = ""
    heads: str = "tensor"
    head_width: str = ""
    mlp: str = "tensor"
    vocab: str = "tensor"
    positions: str = ""
    types: str = ""
    layers: str = "pipeline"
    rank: str = ""
    scores: str = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            names, given = _names(getattr(self, field.name)), getattr(self, field.name)
            for name in names:
                if name not in AXES:
                    raise UserError(
                        f"{field.name}='{given}': {name} is not an axis of the mesh"
                        f"{nearest(name, AXES)}"
                    )
            if len(names) > len(set(names)):
                raise UserError(f"{field.name}='{given}' names an axis of the mesh twice")

    @property
    def rules(self) -> tuple[tuple[str, Any], ...]:
        """The same as Flax has it: pairs of a logical axis and a tuple of mesh axes, or None."""
        named = {field.name: _names(getattr(self, field.name)) for field in _FIELDS}
        return tuple((name, axes or None) for name, axes in named.items())


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


_FIELDS = dataclasses.fields(ShardingConfig)
RULES = ShardingConfig().rules
"""The default."""


@dataclasses.dataclass(frozen=True)
class _Layout:
    rules: tuple = RULES
    microbatches: int = 0


_NO_MESH = _Layout()
_current = ContextVar("layout", default=_NO_MESH)


@contextmanager
def on_mesh(
    mesh: Mesh | AbstractMesh, rules: tuple = RULES, microbatches: int = 0
) -> Iterator[None]:
    """While it is entered, what is traced is laid out on `mesh` by `rules`.

    Not by Flax's own context of rules: it would also lay out kernels that DenseGeneral initialises
    with other axes than those that they get.

    Args:
      mesh: where; an abstract one for what is traced only.
      rules: as of `ShardingConfig`.
      microbatches: as of `MeshConfig`.
    """
    is_abstract = isinstance(mesh, AbstractMesh)
    mesh_set = jax.sharding.use_abstract_mesh(mesh) if is_abstract else jax.set_mesh(mesh)
    with mesh_set, _entered(_Layout(rules, microbatches)):
        yield


@contextmanager
def without_axes(axes: Iterable[str]) -> Iterator[None]:
    """While it is entered, no rule names `axes`: for what is traced inside a `jax.shard_map` over
    them, which has split it already."""
    layout = _current.get()
    rules = tuple(
        (name, tuple(axis for axis in of or () if axis not in axes) or None)
        for name, of in layout.rules
    )
    with _entered(dataclasses.replace(layout, rules=rules)):
        yield


@contextmanager
def _entered(layout: _Layout) -> Iterator[None]:
    before = _current.set(layout)
    try:
        yield
    finally:
        _current.reset(before)


def current_rules() -> tuple:
    """The rules that `on_mesh` has set; the default outside of it."""
    return _current.get().rules


def current_microbatches() -> int:
    """How many microbatches `on_mesh` was asked for; 0 for any number."""
    return _current.get().microbatches


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for `x` to be laid out by the rules of its axes; does nothing without a mesh.

    An axis named None is not split.
    """
    return nn.with_logical_constraint(x, names, rules=current_rules())


def layout(*names: str) -> tuple[tuple[str, ...], ...]:
    """For each logical axis of an array the mesh axes that split it; none without a mesh.

    Mesh axes of one device are left out.
    """
    shape = jax.sharding.get_abstract_mesh().shape
    found = nn.logical_to_mesh_axes(names, current_rules())
    # A specification has the name itself where there is but one.
    several = ((axes,) if isinstance(axes, str) else axes or () for axes in found)
    return tuple(tuple(axis for axis in axes if shape.get(axis, 1) > 1) for axes in several)


def ways(name: str, *others: str) -> int:
    """Into how many parts the mesh splits a logical axis; 1 without a mesh.

    Args:
      name: of the axis.
      others: the other axes of the same array, which may have its mesh axes in its place.
    """
    shape = jax.sharding.get_abstract_mesh().shape
    return math.prod(shape[axis] for axis in layout(name, *others)[0])


def parameter_shardings(boxed: Any, mesh: Mesh, rules: tuple = RULES) -> Any:
    """The sharding of each parameter.

    Args:
      boxed: parameters (or their shapes) with logical names, as a module's `init` returns them.
      mesh: where they go.
      rules: as of `ShardingConfig`.

    Returns:
      A tree of NamedSharding like the unboxed parameters.
    """
    return nn.logical_to_mesh_sharding(nn.get_partition_spec(boxed), mesh, rules)


def layer_axes(boxed: Any) -> Any:
    """Which axes of each parameter run over stacked layers: a tree of tuples of int.

    Scanned layers share one array; an optimizer with a norm a tensor needs to know.
    """

    def axes(spec: PartitionSpec) -> tuple[int, ...]:
        return tuple(axis for axis, name in enumerate(spec) if name == LAYERS)

    specs = nn.get_partition_spec(boxed)
    return jax.tree.map(axes, specs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))


def matrix_axes(boxed: Any) -> Any:
    """Each parameter as a matrix: a tree of tuples of groups of axes, each one axis of the matrix.

    Axes that stack layers are left out, and heads and the width of a head are one axis, as in the
    codes that have them so: ((1,), (2, 3)) for a kernel of heads in a scanned stack.
    """

    def groups(spec: PartitionSpec) -> tuple[tuple[int, ...], ...]:
        found, before = [], None
        for axis, name in enumerate(spec):
            if (before, name) == (HEADS, HEAD_WIDTH):
                found[-1] += (axis,)
            elif name != LAYERS:
                found.append((axis,))
            before = name
        return tuple(found)

    specs = nn.get_partition_spec(boxed)
    return jax.tree.map(groups, specs, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))


def batch_sharding(mesh: Mesh, rules: tuple = RULES) -> NamedSharding:
    """The sharding of every array of a batch: by the rule of its axis 0."""
    return NamedSharding(mesh, nn.logical_to_mesh_axes((BATCH,), rules))


def shards(name: str, mesh: Mesh, rules: tuple = RULES) -> int:
    """Into how many parts the mesh splits a logical axis."""
    return math.prod(mesh.shape[axis] for axis in dict(rules)[name] or ())


def batch_shards(mesh: Mesh, rules: tuple = RULES) -> int:
    """Into how many parts the mesh splits the batch."""
    return shards(BATCH, mesh, rules)


def own_parts(mesh: Mesh, rules: tuple = RULES) -> tuple[tuple[int, ...], int]:
    """Which parts of each batch the devices of this process hold.

    Not one part for each process: those whose devices hold the same rows, split along other axes,
    hold the same parts, and a torus may give a process rows that do not follow each other.

    Returns:
      The numbers of the parts, ascending, and of how many equal parts the batch consists.
    """
    count = batch_shards(mesh, rules)
    held = batch_sharding(mesh, rules).addressable_devices_indices_map((count,))
    return tuple(sorted({index[0].start or 0 for index in held.values()})), count


def placed(
    batch: Mapping[str, np.ndarray], sharding: NamedSharding, parts: Sequence[int], count: int
) -> dict[str, jax.Array]:
    """Global arrays [B, ...] of the parts that each process has.

    Args:
      batch: arrays of this process's parts, one part after the other on axis 0.
      sharding: as of `batch_sharding`.
      parts, count: which they are, of how many, as of `own_parts`; more than those do no harm.
    """

    def put(x: np.ndarray) -> jax.Array:
        size = len(x) // len(parts)

        def part(index: tuple[slice, ...]) -> np.ndarray:
            begin = parts.index((index[0].start or 0) // size) * size
            return x[begin : begin + size]

        return jax.make_array_from_callback((size * count, *x.shape[1:]), sharding, part)

    return {key: put(x) for key, x in batch.items()}


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of scalars: a copy everywhere."""
    return NamedSharding(mesh, PartitionSpec())
