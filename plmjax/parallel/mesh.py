"""The device mesh: which devices split what."""

import dataclasses
import math
import re

import jax
from jax.experimental.mesh_utils import create_device_mesh, create_hybrid_device_mesh
from jax.sharding import AbstractMesh, AxisType, Mesh

from plmjax.errors import UserError
from plmjax.settings import nearest

AXES = ("slice", "pipeline", "data", "fsdp", "sequence", "tensor")
"""Of every mesh, from those whose devices may be far apart to those that talk the most."""


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes; one of them may be -1 and takes the devices that are left.

    data: copies of the model, each with its part of the batch.
    fsdp: splits the batch too, and parameters, gradients and optimizer state with it.
    tensor: splits heads, feed-forward width and vocabulary.
    sequence: splits activations along the length of the rows.
    pipeline: splits the layers into stages, through which microbatches pass; see
      `plmjax.parallel.pipeline`. Embeddings and heads have the batch split over it.
    slice: copies of the model in TPU slices or nodes that are joined by a slow network.
    microbatches: into how many parts the batch is cut for the stages, not read without any; 0 for
      the most of four times as many as stages that divide its rows.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    sequence: int = 1
    pipeline: int = 1
    slice: int = 1
    microbatches: int = 0

    def __post_init__(self):
        if self.microbatches < 0:
            raise UserError(
                f"config.mesh.microbatches={self.microbatches}; give a number that divides the"
                " rows, or 0 to choose one"
            )


def parsed_mesh(text: str) -> MeshConfig:
    """`tensor=4,fsdp=2` as a MeshConfig; empty for all devices as copies.

    Raises:
      UserError: if it is no such text.
    """
    sizes: dict[str, int] = {}
    for word in (word for word in text.split(",") if word):
        axis, _, size = word.partition("=")
        if axis not in AXES:
            raise UserError(f"--mesh={text}: '{axis}' is not an axis{nearest(axis, AXES)}")
        if not re.fullmatch(r"-?\d+", size):
            raise UserError(f"--mesh={text}: '{word}' is no size; give such as {axis}=2")
        sizes[axis] = int(size)
    return MeshConfig(**sizes)


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """Lays `devices` (default: all) out on the axes AXES.

    Where they are several TPU slices, `slice` and then `pipeline` go over the network between them,
    the other axes stay inside.

    Raises:
      UserError: if the sizes do not multiply to the number of devices, or to that of slices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _filled(config, len(devices))
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        # Not jax.make_mesh: on a TPU torus it refuses sizes that are not products of whole physical
        # axes, such as fsdp 8 on 4x4x4. Splitting is a last resort, taken where it is needed.
        placed = create_device_mesh(list(sizes.values()), devices, allow_split_physical_axes=True)
    else:
        outer = _between_slices(sizes, slices)
        inner = [size // by for size, by in zip(sizes.values(), outer, strict=True)]
        placed = create_hybrid_device_mesh(inner, outer, devices, allow_split_physical_axes=True)
    # Auto axes: linen's logical constraints do not work on Explicit ones, jax's default.
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def abstract_mesh(config: MeshConfig, devices: int, slices: int = 1) -> AbstractMesh:
    """The same mesh of devices that are not at hand: so many in so many slices.

    Raises:
      UserError: as `make_mesh`.
    """
    sizes = _filled(config, devices)
    if slices > 1:
        _between_slices(sizes, slices)
    return AbstractMesh(tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _filled(config: MeshConfig, devices: int) -> dict[str, int]:
    """The size of each axis, in the order of AXES, the one that is -1 filled in."""
    sizes = {name: getattr(config, name) for name in AXES}
    named = {name: size for name, size in sizes.items() if size != 1 or name == "data"}
    given = ", ".join(f"{name} {size}" for name, size in named.items())
    open_axes = [name for name, size in sizes.items() if size == -1]
    if len(open_axes) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise UserError(
            f"config.mesh has {given}: sizes are positive, and only one of them may be -1"
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if open_axes and devices % fixed == 0:
        sizes[open_axes[0]] = devices // fixed
    if math.prod(sizes.values()) != devices:
        raise UserError(
            f"config.mesh has {given}, which does not multiply to {devices} devices;"
            " set one axis to -1 to take what is left"
        )
    return sizes


def _between_slices(sizes: dict[str, int], slices: int) -> list[int]:
    """How many ways each axis is split by the network between slices."""
    stages = slices // sizes["slice"]
    if slices % sizes["slice"] or sizes["pipeline"] % stages:
        raise UserError(
            f"the devices are {slices} slices, joined by a slow network, and config.mesh has slice"
            f" {sizes['slice']}, pipeline {sizes['pipeline']}; set config.mesh.slice={slices}"
        )
    return [{"slice": sizes["slice"], "pipeline": stages}.get(name, 1) for name in AXES]
