"""What the layers of a stack may look at."""

from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp

NOBODY = -(2**31)
"""The number of keys that no query has."""


@flax.struct.dataclass
class Visible:
    """Which keys a query may attend to, and what else layers are given beside the residual.

    There are L queries and M keys, the same places but with a cache: then M is how many the cache
    holds, and the queries are the places `start` to start + L - 1 among them.

    mask_BM: int, 1 for keys that may be attended to, 0 for padding.
    segments_BL: int, of keys and queries: only within the same number; None for all. Not with a
      cache.
    causal: whether only keys at or before the query's place.
    start: int scalar, the place of the first query, where keys and values are kept in the
      collection `cache`; None without a cache.
    bias_HLM: float32, added to the scores of all layers' self-attention (T5's relative positions);
      None for none.
    source_BSD: what cross-attention looks at; None where there is none, or where a cache holds its
      keys and values already.
    source_mask_BS: int, 1 for what may be looked at.
    source_segments_BS: int, of the source: only within the number that segments_BL has for the
      query; None for all.
    key_segments_BM: int, of the keys, where they are not those of the queries.
    shared: parameters that the attention of all layers shares, filled in by the stack; None for
      none.
    layer: int scalar, the number of the layer, filled in by the stack.
    """

    BY_ROW: ClassVar = (
        *("mask_BM", "segments_BL", "key_segments_BM"),
        *("source_BSD", "source_mask_BS", "source_segments_BS"),
    )
    """Fields with the rows of the batch on axis 0."""

    mask_BM: jax.Array
    segments_BL: jax.Array | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=False)
    start: jax.Array | None = None
    bias_HLM: jax.Array | None = None
    source_BSD: jax.Array | None = None
    source_mask_BS: jax.Array | None = None
    source_segments_BS: jax.Array | None = None
    key_segments_BM: jax.Array | None = None
    shared: jax.Array | None = None
    layer: jax.Array | int = 0

    def query_places(self, length: int) -> jax.Array:
        """Where the queries are among the keys: int [L]."""
        return jnp.arange(length) + (0 if self.start is None else self.start)

    def key_places(self) -> jax.Array:
        """Int [M]."""
        return jnp.arange(self.mask_BM.shape[1])

    def allowed(self, length: int, reach: int = 0) -> jax.Array:
        """Whether a query may attend to a key: bool [B, 1 or L, M].

        Args:
          length: L.
          reach: the largest distance; 0 for any.
        """
        segments = None
        if self.segments_BL is not None:
            keys = self.key_segments_BM
            segments = self.segments_BL, self.segments_BL if keys is None else keys
        places_L = self.query_places(length)
        return may_look(places_L, self.key_places(), self.mask_BM, segments, self.causal, reach)

    def adder(self, length: int, mask_value: float, reach: int = 0) -> jax.Array:
        """What is added to scores: float32 [B, 1 or L, M]; arguments as of `allowed`."""
        return jnp.where(self.allowed(length, reach), 0.0, mask_value)

    def numbers(self, length: int) -> tuple[jax.Array, jax.Array]:
        """Padding and segments in one: a query may attend to the keys that have its own number.

        Args:
          length: L.

        Returns:
          Int32 [B, L] of the queries and [B, M] of the keys.
        """
        queries_BL = keys_BM = self.segments_BL
        if queries_BL is None:
            queries_BL = jnp.zeros((len(self.mask_BM), length), jnp.int32)
            keys_BM = jnp.zeros(self.mask_BM.shape, jnp.int32)
        elif self.key_segments_BM is not None:
            keys_BM = self.key_segments_BM
        keys_BM = jnp.where(self.mask_BM == 1, keys_BM, NOBODY)
        return queries_BL.astype(jnp.int32), keys_BM.astype(jnp.int32)

    def of_source(self) -> "Visible":
        """The same for cross-attention: a query sees the whole source, or its segment of it."""
        keys = self.source_segments_BS
        segments = None if keys is None else self.segments_BL
        return Visible(self.source_mask_BS, segments, key_segments_BM=keys, layer=self.layer)


def may_look(
    query_places: jax.Array,
    key_places: jax.Array,
    key_mask: jax.Array,
    segments: tuple[jax.Array, jax.Array] | None,
    causal: bool,
    reach: int,
) -> jax.Array:
    """Whether queries may look at keys: bool [..., L or 1, M], of arrays [..., L] and [..., M].

    Args:
      query_places, key_places: int, counted in the row.
      key_mask: int, 1 for tokens.
      segments: int, of queries and of keys; None for all the same.
      causal, reach: as of `Visible` and its `allowed`.
    """
    is_allowed = key_mask[..., None, :] == 1
    if segments is not None:
        is_allowed = is_allowed & (segments[0][..., :, None] == segments[1][..., None, :])
    behind = query_places[..., :, None] - key_places[..., None, :]
    if causal:
        is_allowed = is_allowed & (behind >= 0)
    if reach:
        is_allowed = is_allowed & (jnp.abs(behind) <= reach)
    return is_allowed
