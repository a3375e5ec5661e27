"""A stack of blocks: scanned, so that compile time does not grow with depth."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from plmjax.errors import UserError
from plmjax.nn.efficient.linformer import shared_projection
from plmjax.nn.stages import Repeated, in_stages
from plmjax.nn.visible import Visible
from plmjax.parallel.pipeline import stages
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


def unstacked(tree: Any) -> Any:
    """Parameters of a model with `scan` as the same model without has them; see `subtrees`."""
    if not isinstance(tree, Mapping):
        return tree
    if "layers" not in tree:
        return {name: unstacked(part) for name, part in tree.items()}
    found = {name: part for name, part in tree.items() if name != "layers"}
    stacked, first = tree["layers"], len(found)
    period = sum(name.startswith("blocks_") for name in stacked)
    blocks = [stacked[f"blocks_{offset}"] for offset in range(period)] if period else [stacked]
    for offset, block in enumerate(blocks):
        for repeat in range(len(jax.tree.leaves(block)[0])):
            layer = jax.tree.map(lambda x, repeat=repeat: x[repeat], block)
            found[f"layer_{first + repeat * len(blocks) + offset}"] = layer
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


def check_stages(layers: Sequence[Hashable], scan: bool, groups: int, stages: int) -> None:
    """Raises a UserError if layers cannot be cut into so many stages.

    Args:
      layers: the settings of each layer.
      scan, groups: as of `Stack`.
      stages: of the pipeline.
    """
    if stages > 1 and not scan:
        raise UserError(
            f"config.model.scan=False keeps each layer for itself, which config.mesh.pipeline="
            f"{stages} cannot cut into stages; set scan to True"
        )
    first, period = (0, 1) if groups else repetition(layers)
    repeats = (len(layers) - first) // period
    if repeats % stages:
        fitting = ", ".join(str(count) for count in range(1, repeats + 1) if repeats % count == 0)
        counted = f"{repeats} times {period} layers" if period > 1 else f"{repeats} layers"
        raise UserError(
            f"config.mesh.pipeline={stages} cannot cut a stack of {counted} into equal stages; set"
            f" it to one of {fitting}, or config.model.num_layers to fit"
        )


class Stack(nn.Module):
    """Blocks in a row, one for each of `layers`.

    With `scan` the parameters of layers that repeat are stacked on a leading axis named LAYERS;
    without, each has a subtree of its own (the same mathematics, and what tests compare the scan
    with). `subtrees` says which is where. Dropout is drawn independently for each layer either way.

    With `groups` (ALBERT) layers share parameters: layer i has those of group
    floor(i * groups / num_layers).

    Collections `cache` and `memory`, where blocks use them, are stacked as parameters are.

    Where the mesh has a pipeline, layers that repeat run in stages (`plmjax.parallel.pipeline`) and
    those before them run everywhere, with its part of the batch each. Calls with a cache or a
    memory do without the stages, and gather the parameters of all of them.

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
        written, repeated = self._blocks()
        outputs = []
        body = self._body(visible, train, all_hidden)
        for block, number in written:
            x_BLD, output = body(block, x_BLD, jnp.asarray(number))
            outputs.append(jax.tree.map(lambda x: x[None], output))
        if stages() > 1 and not self._keeps():
            check_stages(self.layers, self.scan, self.groups, stages())

            def run_of(visible: Visible, train: Train) -> Callable:
                return _each(self._body(visible, train, all_hidden))

            x_BLD, output = in_stages(repeated, run_of, x_BLD, visible, train)
            outputs.append(output)
        else:
            for part in repeated:
                x_BLD, output = _scanned(_each(body), part)(part.block, x_BLD, part.numbers)
                outputs.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), output))
        if not all_hidden:
            return x_BLD, None
        return x_BLD, jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)

    def _body(self, visible: Visible, train: Train, all_hidden: bool) -> Callable:
        """What a layer does: from its block, the residual and its number to the next residual, and
        the same as an output or None."""

        def body(block: nn.Module, x_BLD: Any, number: jax.Array) -> tuple[Any, Any]:
            x_BLD = block(x_BLD, visible.replace(layer=number), train)
            return x_BLD, (x_BLD if all_hidden else None)

        if REMAT_POLICIES[self.remat] is None:
            return body
        # A scan body is compiled once anyway, so common subexpressions cannot undo the remat.
        return nn.remat(body, policy=REMAT_POLICIES[self.remat], prevent_cse=not self.scan)

    def _keeps(self) -> bool:
        """Whether layers make parameters in this call, or keep a cache or a memory."""
        return self.is_initializing() or any(
            self.is_mutable_collection(name) or self.variables.get(name)
            for name in ("cache", "memory")
        )

    def _blocks(self) -> tuple[list[tuple[nn.Module, int]], list[Repeated]]:
        """Blocks that are written out with their layers' numbers, and after them those that repeat.

        With `groups` a block is written out, or repeats, for each of its layers.
        """
        if self.groups:
            groups = self._group_blocks()
            if self.scan:
                return [], groups
            return [(part.block, number) for part in groups for number in part.numbers.flat], []
        first, period = repetition(self.layers) if self.scan else (len(self.layers), 0)
        written = [
            (self.make_block(settings, name=f"layer_{index}"), index)
            for index, settings in enumerate(self.layers[:first])
        ]
        if not self.scan:
            return written, []
        numbers = np.arange(first, len(self.layers)).reshape(-1, period)
        if period == 1:
            block = self.make_block(self.layers[first], name="layers")
        else:
            block = _Period(self.make_block, self.layers[first : first + period], name="layers")
        return written, [Repeated(block, numbers, shared=False)]

    def _group_blocks(self) -> list[Repeated]:
        """The block of each group, with the layers that have its parameters."""
        count = len(self.layers)
        of_layers = np.arange(count) * self.groups // count
        groups = []
        for group in range(self.groups):
            numbers = np.flatnonzero(of_layers == group)
            block = self.make_block(self.layers[numbers[0]], name=f"group_{group}")
            groups.append(Repeated(block, numbers[:, None], shared=True))
        return groups


