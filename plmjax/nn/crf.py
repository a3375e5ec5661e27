"""A linear-chain conditional random field: the probability of a whole sequence of tags."""

import functools

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Chain:
    """What a sequence of tags scores besides what each place says of its own tag.

    start_C: of the first tag. follow_CC: of a tag (column) behind another (row). end_C: of the
    last. Float32.
    """

    start_C: jax.Array
    follow_CC: jax.Array
    end_C: jax.Array


def log_likelihood(
    scores_BLC: jax.Array, tags_BL: jax.Array, present_BL: jax.Array, chain: Chain
) -> jax.Array:
    """The logarithm of the probability of each sequence of tags: float32 [B].

    The forward algorithm (Lafferty et al. 2001; Collobert et al. 2011, section 3.3). A place that
    is not present is passed over: the tag before it is followed by the one behind it. A row with
    none has 0.

    Args:
      scores_BLC: float32, of each tag at each place.
      tags_BL: int, the tags.
      present_BL: bool, which places have one.
      chain: of neighbours and ends.
    """

    @jax.checkpoint  # what it keeps of C times C numbers a place is cheaper made again
    def step(carry: tuple, place: tuple) -> tuple[tuple, None]:
        sums_BC, total_B, last_B, begun_B = carry
        scores_BC, tag_B, here_B = place
        onward_BC = jax.nn.logsumexp(sums_BC[:, :, None] + chain.follow_CC, axis=1)
        grown_BC = jnp.where(begun_B[:, None], onward_BC, chain.start_C) + scores_BC
        of_place_B = jnp.take_along_axis(scores_BC, tag_B[:, None], 1)[:, 0]
        of_before_B = jnp.where(begun_B, chain.follow_CC[last_B, tag_B], chain.start_C[tag_B])
        return (
            jnp.where(here_B[:, None], grown_BC, sums_BC),
            jnp.where(here_B, total_B + of_place_B + of_before_B, total_B),
            jnp.where(here_B, tag_B, last_B),
            begun_B | here_B,
        ), None

    B, C = len(scores_BLC), scores_BLC.shape[-1]
    nothing_B = jnp.zeros(B, jnp.float32)
    before = jnp.zeros((B, C), jnp.float32), nothing_B, jnp.zeros(B, tags_BL.dtype), nothing_B > 0
    by_place = _by_place(scores_BLC), tags_BL.T, present_BL.T
    (sums_BC, total_B, last_B, begun_B), _ = jax.lax.scan(step, before, by_place)
    total_B = total_B + chain.end_C[last_B]
    return jnp.where(begun_B, total_B - jax.nn.logsumexp(sums_BC + chain.end_C, axis=-1), 0.0)


def best_tags(scores_BLC: jax.Array, present_BL: jax.Array, chain: Chain) -> jax.Array:
    """The most probable sequence of tags of each row (Viterbi 1967): int32 [B, L], 0 at places that
    are not present. Arguments as of `log_likelihood`."""

    def step(carry: tuple, place: tuple) -> tuple[tuple, jax.Array]:
        best_BC, begun_B = carry
        scores_BC, here_B = place
        ways_BCC = best_BC[:, :, None] + chain.follow_CC
        grown_BC = jnp.where(begun_B[:, None], ways_BCC.max(1), chain.start_C) + scores_BC
        best_BC = jnp.where(here_B[:, None], grown_BC, best_BC)
        return (best_BC, begun_B | here_B), ways_BCC.argmax(1).astype(jnp.int32)

    def back(tag_B: jax.Array, place: tuple) -> tuple[jax.Array, jax.Array]:
        before_BC, here_B = place
        came_from_B = jnp.take_along_axis(before_BC, tag_B[:, None], 1)[:, 0]
        return jnp.where(here_B, came_from_B, tag_B), jnp.where(here_B, tag_B, 0)

    B, C = len(scores_BLC), scores_BLC.shape[-1]
    nothing = jnp.zeros((B, C), jnp.float32), jnp.zeros(B, bool)
    by_place = _by_place(scores_BLC), present_BL.T
    (best_BC, _), before_LBC = jax.lax.scan(step, nothing, by_place)
    last_B = (best_BC + chain.end_C).argmax(-1).astype(jnp.int32)
    _, tags_LB = jax.lax.scan(back, last_B, (before_LBC, present_BL.T), reverse=True)
    return tags_LB.T


_by_place = functools.partial(jnp.swapaxes, axis1=0, axis2=1)
