"""Whether the attention that a config asks for can be computed on its mesh."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from plmjax.errors import UserError
from plmjax.parallel.rules import HEADS, LENGTH, on_mesh, shards
from plmjax.types import OVERFLOW, Batch, Loss, Spec


def decoder_lengths(where: str, spec: Spec) -> dict[str, int]:
    """How long the rows of a decoder are, if it has a length of its own, by a name for `where`."""
    if "decoder_tokens" not in spec:
        return {}
    return {f"{where}: the length of decoder_tokens": spec["decoder_tokens"][0][1]}


def check_split(model: Any, mesh: Mesh, rules: tuple, lengths: Mapping[str, int]) -> None:
    """Raises a UserError if the mesh cannot split rows, or heads in their place.

    Args:
      model: the family's Config.
      mesh, rules: what splits what.
      lengths: places of rows, by what the user set them with.
    """
    parts, head_parts = shards(LENGTH, mesh, rules), shards(HEADS, mesh, rules)
    for name, length in lengths.items():
        if length % parts:
            raise UserError(
                f"{name}={length} is not divisible by config.mesh.sequence={parts}, which splits"
                " rows; change one of them"
            )
    if parts == 1 or model.sequence_attention != "all_to_all":
        return
    heads = {"num_heads": model.num_heads}
    if hasattr(model, "decoder_heads"):
        heads["num_decoder_heads"] = model.decoder_heads
    for name, count in heads.items():
        if count % (parts * head_parts):
            raise UserError(
                f"config.model.{name}={count} is not divisible by config.mesh.sequence={parts}"
                f" times config.mesh.tensor={head_parts}, into which sequence_attention="
                "'all_to_all' splits heads; choose config.model.sequence_attention='ring', which"
                " needs no more heads, or 'gather'"
            )


def check_computable(
    objective: nn.Module, boxed: Any, spec: Spec, mesh: Mesh, rules: tuple, accumulate: int
) -> None:
    """Raises a UserError if what the config names cannot compute the attention of a train step.

    Only tracing tells all that a call asks for. By `auto` and XLA everything can be computed, and
    nothing is traced.

    Args:
      objective: with its `backbone`.
      boxed: shapes of its parameters, with the names of their axes.
      spec: of its batches.
      mesh, rules: what splits what.
      accumulate: microbatches of a batch.
    """
    model = objective.backbone.config
    is_ring = model.sequence_attention == "ring" and shards(LENGTH, mesh, rules) > 1
    if model.attention_implementation in ("auto", "xla") and not is_ring:
        return
    rows = spec["tokens"][0][0] // accumulate
    batch = {
        key: jax.ShapeDtypeStruct((rows, *shape[1:]), dtype)
        for key, (shape, dtype) in spec.items()
        if key != OVERFLOW
    }

    def forward(params: Any, batch: Batch) -> Loss:
        rngs = {"dropout": jax.random.key(0)}
        return objective.apply({"params": params}, batch, train=jnp.arange(rows), rngs=rngs)

    with on_mesh(mesh, rules):
        jax.eval_shape(forward, nn.meta.unbox(boxed), batch)
