"""BigBird's attention (Zaheer et al. 2020), as in google-research/bigbird."""

import jax
import jax.numpy as jnp

from plmjax.nn.attention import Attention
from plmjax.nn.efficient.blockwise import (
    Part,
    allowed,
    attend,
    blocked,
    joined,
    neighbours,
    places_of,
)
from plmjax.nn.efficient.refuse import refuse
from plmjax.nn.visible import Visible
from plmjax.types import Train


def random_blocks(
    seed: int, layer: jax.Array | int, num_heads: int, blocks: int, count: int
) -> jax.Array:
    """Which other blocks the inner blocks of a row see: int32 [H, n - 2, count], all different.

    Each draw is uniform among the blocks that are neither neighbours nor the first or last. It
    follows from the arguments alone; google-research/bigbird draws once, by NumPy's global state,
    and for long rows from the first blocks only.

    Args:
      seed: of the kind.
      layer: the layer's number.
      num_heads: H.
      blocks: n.
      count: how many each sees; n >= 5 + count.
    """
    key = jax.random.fold_in(jax.random.key(seed), layer)
    draw_Hnm = jax.random.uniform(key, (num_heads, blocks - 2, blocks))
    number_m = jnp.arange(blocks)
    is_near = jnp.abs(number_m[1:-1, None] - number_m) <= 1
    is_taken = is_near | (number_m == 0) | (number_m == blocks - 1)
    return jax.lax.top_k(jnp.where(is_taken, -1.0, draw_Hnm), count)[1]


class BigBirdAttention(Attention):
    """Blocks that see themselves, both neighbours, the first and last block, and random ones.

    The first and the last block see everything. Rows that are no whole blocks are filled up, and
    the last block may be padding, as in Hugging Face; so may all of it where rows are short.
    """

    def mix(
        self,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """As of `Attention`; time and memory grow as L * block * (7 + random_blocks)."""
        s, kind, length = self.settings, self.settings.attention, query_BLHK.shape[1]
        refuse(s, visible, packed=True, rotary=True)
        if kind.is_full(length):
            return super().mix(query_BLHK, key_BMHK, value_BMHK, visible, train)
        places = places_of(visible, length)
        query_BnSHK, *seen = blocked((query_BLHK, key_BMHK, value_BMHK, places), kind.block)
        key_BnSHK, value_BnSHK, own = seen
        count, ends = query_BnSHK.shape[1], jnp.array([0, -1])

        at_ends = jax.tree.map(lambda x: x[:, ends], own)
        row = jax.tree.map(lambda x: x[:, None], places)
        everything = Part(key_BMHK, value_BMHK, allowed(at_ends, row)[:, :, None])
        outer_B2SHK = attend(self, query_BnSHK[:, ends], [everything], train)

        inner = jax.tree.map(lambda x: x[:, 1:-1], own)
        # The second block's neighbour is the first, which it sees anyway; so for the last but one.
        number_n1 = jnp.arange(count)[:, None]
        is_inner = (number_n1 > 0) & (number_n1 < count - 1)
        once = own.replace(mask_BS=own.mask_BS * is_inner)
        near = jax.tree.map(lambda x: x[:, 1:-1], neighbours((key_BnSHK, value_BnSHK, once)))
        parts = [Part(near[0], near[1], allowed(inner, near[2])[:, :, None])]
        for end in (0, -1):
            block = jax.tree.map(lambda x, end=end: x[:, end, None], own)
            is_allowed = allowed(inner, block)[:, :, None]
            parts.append(Part(key_BnSHK[:, end], value_BnSHK[:, end], is_allowed))
        if kind.random_blocks:
            drawn = (kind.seed, visible.layer, s.num_heads, count, kind.random_blocks)
            parts.append(_chosen(key_BnSHK, value_BnSHK, own, random_blocks(*drawn)))
        inner_BnSHK = attend(self, query_BnSHK[:, 1:-1], parts, train)
        ordered = [outer_B2SHK[:, :1], inner_BnSHK, outer_B2SHK[:, 1:]]
        return joined(jnp.concatenate(ordered, axis=1), length)


def _chosen(
    key_BnSHK: jax.Array, value_BnSHK: jax.Array, own: object, block_HnR: jax.Array
) -> Part:
    """The blocks that each head has for each inner block."""

    def of_heads(x_BnSHK: jax.Array) -> jax.Array:
        take = jax.vmap(lambda x_BnSK, block_nR: x_BnSK[:, block_nR], (3, 0), 4)
        x_BnRSHK = take(x_BnSHK, block_HnR)
        return x_BnRSHK.reshape(*x_BnRSHK.shape[:2], -1, *x_BnRSHK.shape[4:])

    def of_places(x_BnS: jax.Array) -> jax.Array:
        x_BnHRS = x_BnS[:, block_HnR.swapaxes(0, 1)]
        return x_BnHRS.reshape(*x_BnHRS.shape[:3], -1)

    inner = jax.tree.map(lambda x: x[:, 1:-1, None], own)
    is_allowed = allowed(inner, jax.tree.map(of_places, own))
    return Part(of_heads(key_BnSHK), of_heads(value_BnSHK), is_allowed)
