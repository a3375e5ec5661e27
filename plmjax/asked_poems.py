"""Writes poems that are asked for.

Decoding is that of the released code (Liao et al. 2019): the three best characters are drawn from,
none comes twice but ， and 。, [UNK] never does, and what is written is cut to the form's length.
That length is all it is told of form; rhyme and tone are up to the model.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from plmjax.data.poetry.asking import Asked
from plmjax.data.poetry.forms import FORMS, Poem
from plmjax.data.tokenizers import Tokenizer
from plmjax.decoding.generation import Generator
from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.loaded import Loaded, check_writes

RELEASED = {"sample": True, "top_k": 3, "taken_penalty": 1000.0}
"""Of DecodingConfig, as the released script has them."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A poem that was written.

    Attributes:
      asked: for what.
      poem: what there is.
      seed: of its draws.
      finished: whether it is as long as its form, or the model has ended it before that.
    """

    asked: Asked
    poem: Poem
    seed: int
    finished: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        given = {key: value for key, value in dataclasses.asdict(self.asked).items() if value}
        return {**given, "seed": self.seed, "body": self.poem.body, "lines": self.poem.lines}

    def as_text(self) -> str:
        """For people: a heading and the lines, couplets on one."""
        a = self.asked
        if a.form == "couplet":
            return f"{a.first}，\n{self.poem.body}\n"
        heading = " ".join(filter(None, (FORMS[a.form].name or a.tune, a.acrostic or a.theme)))
        return "\n".join((heading, *re.findall("[^。]+。?", self.poem.body), ""))


class PoemWriter:
    """A model that writes poems.

    Args:
      loaded: the model.
      config: how; RELEASED are its defaults.
      batch_size: poems that are written at once.

    Raises:
      UserError: if the model is none that writes, or its vocabulary lacks the marks.
    """

    def __init__(self, loaded: Loaded, config: DecodingConfig, batch_size: int = 64):
        check_writes(loaded)
        self.loaded, tokenizer = loaded, loaded.tokenizer
        spared = tuple(tokenizer.ids[mark] for mark in "，。" if mark in tokenizer.ids)
        unknown = () if tokenizer.unk_id is None else (tokenizer.unk_id,)
        self.config = dataclasses.replace(config, spared_tokens=spared, banned_tokens=unknown)
        self._generator = Generator.of(loaded, most_rows=batch_size)

    def write(self, poems: Sequence[Asked], seeds: Sequence[int]) -> Iterator[Written]:
        """The poems, in their order, `samples` of the config for each; all are checked before.

        Args:
          poems: what is asked for.
          seeds: of each.

        Raises:
          UserError: for characters outside of the vocabulary, and what is too long.
        """
        prompts = [self._prompt(one) for one in poems]
        found: dict[int, list[Any]] = {}
        # Forms of one length together: the length is a part of the config.
        for length in dict.fromkeys(one.length for one in poems):
            at = [number for number, one in enumerate(poems) if one.length == length]
            config = dataclasses.replace(self.config, max_new_tokens=length)
            made = self._generator.generate(
                [prompts[number] for number in at], config, seeds=[seeds[number] for number in at]
            )
            found |= dict(zip(at, made, strict=True))
        for number, one in enumerate(poems):
            for continuation in found[number]:
                body = text_of(self.loaded.tokenizer, continuation.tokens)
                whole = continuation.finished or len(body) == one.length
                yield Written(one, one.written(body), seeds[number], whole)

    def _prompt(self, one: Asked) -> list[int]:
        tokenizer = self.loaded.tokenizer
        subject = next((name for name in ("acrostic", "first") if getattr(one, name)), "theme")
        for name, value in ((subject, one.subject), ("tune", one.tune)):
            missing = [c for c in value if tokenizer.unk_id in ids_of(tokenizer, c)]
            if missing:
                raise UserError(
                    f"{name}={value} has {'、'.join(missing)}, not in the model's vocabulary; use"
                    " other characters, in the script that it was trained on"
                )
        ids = [*self.loaded.framing.before, *ids_of(tokenizer, one.opening)]
        longest = min(self.loaded.context, self.loaded.settings.data.seq_len)
        if len(ids) + one.length > longest:
            room = longest - one.length - len(ids) + len(one.subject)
            raise UserError(
                f"theme={one.subject[:20]} is too long: {len(one.subject)} characters, and there is"
                f" room for {max(room, 0)} beside a poem of {one.length}; give a shorter one"
            )
        return ids


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text, without what surrounds it."""
    return tokenizer.encode_batch([text])[0].tolist() if text else []


def text_of(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids, with no space between characters."""
    return tokenizer.decode(ids).replace(" ", "")
