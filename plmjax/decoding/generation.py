"""From prompts to texts: what the verbs call."""

import contextlib
import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from plmjax.decoding import beams, loop, steps
from plmjax.decoding.batches import Batch, batched, bucket, check_prompts
from plmjax.decoding.parameters import prepared
from plmjax.decoding.sampling import prompt_number
from plmjax.decoding.settings import DecodingConfig
from plmjax.decoding.watching import Continuation, OnTokens, Stop, Watched, of_search
from plmjax.errors import UserError
from plmjax.parallel.rules import RULES, batch_shards, on_mesh


class Generator:
    """A model that continues prompts, or of an encoder-decoder answers them.

    Args:
      objective: with the model under `backbone`.
      params: of the objective, as `apply` takes them, where they are to stay; None where only
        `with_parameters` is to be used.
      begin: a decoder's first token, for empty prompts, None if it has none; or what an
        encoder-decoder's target begins with, one token or several.
      end: the token that ends a text, or several; None for none.
      mesh, rules: where `params` are; None for one device.
      most_rows: how many texts are decoded at once.
      chunk: after how many tokens `stop` is asked and `on_tokens` called.
      unroll: whether layers are compiled one by one, which decodes faster, and not scanned, which
        needs no second copy of the parameters; None for that where there is one device.
    """

    def __init__(
        self,
        objective: nn.Module,
        params: Any,
        *,
        begin: int | Sequence[int] | None = None,
        end: int | Sequence[int] | None = None,
        mesh: Mesh | None = None,
        rules: tuple = RULES,
        most_rows: int = 64,
        chunk: int = 8,
        unroll: bool | None = None,
    ):
        self.begin, self.ends = _tokens(begin), _tokens(end)
        self.mesh, self.rules, self.most_rows, self.chunk = mesh, rules, most_rows, chunk
        unroll = (mesh is None or mesh.size == 1) if unroll is None else unroll
        self._unroll = unroll
        self.model = steps.alone(objective, remat="none", **({"scan": False} if unroll else {}))
        self.is_seq2seq = steps.is_seq2seq(self.model)
        self.params = None if params is None else self._prepared(params)
        if self.is_seq2seq and not self.begin:
            raise ValueError("an encoder-decoder needs `begin`, what its target begins with")
        begun, decoded = partial(loop.begun, self.model), partial(loop.decoded, self.model)
        self._begin = jax.jit(begun, static_argnames=("copies", "switches", "new"))
        self._begin_search = jax.jit(
            partial(beams.begun, self.model), static_argnames=("beams", "switches")
        )
        self._search = jax.jit(
            partial(beams.searched, self.model),
            static_argnames="switches",
            donate_argnames="search",
        )
        self._go_on = jax.jit(decoded, static_argnames=("switches",), donate_argnames="texts")

    @classmethod
    def of(cls, loaded: Any, **options: Any) -> "Generator":
        """Of what `plmjax.loaded.load_model` returns."""
        return cls(
            loaded.objective,
            loaded.params,
            begin=loaded.begin,
            end=loaded.end,
            mesh=loaded.mesh,
            rules=loaded.rules,
            **options,
        )

    def with_parameters(self, params: Any) -> "Generator":
        """The same with other parameters of the objective; nothing is compiled again."""
        other = copy.copy(self)
        other.params = self._prepared(params)
        return other

    def _prepared(self, params: Any) -> Any:
        with self._on_mesh():
            return prepared(params["backbone"], self.model.config.dtype, self._unroll)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        config: DecodingConfig,
        *,
        seeds: Sequence[int] | None = None,
        stop: Stop | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[list[Continuation]]:
        """What follows each prompt: of a beam search the best first, else in order of samples.

        Args:
          prompts: tokens; of an encoder-decoder what the encoder reads.
          config: how.
          seeds: of each prompt; None for that of `config`.
          stop, on_tokens: called while texts are decoded, not with a beam search.

        Raises:
          UserError: for a prompt that is empty where the model has no first token, too long, or has
            a token that the model does not; for `stop` with a beam search.
        """
        prompts = [list(map(int, prompt)) for prompt in prompts]
        if not self.is_seq2seq:
            prompts = [prompt or list(self.begin) for prompt in prompts]
        self._check(prompts, config, seeds)
        if config.beams > 1 and (stop or on_tokens):
            raise UserError(
                f"beams={config.beams} cannot show or stop texts while they are searched; leave out"
                " beams, or streaming and stop strings"
            )
        seeds = [config.seed] * len(prompts) if seeds is None else seeds
        parts = 1 if self.mesh is None else batch_shards(self.mesh, self.rules)
        begin = self.begin if self.is_seq2seq else None
        rows = max(self.most_rows // max(config.samples, config.beams), 1)
        found: dict[int, list[Continuation]] = {}
        for batch in batched(prompts, begin, rows, parts):
            with self._on_mesh():
                if config.beams > 1:
                    texts = self._searched(batch, config)
                else:
                    numbers = [
                        (seeds[index], prompt_number(prompts[index])) for index in batch.indexes
                    ]
                    texts = self._sampled(batch, numbers, config, stop, on_tokens)
            found |= dict(zip(batch.indexes, texts, strict=True))
        return [found[index] for index in range(len(prompts))]

    def _check(
        self, prompts: list[list[int]], config: DecodingConfig, seeds: Sequence[int] | None
    ) -> None:
        c, new = self.model.config, config.max_new_tokens
        check_prompts(prompts, c.vocab_size, c.longest, new, self.is_seq2seq)
        if self.is_seq2seq and len(self.begin) + new > c.longest:
            raise UserError(
                f"max_new_tokens={new} is more than the model's {c.longest} places; give at most"
                f" {c.longest - len(self.begin)}"
            )
        named = {"stop_tokens": config.stop_tokens}
        named |= {name: (getattr(config, name),) for name in ("forced_begin", "forced_end")}
        for name, tokens in named.items():
            for token in tokens:
                if token >= c.vocab_size:
                    raise UserError(
                        f"{name} has {token}, and the model's vocabulary has {c.vocab_size}; use"
                        " the tokenizer that the model was trained with"
                    )
        for seed in seeds or ():
            if not 0 <= seed < 2**32:
                raise UserError(f"seed {seed} is out of range; give 0 or more, less than 2^32")

    def _sampled(
        self,
        batch: Batch,
        numbers: Sequence[tuple[int, int]],
        config: DecodingConfig,
        stop: Stop | None,
        on_tokens: OnTokens | None,
    ) -> list[list[Continuation]]:
        """The texts of a batch, `samples` for each prompt; `numbers` are for `row_keys`."""
        copies, most = config.samples, config.max_new_tokens
        switches, values = loop.Switches.of(config, self.ends), loop.Values.of(config)
        new = bucket(most)
        given = steps.Given(batch.mask_BM(new), batch.source_mask_BS)
        numbers_B2 = np.zeros((len(batch.lengths_B), 2), np.uint32)
        numbers_B2[: len(numbers)] = numbers
        is_used_B = np.arange(len(numbers_B2)) < len(numbers)
        texts, given = self._begin(
            *(self.params, batch.tokens_BP, given, batch.source_BS, numbers_B2, is_used_B, values),
            **{"copies": copies, "switches": switches, "new": new},
        )
        watched = Watched(batch.indexes, copies, switches.ends)
        chunk = self.chunk if stop or on_tokens else most
        for until in range(min(chunk, most), most + chunk, chunk):
            until = jnp.int32(min(until, most))
            texts = self._go_on(self.params, texts, given, until, values=values, switches=switches)
            texts = watched.see(texts, stop, on_tokens)
            if watched.ended.all():
                break
        found = watched.continuations(texts)
        return [found[first : first + copies] for first in range(0, len(found), copies)]

    def _searched(self, batch: Batch, config: DecodingConfig) -> list[list[Continuation]]:
        """The best texts of each prompt of a batch."""
        switches, values = loop.Switches.of(config, self.ends), loop.Values.of(config)
        new = bucket(config.max_new_tokens)
        given = steps.Given(batch.mask_BM(new), batch.source_mask_BS)
        is_used_B = np.arange(len(batch.lengths_B)) < len(batch.indexes)
        powers_T = (np.arange(1, new + 1) ** config.length_penalty).astype(np.float32)
        search, given = self._begin_search(
            *(self.params, batch.tokens_BP, given, batch.source_BS, is_used_B, powers_T, values),
            **{"beams": config.beams, "switches": switches},
        )
        search = self._search(self.params, search, given, values=values, switches=switches)
        return of_search(search, len(batch.indexes), config.n_best, switches.ends)

    def _on_mesh(self) -> contextlib.AbstractContextManager:
        if self.mesh is None:
            return contextlib.nullcontext()
        return on_mesh(self.mesh, self.rules)


def _tokens(given: int | Sequence[int] | None) -> tuple[int, ...]:
    """One token, several or none."""
    if given is None:
        return ()
    return (int(given),) if np.ndim(given) == 0 else tuple(map(int, given))
