"""Which devices a plan is made for, by name: v5p:8x8x16, v5e:16x16*2, h100:4x8."""

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any

from plmjax.errors import UserError
from plmjax.parallel.chips import CHIPS, Chip
from plmjax.settings import choose, nearest

# cloud.google.com/tpu/docs, the shapes on the page of each version. The compiler takes many others.
_FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16")
_CUBES += ("8x16x16", "16x16x16")
SHAPES = {
    "v2": ("2x2", "4x4", "8x8", "8x16", "16x16"),
    "v3": ("2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32"),
    "v4": _CUBES,
    "v5e": _FLAT,
    "v5p": (*_CUBES, "16x16x24"),
    "v6e": _FLAT,
    "tpu7x": (*_CUBES, "16x16x24", "16x16x32"),
}
"""Shapes of slices that can be had, in chips. Of three dimensions any others can whose sizes are
multiples of 4, up to those of the largest."""


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices by how they are joined.

    name: as the user wrote it. chip: of all of them, named `chip_name`.
    shape: chips of a slice along each dimension of its torus; of GPUs those of a node.
    slices: how many slices, or nodes, a slower network joins.
    """

    name: str
    chip_name: str
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chip(self) -> Chip:
        """What is published of the chip."""
        return CHIPS[self.chip_name]

    @property
    def is_tpu(self) -> bool:
        """Whether there is a compiler for it that does without the hardware."""
        return self.chip.torus > 0

    @property
    def slice_devices(self) -> int:
        """Jax devices of a slice or node."""
        return math.prod(self.shape) * self.chip.devices

    @property
    def devices(self) -> int:
        """Jax devices of all slices."""
        return self.slice_devices * self.slices

    @property
    def mesh_slices(self) -> int:
        """How many slices the mesh has to know of: the nodes of GPUs are no axis of their own."""
        return self.slices if self.is_tpu else 1

    @property
    def hosts(self) -> int:
        """Machines that have chips."""
        return self.slices * -(-math.prod(self.shape) // self.chip.host_chips)

    @property
    def memory(self) -> float:
        """Bytes of HBM of a device."""
        return self.chip.memory / self.chip.devices

    def rate(self, count: int, spans: int) -> float:
        """Bytes a second that each device of a group sends in a ring of them, at the peak.

        Devices of a slice are taken to span as few dimensions of its torus as can hold them, whole,
        and to use each in both directions where it closes to a ring. Between slices a device has
        its share of the network. In a group that spans nodes of GPUs those of a node share what
        leaves it.

        Args:
          count: devices of the group.
          spans: among how many slices or nodes they are.
        """
        chip = self.chip
        if not self.is_tpu:
            return chip.link if spans == 1 else min(chip.link, chip.network * count / spans)
        if spans > 1:
            return chip.network / chip.devices
        held, rate = chip.devices, 0.0
        for size in sorted(self.shape, reverse=True):
            rate += chip.link * (2 if self._is_ring(size) else 1)
            held *= size
            if held >= count:
                break
        return rate / chip.devices

    def spans(self, members: Iterable[int]) -> int:
        """Among how many slices or nodes devices are, by their places in the mesh.

        It is filled slice by slice.
        """
        return len({member // self.slice_devices for member in members})

    def _is_ring(self, size: int) -> bool:
        return size % 4 == 0 if self.chip.torus == 3 else size >= 16

    def describe(self) -> Any:
        """jax's description, from the TPU compiler.

        Raises:
          UserError: if the compiler knows no such slice.
        """
        import jax
        from jax.experimental import topologies

        options: dict[str, Any] = {}
        if self.chip_name == "v4":  # else its cores are two devices of half the memory
            options["chip_config_name"] = "megacore"
        if math.prod(self.shape) == 1:
            options["chips_per_host_bounds"] = (1, 1, 1)
        if self.slices > 1:
            options["num_slices"] = self.slices
        shape = "x".join(map(str, self.shape))
        try:
            return topologies.get_topology_desc(
                platform="tpu", topology_name=f"{self.chip_name}:{shape}", **options
            )
        except jax.errors.JaxRuntimeError as error:
            raise UserError(
                f"--topology={self.name}: the compiler refuses it"
                f" ({str(error).splitlines()[0][:200]}); there are: {_listed(self.chip_name)}"
            ) from None


def parse_topology(text: str | None, slices: int = 1) -> Topology:
    """The topology of `--topology=text`.

    Args:
      text: CHIP:SHAPE, the shape in chips, 8x8x16; of GPUs how many, or NODESxGPUS. With *N behind
        it there are N of them.
      slices: of `--slices`, another way to say N.

    Raises:
      UserError: for a chip or a shape that there is not.
    """
    if not text:
        raise UserError("--topology is missing, for example --topology=v5p:4x4x4 or h100:8")
    chip_name, colon, shape = text.partition(":")
    if not colon and chip_name in CHIPS:
        raise UserError(f"--topology={text} has no shape; there are: {_listed(chip_name)}")
    chip_name = {"a100": "a100-80", "v5litepod": "v5e", "v7x": "tpu7x"}.get(chip_name, chip_name)
    choose(chip_name, CHIPS, "the chip of --topology")
    found = re.fullmatch(r"(\d+(?:x\d+){0,2})(?:\*(\d+))?", shape)
    sizes = tuple(map(int, found[1].split("x"))) if found else ()
    if found is None or not all(sizes) or slices < 1 or found[2] == "0":
        raise UserError(f"--topology={text} is no shape; there are: {_listed(chip_name)}")
    slices *= int(found[2] or 1)
    if CHIPS[chip_name].torus:
        return Topology(text, chip_name, _slice_shape(text, chip_name, sizes, found[1]), slices)
    per_node = CHIPS[chip_name].host_chips
    if len(sizes) == 1 and sizes[0] > per_node and sizes[0] % per_node == 0:
        sizes = (sizes[0] // per_node, per_node)
    if len(sizes) > 2 or sizes[-1] > per_node:
        raise UserError(
            f"--topology={text}: nodes have up to {per_node} GPUs; give {chip_name}:{per_node}, or"
            f" {chip_name}:4x{per_node} for 4 nodes"
        )
    nodes = sizes[0] if len(sizes) == 2 else 1
    return Topology(text, chip_name, sizes[-1:], nodes * slices)


def _slice_shape(text: str, chip_name: str, sizes: tuple[int, ...], shape: str) -> tuple[int, ...]:
    known = [tuple(map(int, name.split("x"))) for name in SHAPES[chip_name]]
    same = [other for other in known if sorted(other) == sorted(sizes)]
    if same or (len(sizes) == 2 and sizes == (1, 1) and chip_name in ("v5e", "v6e")):
        return sizes
    largest = sorted(known[-1])
    in_cubes = CHIPS[chip_name].torus == len(sizes) == 3 and all(size % 4 == 0 for size in sizes)
    if in_cubes and all(a <= b for a, b in zip(sorted(sizes), largest, strict=True)):
        return sizes
    hint = nearest(shape, SHAPES[chip_name]) if len(sizes) == CHIPS[chip_name].torus else ""
    hint = hint if "did you mean" in hint else ""
    raise UserError(
        f"--topology={text}: no slice of {chip_name} has this shape{hint or ';'} there are:"
        f" {_listed(chip_name)}"
    )


def _listed(chip_name: str) -> str:
    if not CHIPS[chip_name].torus:
        return f"{chip_name}:8 for a node, {chip_name}:4x8 for four"
    cubes = ", and others of multiples of 4" if CHIPS[chip_name].torus == 3 else ""
    return ", ".join(SHAPES[chip_name]) + cubes
