"""Ring attention (Liu et al. 2023): rows stay split, and keys and values go round.

Every device keeps its queries. In each hop it scores the keys that it has and hands keys and values
on to its neighbour, and one softmax over all hops is kept as a running maximum and sum. The
backward pass goes round again with what it adds to the gradients of keys and values, from the
queries, the result and the logarithm of the sum alone; nothing is kept of the hops.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from plmjax.nn.implementations.layouts import on_each_device, split_rows
from plmjax.nn.layer_settings import LayerSettings
from plmjax.nn.visible import Visible, may_look
from plmjax.parallel.rules import LENGTH, ways

CHUNK = 1024
"""How many keys are scored at once, at most."""

LOWEST = -1e30
"""The score of a hidden key. Finite, so that a maximum over nothing but them is."""


@dataclasses.dataclass(frozen=True)
class Round:
    """How keys go round.

    axes: of the mesh, one or several, which split rows into `parts`.
    causal, reach: as of `Visible`. scale: of scores.
    first: how many places on a device's first keys come from; negative for those behind it.
    hops: how many blocks of keys a device sees.
    """

    axes: str | tuple[str, ...]
    parts: int
    causal: bool
    reach: int
    scale: float
    first: int
    hops: int

    def moved(self, tree: Any, by: int) -> Any:
        """What the device `by` places before has."""
        if by % self.parts == 0:
            return tree
        pairs = [(i, (i + by) % self.parts) for i in range(self.parts)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.axes, pairs), tree)

    def places(self, owner: jax.Array, length: int) -> jax.Array:
        """Where a device's part of the row stands in it: int [length]."""
        return owner * length + jnp.arange(length)


