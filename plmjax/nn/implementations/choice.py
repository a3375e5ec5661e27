"""Which implementation computes an attention, and what each of them cannot do."""

import dataclasses
import functools
import sys
from typing import Any

import jax

from plmjax.errors import UserError
from plmjax.nn.implementations.splash import LANES

IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash")
"""The names that configs use; `auto` takes what the devices and the call allow."""

SHORT = 512
"""Keys of a row below which `auto` leaves TPUs to XLA. A choice, not a measurement: the scores of
short rows are few, and a kernel of one block a head has little to save."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a call asks for; all of it is known when it is traced.

    device: of the mesh, with `platform` (cpu, gpu or tpu) and `device_kind`.
    rows, queries, keys, heads, head_size: B, L, M, H, K.
    row_parts, head_parts, key_parts: into how many parts the mesh splits B, H and M.
    dtype: of queries, keys and values.
    dropout: of probabilities; 0 where it is off.
    relative: whether scores get something for how far keys are from queries (T5, NEZHA).
    cached: whether keys and values are kept from call to call.
    gathered: whether the mesh splits the queries of a row, and not the keys.
    near: whether a window is so narrow that XLA computes it in blocks.
    """

    device: Any
    rows: int
    queries: int
    keys: int
    heads: int
    head_size: int
    row_parts: int
    head_parts: int
    key_parts: int
    dtype: str
    dropout: float
    relative: bool
    cached: bool
    gathered: bool
    near: bool


def current_device() -> Any:
    """What the devices of the mesh are, or of this process without one."""
    return jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]


def choose(name: str, asked: Asked) -> str:
    """The implementation that computes a call: `xla`, `cudnn` or `splash`.

    Args:
      name: one of IMPLEMENTATIONS. With `auto` what cannot be done is left to XLA, and one line on
        stderr says so, once a process and reason.
      asked: for what.

    Raises:
      UserError: if the one that is named cannot do it.
    """
    if name == "auto":
        name = {"gpu": "cudnn", "tpu": "splash"}.get(asked.device.platform, "xla")
        reason = cannot(name, asked) or _pays_not(name, asked)
        if reason is None:
            return name
        _say_once(f"Attention: {name} is not used, XLA computes it: {reason}.")
        return "xla"
    check("attention_implementation", name, "auto or xla", asked)
    return name


def check(setting: str, name: str, others: str, asked: Asked) -> None:
    """Raises a UserError if what `config.model.SETTING` names cannot do what is asked for."""
    if (reason := cannot(name, asked)) is not None:
        raise UserError(f"config.model.{setting}='{name}' does not work: {reason}; choose {others}")


def cannot(name: str, asked: Asked) -> str | None:
    """Why an implementation, or `ring`, cannot do what is asked for; None if it can."""
    a = asked
    if name == "xla":
        return None
    of_all = (
        (
            a.dropout > 0,
            f"probabilities have dropout in training, config.model.attention_dropout={a.dropout}",
        ),
        (a.relative, "scores have relative positions, a number of their own for every pair"),
        (a.cached, "keys and values are kept in a cache"),
        (a.rows % a.row_parts, f"{a.rows} rows do not divide by the mesh's {a.row_parts} parts"),
        (a.heads % a.head_parts, f"{a.heads} heads do not divide by {a.head_parts} devices"),
    )
    reasons = (*_REASONS[name](a), *of_all)
    return next((reason for holds, reason in reasons if holds), None)


def _of_splash(a: Asked) -> tuple[tuple[Any, str], ...]:
    kind, whole = a.device.device_kind, a.queries % LANES == a.keys % LANES == 0
    return (
        (a.device.platform != "tpu", f"it runs on TPUs, and the devices are {kind}"),
        (a.gathered, _GATHERED),
        (not whole, f"rows of {a.queries} queries and {a.keys} keys are no multiples of {LANES}"),
    )


def _of_cudnn(a: Asked) -> tuple[tuple[Any, str], ...]:
    kind, wide, capability = a.device.device_kind, a.head_size, _capability()
    is_nvidia = a.device.platform == "gpu" and "amd" not in kind.lower()
    return (
        (not is_nvidia, f"it runs on NVIDIA GPUs, and the devices are {kind}"),
        (capability < 8.0, f"it needs compute capability 8.0, and {kind} has {capability}"),
        (a.gathered, _GATHERED),
        (a.dtype == "float32", f"it has no config.model.dtype='{a.dtype}', but bfloat16"),
        (wide % 8 or wide > 128, f"heads are {wide} wide, and it takes multiples of 8 up to 128"),
    )


def _of_ring(a: Asked) -> tuple[tuple[Any, str], ...]:
    split = a.queries % a.key_parts == a.keys % a.key_parts == 0
    rows = f"rows of {a.queries} queries and {a.keys} keys"
    return ((not split, f"{rows} do not divide by the mesh's {a.key_parts} parts"),)


_GATHERED = "the queries of a row are split, config.model.sequence_attention='gather'"
_REASONS = {"splash": _of_splash, "cudnn": _of_cudnn, "ring": _of_ring}


def _capability() -> float:
    """Of this machine's GPU; a program for GPUs that are not here takes them to be new enough."""
    if jax.default_backend() != "gpu":
        return 8.0
    return float(getattr(jax.devices()[0], "compute_capability", 8.0))


def _pays_not(name: str, asked: Asked) -> str | None:
    """Why `auto` does not take what could be taken."""
    if name == "splash" and asked.keys < SHORT:
        return f"rows of {asked.keys} places are short"
    if name == "cudnn" and asked.near:
        return "a narrow window is computed in blocks"
    return None


@functools.cache
def _say_once(line: str) -> None:
    # Not on stdout, where some verbs print JSON, and not as a warning, which would be one a layer.
    print(line, file=sys.stderr, flush=True)
