"""Whether arrays can be laid out on a mesh: every mistake is one line that names the setting."""

import math
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import Mesh

from plmjax.errors import UserError
from plmjax.parallel.rules import (
    EMBED,
    HEADS,
    LAYERS,
    LENGTH,
    MLP,
    POSITIONS,
    RULES,
    VOCAB,
    batch_shards,
)

_SETTINGS = {
    HEADS: ("num_heads", "num_decoder_heads"),
    MLP: ("mlp_size", "decoder_mlp_size"),
    EMBED: ("hidden_size", "embedding_size", "bottleneck_size"),
    POSITIONS: ("max_positions", "buckets"),
    LAYERS: ("num_layers", "num_decoder_layers"),
}
"""Fields of a model's config that give an axis its size."""


def check_parameters(boxed: Any, model: Any, mesh: Mesh, rules: tuple = RULES) -> None:
    """Raises a UserError if an axis of a parameter cannot be cut into equal parts.

    Args:
      boxed: shapes of the parameters, with logical names.
      model: the family's Config, in which the setting to change is found.
      mesh, rules: where they go.
    """
    leaves = jax.tree.leaves_with_path(boxed, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))
    for keys, box in leaves:
        spec = nn.logical_to_mesh_axes(box.names, rules)
        for name, size, axes in zip(box.names, box.value.shape, spec, strict=True):
            if name is not None and axes is not None:
                path = jax.tree_util.keystr(keys, simple=True, separator="/")
                what = _what(name, size, path, model)
                _check(size, what, name, (axes,) if isinstance(axes, str) else axes, mesh)


def check_batch(
    batch_size: int, accumulate: int, length: int, where: str, mesh: Mesh, rules: tuple = RULES
) -> None:
    """Raises a UserError if batches cannot be cut into equal parts.

    Args:
      batch_size, accumulate: rows, and into how many microbatches they are cut.
      length: of the rows.
      where: the section of the config that says so.
      mesh, rules: where they go.
    """
    shards = batch_shards(mesh, rules)
    if accumulate < 1 or batch_size % (shards * accumulate):
        raise UserError(
            f"{where}.batch_size={batch_size} is not divisible by {shards} batch shards of the mesh"
            f" times config.train.accumulate={accumulate}"
        )
    _check(length, f"{where}.seq_len={length}", LENGTH, dict(rules)[LENGTH] or (), mesh)


def _check(size: int, what: str, name: str, axes: tuple[str, ...], mesh: Mesh) -> None:
    if size % math.prod(mesh.shape[axis] for axis in axes):
        given = " times ".join(f"config.mesh.{axis}={mesh.shape[axis]}" for axis in axes)
        raise UserError(
            f"{what} is not divisible by {given}, over which config.sharding.{name}="
            f"'{','.join(axes)}' splits it; change one of them"
        )


def _what(name: str, size: int, path: str, model: Any) -> str:
    """An axis of a parameter as the user knows it: the setting that made it, or where it is."""
    if name == VOCAB:
        return (
            f"config.model.vocab_size={model.vocab_size}, rounded up to a multiple of"
            f" config.model.vocab_multiple={model.vocab_multiple}, makes {size} rows, which"
        )
    for field in _SETTINGS.get(name, ()):
        if getattr(model, field, None) == size:
            return f"config.model.{field}={size}"
    return f"the axis '{name}' of {path}, whose size is {size},"