def mixed(
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    seen: Visible,
    settings: LayerSettings,
    reach: int,
) -> jax.Array:
    """What each query makes of the values: [B, L, H, K], float as they are.

    Scores and sums are float32. Memory of a device grows as the part of the row that it has, time
    as that times the row; with a window only those hops are made that bring something to see. With
    a causal mask half of what is scored is hidden. A query that sees no key gets zeros.

    Args:
      query_BLHK, key_BMHK, value_BMHK: float; the parts of the mesh divide L and M.
      seen: which keys may be attended to.
      settings: of the layer.
      reach: the largest distance; 0 for any. Only where L = M.
    """
    rows, parts = split_rows(), ways(LENGTH)
    numbers = seen.numbers(query_BLHK.shape[1])
    first, hops = _hops(query_BLHK.shape[1] // parts, parts, seen.causal, reach)
    scale = settings.head_size**-0.5 if settings.scale_scores else 1.0
    plan = Round(rows[1], parts, seen.causal, reach, scale, first, hops)
    of_numbers = PartitionSpec(rows[0], rows[1])
    specs = (rows, rows, rows, of_numbers, of_numbers)
    on_device = functools.partial(_ring, plan)
    return on_each_device(on_device, specs, rows)(query_BLHK, key_BMHK, value_BMHK, *numbers)


def _hops(length: int, parts: int, causal: bool, reach: int) -> tuple[int, int]:
    """`first` and `hops` of a Round, for parts of `length` places."""
    if not reach:
        return 0, parts
    behind = -(-reach // length)
    ahead = 0 if causal else behind
    return (0, parts) if behind + ahead + 1 >= parts else (-ahead, behind + ahead + 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring(
    plan: Round,
    query_BLHK: jax.Array,
    key_BMHK: jax.Array,
    value_BMHK: jax.Array,
    number_BL: jax.Array,
    number_BM: jax.Array,
) -> jax.Array:
    return _forward(plan, query_BLHK, key_BMHK, value_BMHK, number_BL, number_BM)[0]


def _forward(plan: Round, query_BLHK, key_BMHK, value_BMHK, number_BL, number_BM):
    """The result, and what the backward pass needs."""
    me = jax.lax.axis_index(plan.axes)
    queries = plan.places(me, query_BLHK.shape[1]), number_BL
    B, L, H, _ = query_BLHK.shape
    nothing = (
        jnp.zeros((B, L, H, value_BMHK.shape[-1]), jnp.float32),
        jnp.zeros((B, H, L), jnp.float32),
        jnp.full((B, H, L), LOWEST, jnp.float32),
    )

    def add(state, chunk):
        above_BLHK, below_BHL, largest_BHL = state
        key_BCHK, value_BCHK, *keys = chunk
        scores_BHLC, allowed_BLC = _scores(plan, query_BLHK, key_BCHK, queries, keys)
        top_BHL = jnp.maximum(largest_BHL, scores_BHLC.max(-1))
        weights_BHLC = jnp.where(
            allowed_BLC[:, None], jnp.exp(scores_BHLC - top_BHL[..., None]), 0.0
        )
        fade_BHL = jnp.exp(largest_BHL - top_BHL)
        above_BLHK *= jnp.swapaxes(fade_BHL, 1, 2)[..., None]
        above_BLHK += _product("BHLC,BCHK->BLHK", weights_BHLC, value_BCHK)
        return (above_BLHK, below_BHL * fade_BHL + weights_BHLC.sum(-1), top_BHL), None

    def hop(state, held, shift):
        owner = (me - shift) % plan.parts
        return jax.lax.scan(add, state, _chunks(plan, owner, held))[0]

    held = plan.moved((key_BMHK, value_BMHK, number_BM), plan.first)

    def step(carry, shift):
        state, held = carry
        held = plan.moved(held, 1)
        return (hop(state, held, shift), held), None

    shifts = plan.first + jnp.arange(1, plan.hops)
    carry = hop(nothing, held, plan.first), held
    ((above_BLHK, below_BHL, largest_BHL), _), _ = jax.lax.scan(step, carry, shifts)
    below_BHL = jnp.where(below_BHL > 0, below_BHL, 1.0)
    mixed_BLHK = above_BLHK / jnp.swapaxes(below_BHL, 1, 2)[..., None]
    mixed_BLHK = mixed_BLHK.astype(value_BMHK.dtype)
    log_sum_BHL = largest_BHL + jnp.log(below_BHL)
    kept = (query_BLHK, key_BMHK, value_BMHK, number_BL, number_BM, mixed_BLHK, log_sum_BHL)
    return mixed_BLHK, kept


def _backward(plan: Round, kept, grad_BLHK):
    """Gradients of queries, keys and values; those of keys and values travel with them."""
    query_BLHK, key_BMHK, value_BMHK, number_BL, number_BM, mixed_BLHK, log_sum_BHL = kept
    me = jax.lax.axis_index(plan.axes)
    queries = plan.places(me, query_BLHK.shape[1]), number_BL
    grad_BLHK = grad_BLHK.astype(value_BMHK.dtype)
    # Sum over keys of probability times its gradient.
    mean_BHL = jnp.einsum(
        "BLHK,BLHK->BHL", grad_BLHK, mixed_BLHK, preferred_element_type=jnp.float32
    )

    def add(of_query_BLHK, chunk):
        key_BCHK, value_BCHK, *keys = chunk
        scores_BHLC, allowed_BLC = _scores(plan, query_BLHK, key_BCHK, queries, keys)
        share_BHLC = jnp.exp(scores_BHLC - log_sum_BHL[..., None])
        share_BHLC = jnp.where(allowed_BLC[:, None], share_BHLC, 0.0)
        of_value_BCHK = _product("BHLC,BLHK->BCHK", share_BHLC, grad_BLHK)
        of_share_BHLC = jnp.einsum(
            "BLHK,BCHK->BHLC", grad_BLHK, value_BCHK, preferred_element_type=jnp.float32
        )
        of_score_BHLC = plan.scale * share_BHLC * (of_share_BHLC - mean_BHL[..., None])
        of_query_BLHK += _product("BHLC,BCHK->BLHK", of_score_BHLC, key_BCHK)
        of_key_BCHK = _product("BHLC,BLHK->BCHK", of_score_BHLC, query_BLHK)
        return of_query_BLHK, (of_key_BCHK, of_value_BCHK)

    def hop(of_query, held, added, shift):
        owner = (me - shift) % plan.parts
        of_query, found = jax.lax.scan(add, of_query, _chunks(plan, owner, held))
        return of_query, jax.tree.map(lambda sum, x: sum + _joined(x), added, found)

    held = plan.moved((key_BMHK, value_BMHK, number_BM), plan.first)
    added = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (key_BMHK, value_BMHK))
    of_query = jnp.zeros(query_BLHK.shape, jnp.float32)

    def step(carry, shift):
        of_query, held, added = carry
        held, added = plan.moved((held, added), 1)
        of_query, added = hop(of_query, held, added, shift)
        return (of_query, held, added), None

    of_query, added = hop(of_query, held, added, plan.first)
    shifts = plan.first + jnp.arange(1, plan.hops)
    (of_query, _, added), _ = jax.lax.scan(step, (of_query, held, added), shifts)
    of_key, of_value = plan.moved(added, 1 - plan.first - plan.hops)
    grads = (of_query, query_BLHK), (of_key, key_BMHK), (of_value, value_BMHK)
    return (*(grad.astype(x.dtype) for grad, x in grads), None, None)


_ring.defvjp(_forward, _backward)


def _scores(plan: Round, query_BLHK, key_BCHK, queries, keys) -> tuple[jax.Array, jax.Array]:
    """Scores [B, H, L, C], float32, and which of them count: bool [B, L, C]."""
    (place_L, number_BL), (place_C, number_BC) = queries, keys
    scores_BHLC = plan.scale * jnp.einsum(
        "BLHK,BCHK->BHLC", query_BLHK, key_BCHK, preferred_element_type=jnp.float32
    )
    every_BC = jnp.ones_like(number_BC)
    segments = number_BL, number_BC
    allowed_BLC = may_look(place_L, place_C, every_BC, segments, plan.causal, plan.reach)
    return jnp.where(allowed_BLC[:, None], scores_BHLC, LOWEST), allowed_BLC


def _chunks(plan: Round, owner: jax.Array, held: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Keys, values, places and numbers of a device in n equal chunks; places are [n, C]."""
    key_BMHK, value_BMHK, number_BM = held
    length = key_BMHK.shape[1]
    count = next(n for n in range(-(-length // CHUNK), length + 1) if length % n == 0)

    def cut(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x.reshape(len(x), count, -1, *x.shape[2:]), 1, 0)

    places_nC = plan.places(owner, length).reshape(count, -1)
    return cut(key_BMHK), cut(value_BMHK), places_nC, cut(number_BM)


def _joined(x_nBCHK: jax.Array) -> jax.Array:
    """Chunks as a whole again: [B, M, H, K]."""
    x_BnCHK = jnp.moveaxis(x_nBCHK, 0, 1)
    return x_BnCHK.reshape(len(x_BnCHK), -1, *x_BnCHK.shape[3:])


def _product(equation: str, weights: jax.Array, x: jax.Array) -> jax.Array:
    """Of arrays in the dtype of `x`, summed in float32."""
    return jnp.einsum(equation, weights.astype(x.dtype), x, preferred_element_type=jnp.float32)
