"""Longformer's attention (Beltagy et al. 2020), as in allenai/longformer."""

import jax
import jax.numpy as jnp

from plmjax.nn.attention import Attention
from plmjax.nn.efficient.blockwise import Part, allowed, attend, joined, places_of, to_window
from plmjax.nn.efficient.refuse import refuse
from plmjax.nn.visible import Visible
from plmjax.types import Train


class LongformerAttention(Attention):
    """A window, and global tokens: a row's first G, seen by all and seeing all.

    How they are seen is scored with the common projections, in one softmax with the window; what
    they see with `global_query`, `global_key` and `global_value`, in a softmax of its own. Texts
    that are packed in a row see only what is of their own, so only the first has global tokens.
    """

    def mix_from(
        self,
        x_BLD: jax.Array,
        query_BLHK: jax.Array,
        key_BMHK: jax.Array,
        value_BMHK: jax.Array,
        visible: Visible,
        train: Train,
    ) -> jax.Array:
        """As of `Attention`; time and memory grow as L * (window + G)."""
        s, kind, length = self.settings, self.settings.attention, x_BLD.shape[1]
        count = min(kind.global_tokens, length)
        refuse(s, visible, packed=True, rotary=not count)
        arrays = (query_BLHK, key_BMHK, value_BMHK)
        query_BnSHK, own, near = to_window(*arrays, visible, kind.window // 2, first=count)
        parts, places = [near], places_of(visible, length)
        if count:
            first = jax.tree.map(lambda x: x[:, :count], places)
            every = jax.tree.map(lambda x: x[:, None], first)
            is_allowed = allowed(own, every)[:, :, None]
            parts.append(Part(key_BMHK[:, :count], value_BMHK[:, :count], is_allowed))
        mixed_BLHK = joined(attend(self, query_BnSHK, parts, train), length)
        if not count:
            return mixed_BLHK
        shape = (x_BLD.shape[0], -1, s.num_heads, s.head_size)
        query_B1GHK = self.heads("global_query", x_BLD[:, :count]).reshape(shape)[:, None]
        key_BLHK, value_BLHK = (
            self.heads(name, x_BLD).reshape(shape) for name in ("global_key", "global_value")
        )
        everything = Part(key_BLHK, value_BLHK, allowed(first, places)[:, None, None])
        global_BGHK = attend(self, query_B1GHK, [everything], train)[:, 0]
        return jnp.concatenate([global_BGHK, mixed_BLHK[:, count:]], axis=1)
