"""Writing in any order with a model that fills in blanks.

Source: PMLM (Liao et al. 2020) and huawei-noah/Pretrained-Language-Model, PMLM,
interactive_conditional_samples_sincos_acrostic.py: all blanks are masks, and one after the other
gets a token that is drawn by what the model says of it given all that stands there by then.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from plmjax.decoding import processors
from plmjax.decoding.batches import row_bucket
from plmjax.decoding.loop import Switches, Values, warped
from plmjax.decoding.orders import check_fills
from plmjax.decoding.sampling import best, drawn, prompt_number, row_keys
from plmjax.decoding.scoring import bucket
from plmjax.decoding.settings import DecodingConfig
from plmjax.decoding.steps import tokens_in
from plmjax.decoding.told import blanks_logits
from plmjax.errors import UserError
from plmjax.parallel.rules import (
    RULES,
    batch_sharding,
    batch_shards,
    on_mesh,
    placed,
    replicated,
)
from plmjax.types import Batch


@dataclasses.dataclass(frozen=True)
class Template:
    """A row with blanks.

    tokens: ids, those around the text included, a mask at each blank.
    order: the places of the blanks, in the order in which they are filled.
    seed, sample: of the draws, which depend on these, the tokens and the place, and nothing else.
    """

    tokens: tuple[int, ...]
    order: tuple[int, ...]
    seed: int = 0
    sample: int = 0


@dataclasses.dataclass(frozen=True)
class Filled:
    """A row without blanks.

    tokens: of the whole row.
    logprobs: of each blank, in the order in which they were filled: the model's own of the token
      when it was taken, before anything in `DecodingConfig`.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


def in_order(
    tokens: Sequence[int], blanks: Sequence[int], order: str | Sequence[int], seed: int, sample: int
) -> Template:
    """The template of a text.

    Args:
      tokens: ids, a mask at each blank.
      blanks: the places of the blanks, ascending.
      order: one of ORDERS, or a permutation of the blanks' numbers.
      seed, sample: of the draws, and of a random order.

    Raises:
      UserError: if there is nothing to fill, or the permutation is of another length.
    """
    if not blanks:
        raise UserError("there is no blank to fill")
    numbers: Any = range(len(blanks))
    if order == "right":
        numbers = reversed(numbers)
    elif order == "random":
        seeds = (seed, prompt_number(tokens), sample)
        numbers = np.random.default_rng(seeds).permutation(len(blanks))
    elif order != "left":
        numbers = order
        if len(order) != len(blanks):
            raise UserError(
                f"there are {len(blanks)} blanks, and --order is a permutation of {len(order)}"
            )
    return Template(tuple(tokens), tuple(blanks[number] for number in numbers), seed, sample)


