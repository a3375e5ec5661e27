"""What a model writes, as text: whole, piece by piece, or in a session at a terminal."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from plmjax.data.tokenizers.written import Stream, Writing, cut_before, stopped
from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.decoding.watching import Continuation
from plmjax.errors import UserError
from plmjax.loaded import Loaded, check_writes
from plmjax.prompts import Prompt, encoded

AT_ONCE = 16
"""So many batches are sorted by length together, and are written before the next are begun."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A text that follows a prompt.

    sample: its number among those of the prompt. text: up to a stop text. tokens: those of the
    text, without the one that ended it. finished: `end` where the model has ended it, `stop` where
    a stop text has, `length` where it may go on. logprobs: of each token, end_logprob: of the one
    that ended it; None where there is none or nobody asked. score: of a beam search; else None.
    """

    prompt: Prompt
    sample: int
    text: str
    tokens: tuple[int, ...]
    finished: str
    logprobs: tuple[float, ...] | None = None
    end_logprob: float | None = None
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; with what the prompt's line had besides."""
        given = self.prompt.text
        of_prompt = {"prompt": given} if given is not None else {}
        if self.prompt.tokens is not None:
            of_prompt["prompt_tokens"] = list(self.prompt.tokens)
        found = {
            "sample": self.sample,
            "text": self.text,
            "tokens": list(self.tokens),
            "finished": self.finished,
        }
        for name in ("logprobs", "end_logprob", "score"):
            value = getattr(self, name)
            if value is not None:
                found[name] = list(value) if isinstance(value, tuple) else value
        return {**self.prompt.besides, **of_prompt, **found}


class Writer:
    """A model that goes on with texts, or answers them.

    Args:
      loaded: the model.
      config: how; a framing's forced tokens are added.
      stops: texts that end what is written; they are no part of it.
      batch_size: texts that are written at once.

    Raises:
      UserError: if the model is none that writes.
    """

    def __init__(
        self,
        loaded: Loaded,
        config: DecodingConfig,
        stops: Sequence[str] = (),
        batch_size: int = 16,
    ):
        check_writes(loaded)
        self.stops, self.batch_size = tuple(stops), batch_size
        forced = {
            name: getattr(loaded.framing, name)
            for name in ("forced_begin", "forced_end")
            if loaded.is_seq2seq and getattr(loaded.framing, name) is not None
        }
        self.config = dataclasses.replace(config, **forced)
        self._generator = Generator.of(loaded, most_rows=batch_size)
        # It has the parameters in the form that it reads; the others may go.
        self.loaded = dataclasses.replace(loaded, params=None)
        self._writing = Writing(loaded.tokenizer, goes_on=not loaded.is_seq2seq)

    @property
    def streams(self) -> bool:
        """Whether text can be shown while it is written: not while others may still be better."""
        return self.config.beams == 1 and self.config.samples == 1

    def before(self, prompt: Prompt) -> str:
        """What people read before the text: the prompt, where the text goes on with it."""
        return "" if self.loaded.is_seq2seq else prompt.text or ""

    def write(self, prompts: Sequence[Prompt]) -> Iterator[Written]:
        """The texts that follow each prompt, in their order; all prompts are checked before.

        Raises:
          UserError: see `plmjax.prompts.encoded`.
        """
        ids = encoded(self.loaded, prompts, self.config.max_new_tokens)
        for first in range(0, len(prompts), AT_ONCE * self.batch_size):
            part = slice(first, first + AT_ONCE * self.batch_size)
            found = self._generator.generate(ids[part], self.config, stop=self._stop())
            for prompt, continuations in zip(prompts[part], found, strict=True):
                for sample, continuation in enumerate(continuations):
                    yield self._written(prompt, sample, continuation)

    def stream(self, prompt: Prompt, show: Callable[[str], None], echo: bool = False) -> Written:
        """The text that follows a prompt, of which `show` gets pieces as they are certain.

        Args:
          prompt: to go on with.
          show: takes text.
          echo: whether it gets the prompt first, when that was checked.

        Raises:
          UserError: see `plmjax.prompts.encoded`.
        """
        ids = encoded(self.loaded, [prompt], self.config.max_new_tokens)
        if echo:
            show(self.before(prompt))
        stream = Stream(self._writing, self.stops)

        def see(index: int, sample: int, tokens: Sequence[int]) -> None:
            del index, sample  # there is one of each
            show(stream.add(tokens))

        found = self._generator.generate(ids, self.config, stop=self._stop(), on_tokens=see)
        ((continuation,),) = found
        show(stream.end())
        return self._written(prompt, 0, continuation)

    def _stop(self) -> Callable[[list[int]], int | None] | None:
        # A search is stopped by nothing but ends: its texts are cut when it is over.
        if not self.stops or self.config.beams > 1:
            return None
        return lambda tokens: stopped(self._writing, self.stops, tokens)

    def _written(self, prompt: Prompt, sample: int, found: Continuation) -> Written:
        tokens, text = found.tokens, self._writing.text(found.tokens)
        finished = "end" if found.finished else "length"
        cut = cut_before(text, self.stops)
        if cut is not None:
            text, finished = cut, "stop"
            tokens = tokens[: self._within(tokens, cut)]
        logprobs = end_logprob = None
        if self.config.logprobs and found.logprobs is not None:
            logprobs = found.logprobs[: len(tokens)]
            if finished == "end":
                end_logprob = next(iter(found.logprobs[len(tokens) :]), None)
        score = found.score if self.config.beams > 1 else None
        return Written(prompt, sample, text, tokens, finished, logprobs, end_logprob, score)

    def _within(self, tokens: tuple[int, ...], text: str) -> int:
        """How many of the tokens write nothing that is not in the text."""
        counts = range(len(tokens), 0, -1)
        return next((n for n in counts if text.startswith(self._writing.text(tokens[:n]))), 0)


def session(writer: Writer, ask: Callable[[str], str], show: Callable[[str], None]) -> None:
    """Prompts are asked for and gone on with until there are no more.

    Ctrl-C ends what is being written, at the question the session; so does Ctrl-D.

    Args:
      writer: of the texts.
      ask: shows a question and returns a line; EOFError at the end.
      show: shows text at once.
    """
    while True:
        try:
            text = ask("> ")
        except (EOFError, KeyboardInterrupt):
            show("\n")
            return
        if not text:
            continue
        prompt = Prompt("the prompt", text)
        try:
            show_one(writer, prompt, show)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            show("\n")


def show_one(writer: Writer, prompt: Prompt, show: Callable[[str], None]) -> None:
    """Shows what follows a prompt, piece by piece where that is possible."""
    if writer.streams:
        writer.stream(prompt, show, echo=True)
        show("\n")
        return
    show_all(writer, [prompt], show)


def show_all(writer: Writer, prompts: Sequence[Prompt], show: Callable[[str], None]) -> None:
    """Shows all texts; where there are several, each below a line that says which it is."""
    several = {"prompt": len(prompts) > 1, "text": writer.config.samples * writer.config.n_best > 1}
    numbers: dict[int, int] = {}
    for one in writer.write(prompts):
        number = numbers.setdefault(id(one.prompt), len(numbers) + 1)
        names = {"prompt": number, "text": one.sample + 1}
        heading = ", ".join(f"{name} {names[name]}" for name, shown in several.items() if shown)
        above = f"[{heading}]\n" if heading else ""
        show(f"{above}{writer.before(one.prompt)}{one.text}\n")
