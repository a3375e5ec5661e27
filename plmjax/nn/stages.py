"""The layers of a stack in stages, where the mesh has a pipeline."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core.scope import LazyRng

from plmjax.nn.visible import Visible
from plmjax.parallel.pipeline import through_stages
from plmjax.types import Train


@dataclasses.dataclass(frozen=True)
class Repeated:
    """A block that runs several times.

    block: bound to its parameters.
    numbers: int [n, k], of the k layers that each of n runs is.
    shared: whether all runs have the same parameters, or each its own on a leading axis.
    """

    block: nn.Module
    numbers: np.ndarray
    shared: bool


def in_stages(
    parts: Sequence[Repeated],
    run_of: Callable[[Visible, Train], Callable],
    x: Any,
    visible: Visible,
    train: Train,
) -> tuple[Any, Any]:
    """Runs parts in a row, stage by stage, as scans would: with the same dropout.

    Args:
      parts: one with parameters that are not shared, or any number with parameters that are.
      run_of: makes what a run does: from a block, x and numbers [k] to x and its outputs [k, ...].
      x, visible, train: as of `Stack`.

    Returns:
      x, and the outputs of all layers.
    """
    params = [nn.meta.unbox(part.block.variables["params"]) for part in parts]
    numbers = np.concatenate([part.numbers for part in parts])
    of_runs = np.repeat(np.arange(len(parts)), [len(part.numbers) for part in parts])
    layers = {"numbers": jnp.asarray(numbers), "part": jnp.asarray(of_runs), "key": _keys(parts)}
    shared = {"visible": visible.replace(**dict.fromkeys(visible.BY_ROW))}
    (shared if parts[0].shared else layers)["params"] = params
    if train is True:
        train = jnp.arange(len(jax.tree.leaves(x)[0]))
    rows = {name: getattr(visible, name) for name in visible.BY_ROW}

    def run_stage(layers: Any, shared: Any, x: Any, given: Any) -> tuple[Any, Any]:
        rows, numbers = given
        run = run_of(shared["visible"].replace(**rows), train is not False and numbers)

        def of_part(part: int, x: Any, layer: Any) -> tuple[Any, Any]:
            block = parts[part].block
            params = layer.get("params") or shared["params"]
            rngs = {}
            if layer["key"] is not None:
                # A scan splits the key that was given from outside, and keeps the path to it.
                path = block.scope.rngs["dropout"].suffix
                rngs = {"dropout": LazyRng.create(layer["key"], *path)}
            return nn.apply(run, block)({"params": params[part]}, x, layer["numbers"], rngs=rngs)

        def step(x: Any, layer: Any) -> tuple[Any, Any]:
            runs = [functools.partial(of_part, part) for part in range(len(parts))]
            return jax.lax.switch(layer["part"], runs, x, layer)

        x, outputs = jax.lax.scan(step, x, layers)
        return x, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

    return through_stages(run_stage, layers, shared, x, (rows, None if train is False else train))


def _keys(parts: Sequence[Repeated]) -> jax.Array | None:
    """The key of dropout of every run, as `nn.scan` splits it; None without."""
    if not parts[0].block.has_rng("dropout"):
        return None
    keys = [
        jax.random.split(part.block.scope.rngs["dropout"].rng, len(part.numbers)) for part in parts
    ]
    return jnp.concatenate(keys)
