"""Published peaks of accelerators: the one table of them."""

import dataclasses
import types
from collections.abc import Mapping

GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """What is published of a chip. Rates are a second, and of the whole chip.

    kinds: how the `device_kind` of its jax devices begins.
    flops: bfloat16 operations of its matrix units, without sparsity.
    memory: bytes of HBM, and `bandwidth` bytes that it reads or writes.
    link: bytes one way over one link to a neighbour of the torus; of a GPU over all of its NVLinks.
    torus: dimensions of the network of links; 0 where a switch joins the GPUs of a node.
    network: bytes one way between slices or nodes.
    host_chips: of a host. host_memory: bytes of a host's memory for each of its chips; 0 where that
      is not known.
    devices: jax devices of a chip.
    """

    kinds: tuple[str, ...]
    flops: float
    memory: float
    bandwidth: float
    link: float
    torus: int
    network: float
    host_chips: int
    host_memory: float = 0.0
    devices: int = 1


CHIPS: Mapping[str, Chip] = types.MappingProxyType(
    {
        # TPUs. flops, memory, bandwidth, torus: cloud.google.com/tpu/docs, the page of each version
        # (v2's not looked up again). link and network: jax-ml.github.io/scaling-book/tpus, the
        # table of one-way link bandwidths, where nothing else is said. v2 has two devices a chip,
        # as v3 and tpu7x; the cores of v4 and v5p are one device.
        "v2": Chip(
            kinds=("TPU v2",),
            flops=45e12,
            memory=16 * GIB,
            bandwidth=700e9,
            link=62e9,  # not verified: Jouppi et al. 2020 (CACM 63/7), 496 Gbit/s
            torus=2,
            network=3.125e9,  # not verified: taken to be v5e's
            host_chips=4,
            devices=2,
        ),
        "v3": Chip(
            kinds=("TPU v3",),
            flops=123e12,
            memory=32 * GIB,
            bandwidth=900e9,
            link=70e9,  # not verified: Jouppi et al. 2023 (arXiv 2304.01433); scaling-book has 100
            torus=2,
            network=3.125e9,  # not verified: taken to be v5e's
            host_chips=4,
            devices=2,
        ),
        "v4": Chip(
            kinds=("TPU v4",),
            flops=275e12,
            memory=32 * GIB,
            bandwidth=1200e9,
            link=45e9,
            torus=3,
            network=6.25e9,
            host_chips=4,
        ),
        "v5e": Chip(
            kinds=("TPU v5 lite", "TPU v5e"),
            flops=197e12,
            memory=16 * GIB,
            bandwidth=819e9,
            link=45e9,  # the page has 400 GB/s both ways over 4 ports
            torus=2,
            network=3.125e9,  # the page: 6.4 Tbit/s a pod of 256
            host_chips=8,
            host_memory=64 * GIB,
        ),
        "v5p": Chip(
            kinds=("TPU v5", "TPU v5p"),
            flops=459e12,
            memory=95 * GIB,
            bandwidth=2765e9,
            link=90e9,  # the page has 1200 GB/s both ways over 6 ports
            torus=3,
            network=6.25e9,  # the page: 50 Gbit/s a chip
            host_chips=4,
            host_memory=112e9,
        ),
        "v6e": Chip(
            kinds=("TPU v6 lite", "TPU v6e"),
            flops=918e12,
            memory=32 * GIB,
            bandwidth=1640e9,
            link=90e9,  # the page has 800 GB/s both ways over 4 ports
            torus=2,
            network=12.5e9,  # the page: 25.6 Tbit/s a pod of 256
            host_chips=8,
            host_memory=192 * GIB,
        ),
        "tpu7x": Chip(
            kinds=("TPU7x",),
            flops=2307e12,
            memory=192 * GIB,
            bandwidth=7380e9,
            link=90e9,
            torus=3,
            network=12.5e9,
            host_chips=4,
            devices=2,
        ),
        # NVIDIA: flops, memory, bandwidth and NVLink (half of the published sum of both ways) of
        # the SXM boards by their data sheets (nvidia.com/data-center, the page of each; read in
        # jax-ml.github.io/scaling-book/gpus and others' copies, not at NVIDIA's own). network: the
        # InfiniBand ports of a DGX of that generation, a share for each GPU; not verified.
        "v100": Chip(
            kinds=("NVIDIA V100", "Tesla V100"),
            flops=125e12,  # float16: it has no bfloat16
            memory=32e9,
            bandwidth=900e9,
            link=150e9,
            torus=0,
            network=6.25e9,
            host_chips=8,
        ),
        "a100-40": Chip(
            kinds=("NVIDIA A100", "NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"),
            flops=312e12,
            memory=40e9,
            bandwidth=1555e9,
            link=300e9,
            torus=0,
            network=25e9,
            host_chips=8,
        ),
        "a100-80": Chip(
            kinds=("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB"),
            flops=312e12,
            memory=80e9,
            bandwidth=2039e9,
            link=300e9,
            torus=0,
            network=25e9,
            host_chips=8,
        ),
        "h100": Chip(
            kinds=("NVIDIA H100",),
            flops=989e12,
            memory=80e9,
            bandwidth=3350e9,
            link=450e9,
            torus=0,
            network=50e9,
            host_chips=8,
        ),
        "h200": Chip(
            kinds=("NVIDIA H200",),
            flops=989e12,
            memory=141e9,
            bandwidth=4800e9,
            link=450e9,
            torus=0,
            network=50e9,
            host_chips=8,
        ),
        "b200": Chip(
            kinds=("NVIDIA B200",),
            flops=2250e12,
            memory=180e9,
            bandwidth=7700e9,
            link=900e9,
            torus=0,
            network=50e9,
            host_chips=8,
        ),
        # Without NVLink: link is PCIe's, one way.
        "l4": Chip(
            kinds=("NVIDIA L4",),
            flops=121e12,
            memory=24e9,
            bandwidth=300e9,
            link=32e9,
            torus=0,
            network=12.5e9,
            host_chips=8,
        ),
        "t4": Chip(
            kinds=("Tesla T4", "NVIDIA T4"),
            flops=65e12,  # float16: it has no bfloat16
            memory=16e9,
            bandwidth=320e9,
            link=16e9,
            torus=0,
            network=12.5e9,
            host_chips=4,
        ),
    }
)
"""By the name that topologies have: v5p:8x8x16, h100:8."""


def chip_of(device_kind: str) -> Chip | None:
    """The chip of a jax device; None where nothing is published, as of CPUs."""
    fitting = [
        (len(kind), name)
        for name, chip in CHIPS.items()
        for kind in chip.kinds
        if device_kind.startswith(kind)
    ]
    return CHIPS[max(fitting)[1]] if fitting else None


def peak_flops(device_kind: str) -> float | None:
    """The bf16 peak of one jax device in FLOP/s; None where none is published, as for CPUs."""
    chip = chip_of(device_kind)
    return chip.flops / chip.devices if chip else None
