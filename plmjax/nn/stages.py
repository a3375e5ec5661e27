"""The layers of a stack in stages, where the mesh has a pipeline."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

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
      parts: one with parameters that are not shared, or any number with blocks that are alike and
        parameters that are.
      run_of: makes what a run does: from a block, x and numbers [k] to x and its outputs [k, ...].
      x, visible, train: as of `Stack`.

    Returns:
      x, and the outputs of all layers.
    """
    block = parts[0].block
    params = [nn.meta.unbox(part.block.variables["params"]) for part in parts]
    layers = {"numbers": np.concatenate([part.numbers for part in parts]), "keys": _keys(parts)}
    shared = {"visible": visible.replace(**dict.fromkeys(visible.BY_ROW))}
    if parts[0].shared:
        lengths = [len(part.numbers) for part in parts]
        layers["group"] = np.repeat(np.arange(len(parts)), lengths)
        shared["params"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    else:
        (layers["params"],) = params
    if train is True:
        train = jnp.arange(len(jax.tree.leaves(x)[0]))
    rows = {name: getattr(visible, name) for name in visible.BY_ROW}

    def run_stage(layers: Any, shared: Any, x: Any, given: Any) -> tuple[Any, Any]:
        rows, numbers = given
        run = run_of(shared["visible"].replace(**rows), train is not False and numbers)

        def step(x: Any, layer: Any) -> tuple[Any, Any]:
            own = layer.get("params")
            if own is None:
                own = jax.tree.map(lambda group: group[layer["group"]], shared["params"])
            rngs = None if layer["keys"] is None else {"dropout": layer["keys"]}
            return nn.apply(run, block)({"params": own}, x, layer["numbers"], rngs=rngs)

        x, outputs = jax.lax.scan(step, x, layers)
        return x, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

    layers = jax.tree.map(jnp.asarray, layers)
    return through_stages(run_stage, layers, shared, x, (rows, None if train is False else train))


def _keys(parts: Sequence[Repeated]) -> jax.Array | None:
    """The key of dropout of every run, as `nn.scan` splits it; None without."""
    if not parts[0].block.has_rng("dropout"):
        return None
    rngs = [part.block.scope.rngs["dropout"].as_jax_rng() for part in parts]
    keys = [jax.random.split(rng, len(part.numbers)) for rng, part in zip(rngs, parts, strict=True)]
    return jnp.concatenate(keys)
