"""Bytes a device needs, counted without a compiler.

What a backward pass keeps of the forward pass is asked of jax, which traces the real objective on
shapes; how it is split is taken from the mesh. The compiler, which fuses and reuses, needs less for
some and more for others: see tests/test_plan.py for how far the two are apart.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.train.carried import applied, fresh_carried
from plmjax.train.state import dummy_batch
from plmjax.types import Spec

WITHIN = ("sequence", "tensor")
"""The axes that split a row: layers by length, heads or width, logits by vocabulary."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """An array of the state: shape, bytes of an element, and the mesh axes that split each axis."""

    shape: tuple[int, ...]
    itemsize: int
    axes: tuple[tuple[str, ...], ...]

    def local(self, sizes: Mapping[str, int]) -> int:
        """Bytes a device, where the mesh has these sizes."""
        ways = [math.prod(sizes[axis] for axis in axes) for axes in self.axes]
        parts = (-(-size // by) for size, by in zip(self.shape, ways, strict=True))
        return self.itemsize * math.prod(parts)

    @property
    def whole(self) -> int:
        """Bytes in all."""
        return self.itemsize * math.prod(self.shape)


def leaves(tree: Any) -> tuple[Leaf, ...]:
    """The arrays of a tree of ShapeDtypeStructs that have NamedShardings."""

    def names(entry: Any) -> tuple[str, ...]:
        return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)

    found = []
    for leaf in jax.tree.leaves(tree):
        spec = (*leaf.sharding.spec, *[None] * leaf.ndim)[: leaf.ndim]
        found.append(Leaf(leaf.shape, leaf.dtype.itemsize, tuple(map(names, spec))))
    return tuple(found)


def local_bytes(found: tuple[Leaf, ...], sizes: Mapping[str, int]) -> int:
    """Bytes a device of all of them."""
    return sum(leaf.local(sizes) for leaf in found)


def local_elements(found: tuple[Leaf, ...], sizes: Mapping[str, int]) -> int:
    """Elements a device of all of them."""
    return sum(leaf.local(sizes) // leaf.itemsize for leaf in found)


@dataclasses.dataclass(frozen=True)
class Kept:
    """Bytes that are kept of a forward pass for its backward pass, unsplit.

    row: of each row of the batch. logits: of that, arrays as wide as the vocabulary.
    """

    row: float
    logits: float


def kept(objective: nn.Module, spec: Spec) -> Kept:
    """What the backward pass keeps, by tracing it; nothing is computed.

    Two traces, of one row and of two, tell what grows with the batch from what does not: weights.
    """
    wide = _vocabulary_rows(objective)

    def of_rows(rows: int) -> tuple[float, float]:
        small = {name: ((rows, *shape[1:]), dtype) for name, (shape, dtype) in spec.items()}
        batch = dummy_batch(small)
        params = jax.eval_shape(lambda: objective.init(jax.random.key(0), batch, train=False))

        def backward(params: Any) -> Any:
            def loss(params: Any) -> jax.Array:
                rngs, carried = {"dropout": jax.random.key(0)}, fresh_carried(objective, small)
                train = jnp.arange(rows)
                found, _ = applied(objective, params["params"], carried, batch, train, rngs)
                return sum(term.sum for term in found.terms.values())

            return jax.vjp(loss, params)[1]

        arrays = jax.tree.leaves(jax.eval_shape(backward, nn.meta.unbox(params)))
        sizes = [(x.size * x.dtype.itemsize, x.ndim > 1 and x.shape[-1] == wide) for x in arrays]
        return sum(size for size, _ in sizes), sum(size for size, is_wide in sizes if is_wide)

    (one, one_wide), (two, two_wide) = of_rows(1), of_rows(2)
    return Kept(two - one, two_wide - one_wide)


def _vocabulary_rows(objective: nn.Module) -> int:
    config = objective.backbone.config
    return -(-config.vocab_size // config.vocab_multiple) * config.vocab_multiple


def bubble(stages: int, passes: int) -> float:
    """How many times as long stages take as their own work does, waiting included."""
    return (passes + stages - 1) / passes


@dataclasses.dataclass(frozen=True)
class Needed:
    """Bytes a device needs at the peak of a train step, by what for."""

    parameters: float
    optimizer: float
    gradients: float
    activations: float
    gathered: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.parameters + self.optimizer + self.temporary

    @property
    def temporary(self) -> float:
        """What is there only during a step."""
        return self.gradients + self.activations + self.gathered


def needed(
    parameters: tuple[Leaf, ...],
    optimizer: tuple[Leaf, ...],
    policies: Mapping[str, Kept],
    remat: str,
    layers: int,
    rows: float,
    sizes: Mapping[str, int],
    residual_axes: tuple[str, ...],
    accumulate: int,
    passes: int,
) -> Needed:
    """What a train step needs.

    Args:
      parameters, optimizer: of the state.
      policies: what is kept, by policy; `remat`, `none`, and `full`, which is the residual.
      remat: the policy.
      layers: N, of all stacks.
      rows: of a microbatch that a device has.
      sizes: of the mesh. residual_axes: those of its axes that split the residual.
      accumulate: number of microbatches.
      passes: microbatches that pass through the stages of a pipeline. A stage has a part of the
        layers and the rows of all stages, and keeps them of every tick, those it waits in too.
    """
    within = math.prod(sizes[axis] for axis in WITHIN)
    local = local_bytes(parameters, sizes)
    # The backward pass of a layer has what it computes again, and gradients of as much.
    everything, found = policies["none"], policies[remat]
    layer = (everything.row - everything.logits) / max(layers, 1)
    # Of logits and their softmax, which jax keeps both, compilers keep one.
    residual = policies["full"].row - everything.logits
    split = math.prod(sizes[axis] for axis in residual_axes)
    inner = found.row + layer - everything.logits / 2 - residual
    activations = rows * (residual / split + inner / within) * bubble(sizes["pipeline"], passes)
    # The layer that is computed and the next one, whole but for tensor, in two bytes an element.
    whole = local_elements(parameters, {**sizes, "fsdp": 1})
    gathered = 2 * 2 * whole / max(layers, 1) if sizes["fsdp"] > 1 else 0.0
    return Needed(
        parameters=local,
        optimizer=local_bytes(optimizer, sizes),
        gradients=local * (2 if accumulate > 1 else 1),
        activations=activations,
        gathered=gathered,
    )
