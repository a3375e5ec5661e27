"""Texts with blanks, and what a model that fills in blanks writes there, in any order."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from plmjax.asking import framing_of
from plmjax.data.tokenizers.base import Tokenizer, require_id
from plmjax.data.tokenizers.written import Writing, read_prompt
from plmjax.decoding.any_order import Filled, Filler, Template, in_order
from plmjax.decoding.orders import check_fills
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.loaded import Loaded
from plmjax.prompts import Prompt

AT_ONCE = 16
"""So many batches are sorted by length together."""


@dataclasses.dataclass(frozen=True)
class FilledText:
    """A text whose blanks were filled.

    prompt: with the blanks. sample: its number among those of the prompt.
    text: whole. tokens: its, fixed ones and filled ones.
    order: the places in `tokens` that were filled, in that order.
    logprobs: of each of them when it was taken; None where nobody asked.
    """

    prompt: Prompt
    sample: int
    text: str
    tokens: tuple[int, ...]
    order: tuple[int, ...]
    logprobs: tuple[float, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; with what the prompt's line had besides."""
        given = {} if self.prompt.text is None else {"prompt": self.prompt.text}
        found = {"sample": self.sample, "text": self.text}
        found |= {"tokens": list(self.tokens), "order": list(self.order)}
        if self.logprobs is not None:
            found["logprobs"] = list(self.logprobs)
        return {**self.prompt.besides, **given, **found}


