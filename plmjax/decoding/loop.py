"""The loop that takes one token after another, on the device."""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from plmjax.decoding import processors
from plmjax.decoding.sampling import best, drawn, row_keys
from plmjax.decoding.settings import DecodingConfig
from plmjax.decoding.steps import Given, of_prompt, of_token, repeated, tokens_in


@dataclasses.dataclass(frozen=True)
class Switches:
    """What is compiled: what of a config is on, and what has to be known for it.

    ends: tokens that end a text. sample, top_k, top_p_rule, spared_tokens, banned_tokens,
    no_repeat_ngram, early_stopping, forced_begin, forced_end, logprobs: as of `DecodingConfig`.
    """

    ends: tuple[int, ...]
    sample: bool
    top_k: int
    top_p_rule: str
    spared_tokens: tuple[int, ...]
    banned_tokens: tuple[int, ...]
    no_repeat_ngram: int
    early_stopping: str
    forced_begin: int
    forced_end: int
    logprobs: bool

    @classmethod
    def of(cls, config: DecodingConfig, ends: tuple[int, ...]) -> "Switches":
        """Of a config, for a model that ends texts with `ends`."""
        fields = [field.name for field in dataclasses.fields(cls) if field.name != "ends"]
        found = tuple(dict.fromkeys((*ends, *config.stop_tokens)))
        return cls(ends=found, **{name: getattr(config, name) for name in fields})


@flax.struct.dataclass
class Values:
    """What may change without compiling again: scalars, or None for what is off."""

    most: jax.Array
    least: jax.Array | None
    temperature: jax.Array | None
    top_p: jax.Array | None
    typical_p: jax.Array | None
    repetition_penalty: jax.Array | None
    taken_penalty: jax.Array | None

    @classmethod
    def of(cls, config: DecodingConfig) -> "Values":
        """Of a config."""

        def unless(off: float, value: float, dtype: Any = jnp.float32) -> jax.Array | None:
            return None if value == off else jnp.asarray(value, dtype)

        return cls(
            most=jnp.asarray(config.max_new_tokens, jnp.int32),
            least=unless(0, config.min_new_tokens, jnp.int32),
            temperature=unless(1.0, config.temperature),
            top_p=unless(1.0, config.top_p),
            typical_p=unless(1.0, config.typical_p),
            repetition_penalty=unless(1.0, config.repetition_penalty),
            taken_penalty=unless(1.0, config.taken_penalty),
        )


@flax.struct.dataclass
class Texts:
    """Texts that are being decoded.

    cache: keys and values, of B rows.
    tokens_BM: int32; a prompt, padded in front, and behind it what was taken.
    begin: int scalar, where that begins, the same for all. count: int scalar, how much it is.
    done_B: bool, whether a text has ended.
    keys_B: for draws; None without.
    seen_BV: bool, which tokens are in a text; None where nobody asks.
    logprobs_BT: float32, of what was taken; None where nobody asks.
    """

    cache: Any
    tokens_BM: jax.Array
    begin: jax.Array
    count: jax.Array
    done_B: jax.Array
    keys_B: jax.Array | None
    seen_BV: jax.Array | None
    logprobs_BT: jax.Array | None


def begun(
    model: nn.Module,
    params: Any,
    tokens_BP: jax.Array,
    given: Given,
    source_BS: jax.Array | None,
    numbers_B2: jax.Array,
    is_used_B: jax.Array,
    values: Values,
    *,
    copies: int,
    switches: Switches,
    new: int,
) -> tuple[Texts, Given]:
    """The first token of each text, and what is given with a row for each text.

    Args:
      model, params, tokens_BP, given, source_BS: see `of_prompt`.
      numbers_B2: uint32, seeds and prompts as of `row_keys`.
      is_used_B: bool; other rows have no prompt.
      values, switches: what is on.
      copies: how many texts there are of each prompt.
      new: places for what is taken, of those that `given` has.
    """
    logits_BV, cache = of_prompt(model, params, tokens_BP, given, source_BS)
    cache = repeated(cache, copies)
    given, tokens_BP, numbers_B2, is_used_B, logits_BV = jax.tree.map(
        lambda x: jnp.repeat(x, copies, axis=0),
        (given, tokens_BP, numbers_B2, is_used_B, logits_BV),
    )
    rows, length = tokens_BP.shape
    keys_B = seen_BV = logprobs_BT = None
    if switches.sample:
        keys_B = row_keys(*numbers_B2.T, jnp.arange(rows) % copies)
    if values.repetition_penalty is not None:
        seen_BV = tokens_in(tokens_BP, given.mask_BM[:, :length], logits_BV.shape[1])
    if switches.logprobs:
        logprobs_BT = jnp.zeros((rows, new), jnp.float32)
    texts = Texts(
        cache=cache,
        tokens_BM=jnp.pad(tokens_BP, ((0, 0), (0, new))),
        begin=jnp.int32(length),
        count=jnp.int32(0),
        done_B=~is_used_B,
        keys_B=keys_B,
        seen_BV=seen_BV,
        logprobs_BT=logprobs_BT,
    )
    return taken(texts, logits_BV, given, switches, values), given


