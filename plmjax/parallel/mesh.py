"""The device mesh: which devices split the batch, the parameters and the width."""

import dataclasses

import jax
import numpy as np
from jax.experimental.mesh_utils import create_device_mesh
from jax.sharding import AxisType, Mesh

from plmjax.errors import UserError

AXES = ("data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes; one of them may be -1 and takes the devices that are left.

    data: copies of the model, each with its part of the batch.
    fsdp: splits the batch too, and parameters, gradients and optimizer state with it.
    tensor: splits heads, feed-forward width and vocabulary.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The sizes as configured, in the order of AXES."""
        return (self.data, self.fsdp, self.tensor)


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """Lays `devices` (default: all) out on the axes AXES.

    Raises:
      UserError: if the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = list(config.sizes)
    given = ", ".join(f"{name} {size}" for name, size in zip(AXES, sizes, strict=True))
    fixed = int(np.prod([size for size in sizes if size != -1]))
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(
            f"config.mesh has {given}: sizes are positive, and only one of them may be -1"
        )
    if -1 in sizes and len(devices) % fixed == 0:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if int(np.prod(sizes)) != len(devices):
        raise UserError(
            f"config.mesh has {given}, which does not multiply to {len(devices)} devices;"
            " set one axis to -1 to take what is left"
        )
    # Not jax.make_mesh: on a TPU torus it refuses sizes that are not products of whole physical
    # axes, such as fsdp 8 on 4x4x4. Splitting is a last resort, taken only where it is needed.
    placed = create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    # Auto axes: linen's logical constraints do not work on Explicit ones, jax's default.
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_shards(mesh: Mesh) -> int:
    """Into how many parts the mesh splits the batch."""
    return mesh.shape["data"] * mesh.shape["fsdp"]