def _scanned(body: Callable, part: Repeated) -> Callable:
    """`body`, scanned over the layers of a part."""
    axes = {"cache": 0, "memory": 0} | ({} if part.shared else {"params": 0})
    return nn.scan(
        body,
        variable_axes=axes,
        variable_broadcast="params" if part.shared else False,
        split_rngs={"params": not part.shared, "dropout": True},
        length=len(part.numbers),
        metadata_params={nn.PARTITION_NAME: LAYERS},
    )


class _Period(nn.Module):
    """The blocks of a scan whose body is several layers."""

    make_block: Callable[..., nn.Module]
    layers: Sequence[Hashable]

    def setup(self):
        self.blocks = [self.make_block(settings) for settings in self.layers]


def _each(body: Callable) -> Callable:
    """The body of a scan over periods, of one layer or several, from that of one layer."""

    def of_period(block: nn.Module, x: Any, numbers: jax.Array) -> tuple[Any, Any]:
        blocks = block.blocks if isinstance(block, _Period) else [block]
        # Flax goes on counting draws when it traces a scan's body again. Each run has a key of its
        # own, so it may count from 0, and draw the same whoever traces it and how often.
        _count_from_zero(block.scope.rng_counters)
        outputs = []
        for layer, number in zip(blocks, numbers, strict=True):
            x, output = body(layer, x, number)
            outputs.append(output)
        return x, jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)

    return of_period


def _count_from_zero(counts: dict[Any, Any]) -> None:
    """Sets a scope's counts of draws, and those of the scopes in it, to 0."""
    for name, count in counts.items():
        if isinstance(count, dict):
            _count_from_zero(count)
        else:
            counts[name] = 0
