"""One call of a model with a cache of keys and values: the prompt, or one more token."""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from plmjax.nn.attention import CACHE_AXES
from plmjax.parallel.rules import LAYERS


@flax.struct.dataclass
class Given:
    """What does not change while texts are decoded.

    mask_BM: int, 0 for padding in front of a prompt, 1 for all other places of the cache.
    source_mask_BS: int, 1 for the source's tokens; None for a decoder alone.
    """

    mask_BM: jax.Array
    source_mask_BS: jax.Array | None = None

    @property
    def padding_B(self) -> jax.Array:
        """How many places stand before each text."""
        return self.mask_BM.shape[1] - self.mask_BM.sum(1)


def is_seq2seq(model: nn.Module) -> bool:
    """Whether the model has an encoder, which reads what is given."""
    return hasattr(type(model), "encode")


def of_prompt(
    model: nn.Module,
    params: Any,
    tokens_BP: jax.Array,
    given: Given,
    source_BS: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Scores of the token behind a prompt, and the cache.

    Args:
      model: a decoder (`plmjax.models.gpt`) or an encoder-decoder (`plmjax.models.seq2seq`).
      params: its parameters.
      tokens_BP: int, what the decoder begins with, padded in front.
      given: P of its M places are the prompt's.
      source_BS: int, what the encoder reads, padded behind; None for a decoder alone.

    Returns:
      float32 [B, V], -inf for the padding of the vocabulary, and the collections to hand on.
    """
    source_BSD = None
    if source_BS is not None:
        source_BSD, _ = model.apply(
            {"params": params}, source_BS, given.source_mask_BS, train=False, method="encode"
        )
    return _scores(model, {"params": params}, tokens_BP, given, jnp.int32(0), source_BSD)


def of_token(
    model: nn.Module, params: Any, cache: Any, token_B: jax.Array, given: Given, place: jax.Array
) -> tuple[jax.Array, Any]:
    """Scores of the token behind `token_B`, which is at `place`; results as of `of_prompt`."""
    return _scores(model, {"params": params, **cache}, token_B[:, None], given, place, None)


def _scores(
    model: nn.Module,
    variables: Any,
    tokens_BL: jax.Array,
    given: Given,
    start: jax.Array,
    source_BSD: jax.Array | None,
) -> tuple[jax.Array, Any]:
    options = {"train": False, "start": start, "mutable": ["cache"]}
    if is_seq2seq(model):
        (hidden_BLD, _), cache = model.apply(
            variables,
            *(tokens_BL, given.mask_BM, source_BSD, given.source_mask_BS),
            **options,
            method="decode",
        )
    else:
        places_L = start + jnp.arange(tokens_BL.shape[1])
        positions_BL = jnp.maximum(places_L - given.padding_B[:, None], 0)
        output, cache = model.apply(
            variables, tokens_BL, given.mask_BM, positions_BL=positions_BL, **options
        )
        hidden_BLD = output.hidden_BLD
    logits_B1V = model.apply(variables, hidden_BLD[:, -1:], method="logits")
    is_real_V = jnp.arange(logits_B1V.shape[2]) < model.config.vocab_size
    return jnp.where(is_real_V, logits_B1V[:, 0], -jnp.inf), cache


def alone(objective: nn.Module, **changes: Any) -> nn.Module:
    """The model of an objective, with fields of its config replaced."""
    model = objective.backbone
    return model.clone(parent=None, config=dataclasses.replace(model.config, **changes))


def repeated(cache: Any, copies: int) -> Any:
    """A cache with each row so often, one behind the other."""
    if copies == 1:
        return cache
    # Layers may be stacked on an axis in front.
    return jax.tree.map(lambda x: jnp.repeat(x, copies, axis=x.ndim - 4), cache)


def reordered(cache: Any, rows_B: jax.Array) -> Any:
    """A cache whose row i is number rows_B[i] of this one, among those of the same prompt.

    What is kept of a source stays where it is: it is the same for all of a prompt.
    """

    def of(path: Any, x: jax.Array) -> jax.Array:
        is_of_source = any(getattr(key, "key", "") == "cross" for key in path)
        return x if is_of_source else jnp.take(x, rows_B, axis=x.ndim - 4)

    return jax.tree_util.tree_map_with_path(of, cache)


def tokens_in(tokens_BP: jax.Array, mask_BP: jax.Array, vocabulary: int) -> jax.Array:
    """Which tokens of the vocabulary are in a text: bool [B, V]."""
    row_B1 = jnp.arange(len(tokens_BP))[:, None]
    # Padding is written behind the last token, where nobody looks.
    written_BP = jnp.where(mask_BP == 1, tokens_BP, vocabulary)
    empty_BV = jnp.zeros((len(tokens_BP), vocabulary), bool)
    return empty_BV.at[row_B1, written_BP].set(True, mode="drop")


def cache_shardings(cache: Any, mesh: Mesh, rules: tuple) -> Any:
    """Where the mesh has each array of a cache: a tree of NamedSharding."""

    def of(leaf: jax.Array) -> NamedSharding:
        axes = (*(LAYERS,) * (leaf.ndim - len(CACHE_AXES)), *CACHE_AXES)
        return NamedSharding(mesh, nn.logical_to_mesh_axes(axes, rules))

    return jax.tree.map(of, cache)
