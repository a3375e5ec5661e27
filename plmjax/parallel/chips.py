"""Published peaks of accelerators."""

PEAK_BF16_FLOPS: dict[str, float] = {
    # cloud.google.com/tpu/docs, the page of each version: bf16 peak of a chip
    "TPU v2": 45e12,
    "TPU v3": 123e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    # NVIDIA's data sheets: dense bf16 on tensor cores, without sparsity
    "NVIDIA V100": 125e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L4": 121e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "Tesla V100": 125e12,
    "Tesla T4": 65e12,
}
"""FLOP/s of a chip by the beginning of its `device_kind`. A TPU v2 or v3 chip is two devices."""

DEVICES_PER_CHIP = {"TPU v2": 2, "TPU v3": 2}


def peak_flops(device_kind: str) -> float | None:
    """The bf16 peak of one jax device in FLOP/s; None where none is published, as for CPUs."""
    fitting = [name for name in PEAK_BF16_FLOPS if device_kind.startswith(name)]
    if not fitting:
        return None
    name = max(fitting, key=len)
    return PEAK_BF16_FLOPS[name] / DEVICES_PER_CHIP.get(name, 1)
