"""Beam search, as transformers' `generate` has it since 4.50 (generation/utils.py, _beam_search).

A step takes the best continuations of all beams of a prompt together, twice as many as there are
beams, or more where several tokens end a text. Those among the best `beams` that end are compared
with the texts that have ended before; the best that do not end go on.
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.decoding.loop import Switches, Values, is_end, processed
from plmjax.decoding.steps import Given, of_prompt, of_token, reordered, repeated, tokens_in

WORST = -1e9
"""Of what is not to be chosen. It is added, so that of such the better one is still chosen."""


@flax.struct.dataclass
class Kept:
    """Texts of a prompt, W of them.

    tokens_BWM: int32, prompt and all. scores_BW: float32. lengths_BW: int32, how many tokens are
    new. is_ended_BW: bool. logprobs_BWT: float32, of new tokens; None where nobody asks.
    """

    tokens_BWM: jax.Array
    scores_BW: jax.Array
    lengths_BW: jax.Array
    is_ended_BW: jax.Array
    logprobs_BWT: jax.Array | None

    def among(self, index_BC: jax.Array) -> "Kept":
        """Those of the numbers `index_BC`."""

        def of(x: jax.Array) -> jax.Array:
            return jnp.take_along_axis(
                x, index_BC.reshape(*index_BC.shape, *(1,) * (x.ndim - 2)), 1
            )

        return jax.tree.map(of, self)

    def beside(self, other: "Kept") -> "Kept":
        """These and others."""
        return jax.tree.map(lambda *both: jnp.concatenate(both, axis=1), self, other)


@flax.struct.dataclass
class Search:
    """A beam search of B prompts.

    cache: keys and values, of B * W rows. seen_RV: which tokens are in a text, of as many; None
      where nobody asks.
    running, ended: texts that go on and that have ended, W each; scores of the first are sums, of
      the second they are over the length's power.
    is_open_B: whether a prompt's search goes on.
    begin, count: as of `Texts`.
    powers_T: float32, of lengths from 1.
    """

    cache: Any
    seen_RV: jax.Array | None
    running: Kept
    ended: Kept
    is_open_B: jax.Array
    begin: jax.Array
    count: jax.Array
    powers_T: jax.Array


def begun(
    model: nn.Module,
    params: Any,
    tokens_BP: jax.Array,
    given: Given,
    source_BS: jax.Array | None,
    is_used_B: jax.Array,
    powers_T: jax.Array,
    values: Values,
    *,
    beams: int,
    switches: Switches,
) -> tuple[Search, Given]:
    """A search with its first tokens; arguments as of `loop.begun`, T tokens are new."""
    logits_BV, cache = of_prompt(model, params, tokens_BP, given, source_BS)
    (rows, length), new = tokens_BP.shape, len(powers_T)
    given, logits_RV = jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), (given, logits_BV))
    tokens_BM = jnp.pad(tokens_BP, ((0, 0), (0, new)))
    first = Kept(
        tokens_BWM=jnp.repeat(tokens_BM[:, None], beams, axis=1),
        # At first all beams are the same, and only one of them counts.
        scores_BW=jnp.where(jnp.arange(beams) > 0, WORST, jnp.zeros((rows, beams))),
        lengths_BW=jnp.zeros((rows, beams), jnp.int32),
        is_ended_BW=jnp.zeros((rows, beams), bool),
        logprobs_BWT=jnp.zeros((rows, beams, new)) if switches.logprobs else None,
    )
    seen_RV = None
    if values.repetition_penalty is not None:
        tokens_RP = jnp.repeat(tokens_BP, beams, axis=0)
        seen_RV = tokens_in(tokens_RP, given.mask_BM[:, :length], logits_RV.shape[1])
    search = Search(
        cache=repeated(cache, beams),
        seen_RV=seen_RV,
        running=first,
        ended=first.replace(scores_BW=jnp.full((rows, beams), WORST)),
        is_open_B=is_used_B,
        begin=jnp.int32(length),
        count=jnp.int32(0),
        powers_T=powers_T,
    )
    return _taken(search, logits_RV, given, switches, values), given


def searched(
    model: nn.Module,
    params: Any,
    search: Search,
    given: Given,
    switches: Switches,
    values: Values,
) -> Search:
    """The search when it has ended for all prompts."""

    def goes_on(search: Search) -> jax.Array:
        return (search.count < values.most) & search.is_open_B.any()

    def step(search: Search) -> Search:
        place = search.begin + search.count - 1
        tokens_RM = _rows(search.running.tokens_BWM)
        token_R = jax.lax.dynamic_slice_in_dim(tokens_RM, place, 1, axis=1)[:, 0]
        logits_RV, cache = of_token(model, params, search.cache, token_R, given, place)
        return _taken(search.replace(cache=cache), logits_RV, given, switches, values)

    return jax.lax.while_loop(goes_on, step, search)


def _taken(
    search: Search, logits_RV: jax.Array, given: Given, switches: Switches, values: Values
) -> Search:
    """The search with one more token."""
    rows, beams = search.running.scores_BW.shape
    found, parents_BC, tokens_BC = _continued(search, logits_RV, given, switches, values)
    count = search.count + 1
    is_end_BC = is_end(tokens_BC, switches.ends)
    stops_BC = is_end_BC | (count == values.most)
    running_BC = found.scores_BW + jnp.where(stops_BC, WORST, 0.0)
    scores_BW, index_BW = jax.lax.top_k(running_BC, beams)
    running = found.among(index_BW).replace(scores_BW=scores_BW)
    ended = _ended(search, found, stops_BC, switches)
    best_B1 = running.scores_BW[:, :1] / _power_of_the_best(search, count, switches, values)
    worst_BW = jnp.where(ended.is_ended_BW, ended.scores_BW.min(1, keepdims=True), WORST)
    is_open_B = search.is_open_B & (best_B1 > worst_BW).any(1)
    if switches.early_stopping == "full":
        is_open_B &= ~ended.is_ended_BW.all(1)
    of_row_BW = jnp.take_along_axis(parents_BC, index_BW, 1) + beams * jnp.arange(rows)[:, None]
    parents_R, seen_RV = of_row_BW.reshape(-1), search.seen_RV
    if seen_RV is not None:
        token_R = jnp.take_along_axis(tokens_BC, index_BW, 1).reshape(-1)
        seen_RV = seen_RV[parents_R].at[jnp.arange(rows * beams), token_R].set(True)
    return search.replace(
        cache=reordered(search.cache, parents_R),
        seen_RV=seen_RV,
        running=running,
        ended=ended,
        is_open_B=is_open_B,
        count=count,
    )


def _continued(
    search: Search, logits_RV: jax.Array, given: Given, switches: Switches, values: Values
) -> tuple[Kept, jax.Array, jax.Array]:
    """The best continuations of each prompt, C of them: texts, numbers of their beams, tokens."""
    running, (rows, beams) = search.running, search.running.scores_BW.shape
    vocabulary, end = logits_RV.shape[1], search.begin + search.count
    log_RV = jax.nn.log_softmax(logits_RV)
    scores_RV = processed(
        log_RV,
        *(switches, values, _rows(running.tokens_BWM), given.padding_B),
        *(search.seen_RV, end, search.count),
    )
    scores_BWV = scores_RV.reshape(rows, beams, vocabulary) + running.scores_BW[..., None]
    kept = min(max(2, 1 + len(switches.ends)) * beams, beams * vocabulary)
    scores_BC, index_BC = jax.lax.top_k(scores_BWV.reshape(rows, -1), kept)
    parents_BC, tokens_BC = index_BC // vocabulary, index_BC % vocabulary
    found = running.among(parents_BC)
    logprobs_BCT = found.logprobs_BWT
    if logprobs_BCT is not None:
        own_BC = jnp.take_along_axis(log_RV.reshape(rows, -1), index_BC, 1)
        at = (0, 0, search.count)
        logprobs_BCT = jax.lax.dynamic_update_slice(logprobs_BCT, own_BC[..., None], at)
    found = found.replace(
        tokens_BWM=jax.lax.dynamic_update_slice(
            found.tokens_BWM, tokens_BC[..., None].astype(jnp.int32), (0, 0, end)
        ),
        scores_BW=scores_BC,
        lengths_BW=found.lengths_BW + 1,
        logprobs_BWT=logprobs_BCT,
    )
    return found, parents_BC, tokens_BC


def _ended(search: Search, found: Kept, stops_BC: jax.Array, switches: Switches) -> Kept:
    """The best texts that have ended, before or now."""
    beams = search.ended.scores_BW.shape[1]
    # What is behind the best `beams` only takes the place of those that end.
    ends_BC = stops_BC & (jnp.arange(stops_BC.shape[1]) < beams)
    closed_B = ~search.is_open_B
    if switches.early_stopping == "full":
        closed_B |= search.ended.is_ended_BW.all(1)
    scores_BC = found.scores_BW / search.powers_T[search.count]
    scores_BC += jnp.where(closed_B[:, None], WORST, 0.0) + jnp.where(ends_BC, 0.0, WORST)
    both = search.ended.beside(found.replace(scores_BW=scores_BC, is_ended_BW=ends_BC))
    return both.among(jax.lax.top_k(both.scores_BW, beams)[1])


def _power_of_the_best(
    search: Search, count: jax.Array, switches: Switches, values: Values
) -> jax.Array:
    """By what the best that goes on is divided to guess what it may come to."""
    now = search.powers_T[count - 1]
    if switches.early_stopping != "never":
        return now
    # A penalty that is above 0 favours the longest text.
    is_rising = search.powers_T[1] > search.powers_T[0]
    return jnp.where(is_rising, search.powers_T[values.most - 1], now)


def _rows(x: jax.Array) -> jax.Array:
    """[B, W, ...] to [B * W, ...]."""
    return x.reshape(-1, *x.shape[2:])
