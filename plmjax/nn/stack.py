"""A stack of blocks: scanned, so that compile time does not grow with depth."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from plmjax.nn.efficient.linformer import shared_projection
from plmjax.nn.visible import Visible
from plmjax.parallel.rules import LAYERS
from plmjax.types import Train

REMAT_POLICIES = {
    "none": None,
    "attention": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What the backward pass keeps of each layer, and what it computes again; from much to little.

none: everything is kept.
attention: all but what attention has for pairs of places, [L, M], which is cheap to compute and
  large (Megatron-LM's selective recomputation, Korthikanti et al. 2022). Of kinds of attention
  without pairs, what stands between the projections.
dots: the layer's input and the results of matrix products with weights.
full: the layer's input; a third more work.
"""


def subtrees(
    layers: Sequence[Hashable], scan: bool, groups: int = 0
) -> dict[str, int | tuple[int, ...]]:
    """Where a stack keeps its parameters: each subtree's path, and which layers it has.

    A number where the subtree is one layer's (or one group's), a tuple where the parameters of
    several are stacked on a leading axis.

    Args:
      layers: the settings of each layer.
      scan, groups: as of `Stack`.
    """
    if groups:
        return {f"group_{group}": group for group in range(groups)}
    if not scan:
        return {f"layer_{index}": index for index in range(len(layers))}
    first, period = repetition(layers)
    found: dict[str, int | tuple[int, ...]] = {f"layer_{index}": index for index in range(first)}
    for offset in range(period if first < len(layers) else 0):
        path = "layers" if period == 1 else f"layers/blocks_{offset}"
        found[path] = tuple(range(first + offset, len(layers), period))
    return found


def repetition(layers: Sequence[Hashable]) -> tuple[int, int]:
    """After how many layers the rest repeats, and every how many.

    Of all ways the one with the fewest layers written out: (0, 1) where all are equal, (1, 3) for
    ModernBERT's, whose first has no norm and of whose other 21 every third sees everything.
    """
    ways = [
        (first, period)
        for first in range(len(layers))
        for period in range(1, len(layers) - first + 1)
        if (len(layers) - first) % period == 0
        and all(layers[i] == layers[i + period] for i in range(first, len(layers) - period))
    ]
    return min(ways, key=lambda way: (sum(way), way[0]))


class Stack(nn.Module):
    """Blocks in a row, one for each of `layers`.

    With `scan` the parameters of layers that repeat are stacked on a leading axis named LAYERS;
    without, each has a subtree of its own (the same mathematics, and what tests compare the scan
    with). `subtrees` says which is where. Dropout is drawn independently for each layer either way.

    With `groups` (ALBERT) layers share parameters: layer i has those of group
    floor(i * groups / num_layers).

    Collections `cache` and `memory`, where blocks use them, are stacked as parameters are.

    Attributes:
      make_block: from a layer's settings and a name to a module that is called with the residual
        (or a tree of arrays), Visible and `train`.
    """

    make_block: Callable[..., nn.Module]
    layers: Sequence[Hashable]
    scan: bool
    remat: str
    groups: int = 0

    @nn.compact
    def __call__(
        self, x_BLD: Any, visible: Visible, train: Train, all_hidden: bool
    ) -> tuple[Any, Any]:
        """Runs the layers.

        Args:
          x_BLD: float, the embeddings.
          visible: which keys may be attended to.
          train: whether dropout is on.
          all_hidden: whether to return every layer's output too.

        Returns:
          The last layer's output [B, L, D], and None or all outputs [N, B, L, D].
        """

        shared = shared_projection(self, self.layers[0])
        if shared is not None:
            visible = visible.replace(shared=shared)

        def body(block: nn.Module, x_BLD: Any, number: jax.Array):
            x_BLD = block(x_BLD, visible.replace(layer=number), train)
            return x_BLD, (x_BLD if all_hidden else None)

        if REMAT_POLICIES[self.remat] is not None:
            # A scan body is compiled once anyway, so common subexpressions cannot undo the remat.
            body = nn.remat(body, policy=REMAT_POLICIES[self.remat], prevent_cse=not self.scan)
        outputs = []

        def run(block: nn.Module, number: int):
            nonlocal x_BLD
            x_BLD, output = body(block, x_BLD, jnp.asarray(number))
            outputs.append(jax.tree.map(lambda x: x[None], output))

        def run_scanned(block: nn.Module, body: Callable, numbers: jax.Array, shared: bool = False):
            nonlocal x_BLD
            axes = {"cache": 0, "memory": 0} | ({} if shared else {"params": 0})
            scanned = nn.scan(
                body,
                variable_axes=axes,
                variable_broadcast="params" if shared else False,
                split_rngs={"params": not shared, "dropout": True},
                length=len(numbers),
                metadata_params={nn.PARTITION_NAME: LAYERS},
            )
            x_BLD, output = scanned(block, x_BLD, numbers)
            outputs.append(output)

        if self.groups:
            self._run_groups(run, run_scanned, body)
        elif not self.scan:
            for index, settings in enumerate(self.layers):
                run(self.make_block(settings, name=f"layer_{index}"), index)
        else:
            _, period = self._run_repeated(run, run_scanned, body)
            if period > 1:
                outputs[-1] = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs[-1])
        if not all_hidden:
            return x_BLD, None
        return x_BLD, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)

    def _run_repeated(
        self, run: Callable, run_scanned: Callable, body: Callable
    ) -> tuple[int, int]:
        """The layers that do not repeat, then a scan of those that do; returns `repetition`."""
        first, period = repetition(self.layers)
        for index in range(first):
            run(self.make_block(self.layers[index], name=f"layer_{index}"), index)
        numbers = jnp.arange(first, len(self.layers))
        if period == 1:
            run_scanned(self.make_block(self.layers[first], name="layers"), body, numbers)
        else:
            block = _Period(self.make_block, self.layers[first : first + period], name="layers")
            run_scanned(block, _each(body), numbers.reshape(-1, period))
        return first, period

    def _run_groups(self, run: Callable, run_scanned: Callable, body: Callable) -> None:
        """The layers with parameters that they share."""
        count = len(self.layers)
        of_layers = [number * self.groups // count for number in range(count)]
        for group in range(self.groups):
            first, length = of_layers.index(group), of_layers.count(group)
            block = self.make_block(self.layers[first], name=f"group_{group}")
            if self.scan:
                run_scanned(block, body, jnp.arange(first, first + length), shared=True)
            else:
                for number in range(first, first + length):
                    run(block, number)


class _Period(nn.Module):
    """The blocks of a scan whose body is several layers."""

    make_block: Callable[..., nn.Module]
    layers: Sequence[Hashable]

    def setup(self):
        self.blocks = [self.make_block(settings) for settings in self.layers]


def _each(body: Callable) -> Callable:
    """The body of a scan over periods, from that of one layer."""

    def of_period(period: _Period, x: Any, numbers: jax.Array):
        outputs = []
        for block, number in zip(period.blocks, numbers, strict=True):
            x, output = body(block, x, number)
            outputs.append(output)
        return x, jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)

    return of_period