def processed(
    logits_BV: jax.Array,
    switches: Switches,
    values: Values,
    tokens_BM: jax.Array,
    padding_B: jax.Array,
    seen_BV: jax.Array | None,
    end: jax.Array,
    count: jax.Array,
) -> jax.Array:
    """Scores after what makes some tokens less likely, or forbids them: float32 [B, V].

    Args:
      logits_BV: float32.
      switches, values: what is on.
      tokens_BM: the texts so far. padding_B: where they begin. seen_BV: which tokens they have.
      end: int scalar, the place that is scored. count: int scalar, how many tokens were taken.
    """
    if values.repetition_penalty is not None:
        logits_BV = processors.penalised(logits_BV, seen_BV, values.repetition_penalty)
    if values.taken_penalty is not None:
        places_M = jnp.arange(tokens_BM.shape[1])
        is_taken_BM = jnp.broadcast_to(
            (places_M >= end - count) & (places_M < end), tokens_BM.shape
        )
        taken_BV = tokens_in(tokens_BM, is_taken_BM, logits_BV.shape[1])
        logits_BV = processors.pushed_out(
            logits_BV, taken_BV, values.taken_penalty, switches.spared_tokens
        )
    if switches.banned_tokens:
        logits_BV = processors.without(logits_BV, switches.banned_tokens)
    if switches.no_repeat_ngram:
        logits_BV = processors.without_repeats(
            logits_BV, tokens_BM, padding_B, end, switches.no_repeat_ngram
        )
    if values.least is not None and switches.ends:
        logits_BV = processors.without_ends(logits_BV, switches.ends, count >= values.least)
    if switches.forced_begin >= 0:
        logits_BV = processors.forced(logits_BV, switches.forced_begin, count == 0)
    if switches.forced_end >= 0:
        logits_BV = processors.forced(logits_BV, switches.forced_end, count == values.most - 1)
    return logits_BV


def warped(logits_BV: jax.Array, switches: Switches, values: Values) -> jax.Array:
    """Scores after what shapes the distribution that is drawn from."""
    if values.temperature is not None:
        logits_BV = logits_BV / values.temperature
    if switches.top_k:
        logits_BV = processors.top_k(logits_BV, switches.top_k)
    if values.top_p is not None:
        logits_BV = processors.top_p(logits_BV, values.top_p, switches.top_p_rule)
    if values.typical_p is not None:
        logits_BV = processors.typical(logits_BV, values.typical_p)
    return logits_BV


def taken(
    texts: Texts, logits_BV: jax.Array, given: Given, switches: Switches, values: Values
) -> Texts:
    """The texts with one more token each; texts that have ended get whatever is the best."""
    end = texts.begin + texts.count
    scores_BV = processed(
        logits_BV,
        *(switches, values, texts.tokens_BM, given.padding_B, texts.seen_BV, end, texts.count),
    )
    if switches.sample:
        token_B = drawn(warped(scores_BV, switches, values), texts.keys_B, texts.count)
    else:
        token_B = best(scores_BV)
    seen_BV, logprobs_BT = texts.seen_BV, texts.logprobs_BT
    if seen_BV is not None:
        seen_BV = seen_BV.at[jnp.arange(len(token_B)), token_B].set(True)
    if logprobs_BT is not None:
        chosen_B1 = jnp.take_along_axis(logits_BV, token_B[:, None], axis=1)
        found_B1 = chosen_B1 - jax.nn.logsumexp(logits_BV, axis=1, keepdims=True)
        logprobs_BT = jax.lax.dynamic_update_slice(logprobs_BT, found_B1, (0, texts.count))
    return texts.replace(
        tokens_BM=jax.lax.dynamic_update_slice(texts.tokens_BM, token_B[:, None], (0, end)),
        count=texts.count + 1,
        done_B=texts.done_B | is_end(token_B, switches.ends),
        seen_BV=seen_BV,
        logprobs_BT=logprobs_BT,
    )


def is_end(tokens: jax.Array, ends: tuple[int, ...]) -> jax.Array:
    """Whether tokens end a text: bool, as many."""
    return jnp.isin(tokens, jnp.asarray(ends, jnp.int32))


def decoded(
    model: nn.Module,
    params: Any,
    texts: Texts,
    given: Given,
    until: jax.Array,
    switches: Switches,
    values: Values,
) -> Texts:
    """The texts after tokens were taken until there are `until` of them or all have ended."""

    def goes_on(texts: Texts) -> jax.Array:
        return (texts.count < until) & ~texts.done_B.all()

    def step(texts: Texts) -> Texts:
        return stepped(model, params, texts, given, switches, values)

    return jax.lax.while_loop(goes_on, step, texts)


def stepped(
    model: nn.Module,
    params: Any,
    texts: Texts,
    given: Given,
    switches: Switches,
    values: Values,
) -> Texts:
    """The texts with the token behind the last one that was taken."""
    place = texts.begin + texts.count - 1
    token_B = jax.lax.dynamic_slice_in_dim(texts.tokens_BM, place, 1, axis=1)[:, 0]
    logits_BV, cache = of_token(model, params, texts.cache, token_B, given, place)
    return taken(texts.replace(cache=cache), logits_BV, given, switches, values)