class BlankWriter:
    """A masked language model that writes where a prompt has masks.

    Args:
      loaded: the model.
      config: how; special tokens are never written.
      order: one of `plmjax.decoding.orders.ORDERS`, or a permutation of the blanks' numbers.
      tokens_per_step: blanks filled at once.
      slots: places of a text whose prompt has no mask, among which its words are spread; 0 where
        prompts have masks.
      batch_size: texts at once.

    Raises:
      UserError: if the model does not fill in blanks, or settings do nothing here.
    """

    streams = False

    def __init__(
        self,
        loaded: Loaded,
        config: DecodingConfig,
        order: str | tuple[int, ...] = "random",
        tokens_per_step: int = 1,
        slots: int = 0,
        batch_size: int = 16,
    ):
        check_fills(config)
        if not loaded.objective.fills_blanks:
            raise UserError(
                f"--order is for models that fill in blanks, and --model={loaded.path} is of the"
                f" family {loaded.family}, which writes from left to right; leave it out"
            )
        self.loaded, self.order, self.tokens_per_step = loaded, order, tokens_per_step
        self.slots, self.batch_size = slots, batch_size
        tokenizer = loaded.tokenizer
        self._mask = require_id(tokenizer, "mask")
        self.config = dataclasses.replace(config, banned_tokens=tokenizer.special_ids)
        _, self._frame = framing_of(loaded)
        self._filler = Filler(
            *(loaded.objective, loaded.params, loaded.mesh, loaded.rules, loaded.pad, batch_size)
        )
        self._writing = Writing(tokenizer, goes_on=False)

    def before(self, prompt: Prompt) -> str:
        """Nothing: the text is whole."""
        del prompt
        return ""

    def write(self, prompts: Sequence[Prompt]) -> Iterator[FilledText]:
        """The texts of each prompt, in their order; all prompts are checked before.

        Raises:
          UserError: for a prompt without a blank, with a word that the vocabulary lacks, with more
            tokens than the model has places, or with other blanks than a permutation has numbers.
        """
        asked = [(prompt, one) for prompt in prompts for one in self._templates(prompt)]
        most = AT_ONCE * self.batch_size
        for first in range(0, len(asked), most):
            part = asked[first : first + most]
            templates = [template for _, template in part]
            found = self._filler.fill(templates, self.config, self.tokens_per_step)
            for (prompt, template), one in zip(part, found, strict=True):
                yield self._filled(prompt, template, one)

    def _templates(self, prompt: Prompt) -> list[Template]:
        """One for each sample."""
        ids = self._ids(prompt)
        left, right = self._frame
        tokens, most = [*left, *ids, *right], self.loaded.context
        if len(tokens) > most:
            raise UserError(
                f"{prompt.where} has {len(ids)} places, with those around it {len(tokens)}, and the"
                f" model reads {most}; give {most - len(left) - len(right)} or fewer"
            )
        blanks = [place for place, token in enumerate(tokens) if token == self._mask]
        try:
            return [
                in_order(tokens, blanks, self.order, self.config.seed, sample)
                for sample in range(self.config.samples)
            ]
        except UserError as error:
            raise UserError(f"{prompt.where}: {error}") from None

    def _ids(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt, with its masks."""
        tokenizer, vocab_size = self.loaded.tokenizer, self.loaded.model.vocab_size
        if prompt.tokens is not None:
            outside = [n for n in prompt.tokens if not 0 <= n < vocab_size]
            if outside:
                raise UserError(
                    f"{prompt.where} has the token {outside[0]}, and the model's vocabulary has"
                    f" {vocab_size}; use the tokenizer that the model was trained with"
                )
        mask = tokenizer.vocabulary[self._mask]
        ids = prompt.tokens
        if ids is None:
            text = _repeated(prompt, mask)
            ids = read_prompt(tokenizer, text)
            _check_known(tokenizer, prompt, text.replace(mask, " "), ids)
        if self._mask in ids:
            if self.slots:
                raise UserError(
                    f"{prompt.where} has its own {mask}, and --slots={self.slots} would say"
                    " otherwise how many there are; leave one of them out"
                )
            return list(ids)
        if not self.slots:
            raise UserError(
                f"{prompt.where} has no blank: write {mask} or {mask}*12 where the model is to"
                " write, or give --slots=N for a text of N tokens with these words spread over it"
            )
        groups = _words(tokenizer, prompt)
        return _spread(groups, self.slots, self._mask, prompt.where)

    def _filled(self, prompt: Prompt, template: Template, found: Filled) -> FilledText:
        left, right = self._frame
        tokens = found.tokens[len(left) : len(found.tokens) - len(right)]
        return FilledText(
            *(prompt, template.sample, self._writing.text(tokens), tokens),
            order=tuple(place - len(left) for place in template.order),
            logprobs=found.logprobs if self.config.logprobs else None,
        )


def _repeated(prompt: Prompt, mask: str) -> str:
    """The text with `[MASK]*3` written out."""

    def several(match: re.Match) -> str:
        count = int(match[1])
        if not 1 <= count <= 1 << 20:
            raise UserError(f"{prompt.where} has {match[0]}; give a number of 1 or more")
        return mask * count

    return re.sub(rf"{re.escape(mask)}\*(\d+)", several, prompt.text)


def _check_known(tokenizer: Tokenizer, prompt: Prompt, text: str, ids: Sequence[int]) -> None:
    """Raises a UserError for words that the vocabulary lacks, and for other special tokens."""
    special = set(tokenizer.special_ids) - {tokenizer.mask_id}
    found = next((index for index in ids if index in special), None)
    if found is None:
        return
    name = tokenizer.vocabulary[found]
    if found == tokenizer.unk_id and name not in prompt.text:
        words = text.split()
        lacking = (word for word in words if found in tokenizer.encode_batch([word])[0])
        word = next(lacking, prompt.text)
        raise UserError(
            f"{prompt.where}: the vocabulary has no '{word}', which would be {name}; give another"
            " word"
        )
    raise UserError(
        f"{prompt.where} has {name}, which is no text; the model puts what surrounds a text there"
        " itself, leave it out"
    )


def _words(tokenizer: Tokenizer, prompt: Prompt) -> list[list[int]]:
    """The tokens of each word between white space."""
    if prompt.tokens is not None:
        return [[index] for index in prompt.tokens]
    words = [f" {word}" if number else word for number, word in enumerate(prompt.text.split())]
    return [ids.tolist() for ids in tokenizer.encode_batch(words)] if words else []


def _spread(groups: Sequence[Sequence[int]], slots: int, mask: int, where: str) -> list[int]:
    """The groups with masks between and around them, as evenly as may be; `slots` in all."""
    blanks = slots - sum(map(len, groups))
    if blanks < 1:
        raise UserError(
            f"{where} has {slots - blanks} tokens, which leaves nothing to write in"
            f" --slots={slots}; give more"
        )
    found: list[int] = []
    for number in range(len(groups) + 1):
        upto, before = ((n * blanks) // (len(groups) + 1) for n in (number + 1, number))
        found += [mask] * (upto - before)
        found += groups[number] if number < len(groups) else []
    return found