@dataclasses.dataclass(frozen=True)
class Filler:
    """A model that fills in blanks, on a mesh.

    Attributes:
      objective: with `masked_logits`.
      params: as `objective.apply` takes them, on the mesh.
      mesh, rules: how everything is laid out.
      pad: the id of padding.
      rows: most rows of a batch, rounded up to what the mesh splits it into.
    """

    objective: nn.Module
    params: Any
    mesh: Mesh
    rules: tuple = RULES
    pad: int = 0
    rows: int = 16

    def fill(
        self, templates: Sequence[Template], config: DecodingConfig, tokens_per_step: int = 1
    ) -> list[Filled]:
        """Each template filled.

        A row is padded to one of few lengths, by its own length and by none beside it.

        Args:
          templates: no longer than the model.
          config: how; `samples` is not read.
          tokens_per_step: blanks that are filled at once, none of them knowing of the others.

        Raises:
          UserError: see `check_fills`.
        """
        check_fills(config)
        switches, values = Switches.of(config, ()), Values.of(config)
        found: dict[int, Filled] = {}
        with on_mesh(self.mesh, self.rules):
            for numbers, length in self._batches(templates):
                some = [templates[number] for number in numbers]
                steps = -(-max(len(one.order) for one in some) // tokens_per_step)
                tokens_BL, logprobs_BS = self._compiled(
                    *(self.params, self._batch(some, length, tokens_per_step)),
                    *(jnp.int32(steps), values),
                    **{"width": tokens_per_step, "switches": switches},
                )
                tokens_BL, logprobs_BS = jax.device_get((tokens_BL, logprobs_BS))
                for row, (number, one) in enumerate(zip(numbers, some, strict=True)):
                    tokens = tokens_BL[row, : len(one.tokens)].tolist()
                    logprobs = logprobs_BS[row, : len(one.order)].tolist()
                    found[number] = Filled(tuple(tokens), tuple(logprobs))
        return [found[number] for number in range(len(templates))]

    @property
    def _parts(self) -> int:
        return batch_shards(self.mesh, self.rules)

    def _batches(self, templates: Sequence[Template]) -> Iterator[tuple[list[int], int]]:
        """The numbers of the templates of each batch, and its length."""
        lengths: dict[int, list[int]] = {}
        longest = self.objective.backbone.config.longest
        for number, one in enumerate(templates):
            lengths.setdefault(bucket(len(one.tokens), longest), []).append(number)
        most = -(-self.rows // self._parts) * self._parts
        for length in sorted(lengths, reverse=True):  # what needs the most memory comes first
            numbers = lengths[length]
            # Those with as many blanks go together: a batch takes as long as the most of them.
            numbers.sort(key=lambda number: -len(templates[number].order))
            for begin in range(0, len(numbers), most):
                yield numbers[begin : begin + most], length

    def _batch(self, some: Sequence[Template], length: int, width: int) -> Batch:
        """`tokens`, `attention_mask` int32 [B, L]; `order` int32 [B, S], L for no blank; `numbers`
        uint32 [B, 3] of seeds, templates and samples."""
        rows = row_bucket(len(some), self._parts)
        batch = {
            "tokens": np.full((rows, length), self.pad, np.int32),
            "attention_mask": np.zeros((rows, length), np.int32),
            "order": np.full((rows, -(-length // width) * width), length, np.int32),
            "numbers": np.zeros((rows, 3), np.uint32),
        }
        batch["attention_mask"][:, 0] = 1  # of rows that are only padding
        for row, one in enumerate(some):
            batch["tokens"][row, : len(one.tokens)] = one.tokens
            batch["attention_mask"][row, : len(one.tokens)] = 1
            batch["order"][row, : len(one.order)] = one.order
            batch["numbers"][row] = one.seed, prompt_number(one.tokens), one.sample
        sharding = batch_sharding(self.mesh, self.rules)
        return placed(batch, sharding, range(self._parts), self._parts)

    @functools.cached_property
    def _compiled(self) -> Any:
        # A copy in each process, which can look at its own devices only.
        return jax.jit(
            functools.partial(filled, self.objective),
            static_argnames=("width", "switches"),
            out_shardings=replicated(self.mesh),
        )


def filled(
    objective: nn.Module,
    params: Any,
    batch: Batch,
    steps: jax.Array,
    values: Values,
    *,
    width: int,
    switches: Switches,
) -> tuple[jax.Array, jax.Array]:
    """The rows with their blanks filled, `width` of them at each of `steps`.

    Args:
      objective, params: the model.
      batch: see `Filler._batch`.
      steps: int scalar.
      values, switches: what is on, as of `plmjax.decoding.loop`.

    Returns:
      int32 [B, L], and float32 [B, S], the log-probabilities in order.
    """
    mask_BL, order_BS, numbers_B3 = (batch[key] for key in ("attention_mask", "order", "numbers"))
    rows, length = mask_BL.shape
    keys_B = row_keys(*numbers_B3.T) if switches.sample else None
    # What stands in the template has the lowest rank; blanks of a step do not know of each other.
    steps_S = 1 + jnp.arange(order_BS.shape[1]) // width
    ranks_BL = (
        jnp.zeros_like(mask_BL).at[jnp.arange(rows)[:, None], order_BS].set(steps_S, mode="drop")
    )

    def step(number: jax.Array, texts: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        tokens_BL, logprobs_BS = texts
        places_BT = jax.lax.dynamic_slice_in_dim(order_BS, number * width, width, axis=1)
        inside_BT = jnp.minimum(places_BT, length - 1)
        logits_BTV = blanks_logits(objective, params, tokens_BL, mask_BL, inside_BT, ranks_BL)
        seen_BV = None
        if values.repetition_penalty is not None:
            seen_BV = tokens_in(tokens_BL, mask_BL, logits_BTV.shape[-1])
        token_BT, found_BT = _taken(logits_BTV, places_BT, keys_B, seen_BV, switches, values)
        row_B1 = jnp.arange(rows)[:, None]
        tokens_BL = tokens_BL.at[row_B1, places_BT].set(token_BT, mode="drop")
        at = (0, number * width)
        return tokens_BL, jax.lax.dynamic_update_slice(logprobs_BS, found_BT, at)

    texts = batch["tokens"], jnp.zeros(order_BS.shape, jnp.float32)
    return jax.lax.fori_loop(0, steps, step, texts)


def _taken(
    logits_BTV: jax.Array,
    places_BT: jax.Array,
    keys_B: jax.Array | None,
    seen_BV: jax.Array | None,
    switches: Switches,
    values: Values,
) -> tuple[jax.Array, jax.Array]:
    """A token for each place, and its log-probability: int32 and float32 [B, T]."""
    rows, width, vocabulary = logits_BTV.shape
    logits_NV = scores_NV = logits_BTV.reshape(-1, vocabulary)
    if seen_BV is not None:
        seen_NV = jnp.repeat(seen_BV, width, axis=0)
        scores_NV = processors.penalised(scores_NV, seen_NV, values.repetition_penalty)
    if switches.banned_tokens:
        scores_NV = processors.without(scores_NV, switches.banned_tokens)
    if switches.sample:
        keys_N = jax.vmap(jax.random.fold_in)(jnp.repeat(keys_B, width), places_BT.reshape(-1))
        token_N = drawn(warped(scores_NV, switches, values), keys_N, jnp.int32(0))
    else:
        token_N = best(scores_NV)
    chosen_N1 = jnp.take_along_axis(logits_NV, token_N[:, None], axis=1)
    found_N1 = chosen_N1 - jax.nn.logsumexp(logits_NV, axis=1, keepdims=True)
    return token_N.reshape(rows, width), found_N1.reshape(rows, width)
