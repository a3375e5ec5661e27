"""Text as people write it for a model, and as a model writes it for people."""

import re
from collections.abc import Iterable, Sequence

from plmjax.data.tokenizers.base import Tokenizer

_BROKEN = "\ufffd"
_SILENT = ("pad", "bos", "cls", "sep", "eos", "eod")
"""Roles of tokens that surround texts and are none."""

_WIDE = r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
_BETWEEN_WIDE = re.compile(f"(?<={_WIDE}) (?={_WIDE})")


def read_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a prompt, in which special tokens may be written out.

    `<extra_id_0>`, `<mask>` or `<|endoftext|>` are the tokens of that name, as they are to
    transformers, and not the text as in a corpus. White space before a mask belongs to what is
    hidden, where tokens have their space in front.

    Args:
      tokenizer: whose special tokens are meant.
      text: any; an empty one has no ids.
    """
    special = {tokenizer.vocabulary[index]: index for index in tokenizer.special_ids}
    names = sorted(special, key=len, reverse=True)
    if not any(name in text for name in names):
        return _ids(tokenizer, text)
    found: list[int] = []
    for part in re.split(f"({'|'.join(map(re.escape, names))})", text):
        if part not in special:
            found += _ids(tokenizer, part)
            continue
        if special[part] == tokenizer.mask_id:
            found = _without_last_spaces(tokenizer, found)
        found.append(special[part])
    return found


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_batch([text])[0].tolist() if text else []


def _without_last_spaces(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    kept = len(ids)
    while kept and not tokenizer.decode(ids[kept - 1 : kept]).strip():
        kept -= 1
    return ids[:kept]


class Writing:
    """From the tokens that a model writes to text.

    What surrounds texts is left out; other special tokens, such as sentinels, are kept. No space is
    put between two Chinese characters. Ids that the tokenizer lacks, of rows that pad a table, are
    left out.

    Args:
      tokenizer: whose ids they are.
      goes_on: whether the text goes on with another, and begins with a space where there is one.
    """

    def __init__(self, tokenizer: Tokenizer, goes_on: bool):
        self._tokenizer = tokenizer
        self._silent = {tokenizer.id_of(role) for role in _SILENT}
        self._before = _word(tokenizer) if goes_on else []
        self._skipped = len(self._decoded(self._before))

    def text(self, tokens: Iterable[int]) -> str:
        """The text of all tokens that were written."""
        size, silent = self._tokenizer.vocab_size, self._silent
        kept = [index for index in tokens if index < size and index not in silent]
        return self._decoded([*self._before, *kept])[self._skipped :]

    def _decoded(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids) if ids else ""
        # Only this kind puts spaces between all words, of which each character is one.
        return _BETWEEN_WIDE.sub("", text) if self._tokenizer.kind == "wordpiece" else text


def _word(tokenizer: Tokenizer) -> list[int]:
    """A word that any text may follow."""
    special = set(tokenizer.special_ids)
    for word in ("a", "的", "."):
        ids = _ids(tokenizer, word)
        if ids and not special & set(ids):
            return ids
    return [next(index for index in range(tokenizer.vocab_size) if index not in special)]


class Stream:
    """The text of tokens that come bit by bit: each piece is final, and no character is cut.

    Args:
      writing: from tokens to text.
      stops: texts before which it ends.
    """

    def __init__(self, writing: Writing, stops: Sequence[str] = ()):
        self._writing, self._stops = writing, tuple(stops)
        self._tokens: list[int] = []
        self._shown = 0

    def add(self, tokens: Sequence[int]) -> str:
        """The text that is certain with these tokens and was not before."""
        self._tokens += tokens
        # The next token may change how the last one is written: `' s` becomes `'s`.
        before, now = (self._writing.text(t) for t in (self._tokens[:-1], self._tokens))
        certain = _common(before, now).rstrip(_BROKEN)
        cut = cut_before(certain, self._stops)
        if cut is None:
            cut = certain[: len(certain) - _begun(certain, self._stops)]
        return self._new(cut)

    def end(self) -> str:
        """What is left at the end."""
        text = self._writing.text(self._tokens)
        cut = cut_before(text, self._stops)
        return self._new(text if cut is None else cut)

    def _new(self, text: str) -> str:
        new, self._shown = text[self._shown :], max(self._shown, len(text))
        return new


def cut_before(text: str, stops: Sequence[str]) -> str | None:
    """The text before the first of `stops` in it; None if there is none."""
    places = [text.find(stop) for stop in stops]
    first = min((place for place in places if place >= 0), default=None)
    return None if first is None else text[:first]


def stopped(writing: Writing, stops: Sequence[str], tokens: list[int]) -> int | None:
    """How many of `tokens` bring the first of `stops` into the text; None if all do not."""
    if cut_before(writing.text(tokens), stops) is None:
        return None
    low, high = 0, len(tokens)  # so many do not, so many do
    while high - low > 1:
        middle = (low + high) // 2
        if cut_before(writing.text(tokens[:middle]), stops) is None:
            low = middle
        else:
            high = middle
    return high


def _common(one: str, other: str) -> str:
    """The longest text with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    shorter = min(len(one), len(other))
    return one[: next((place for place, (a, b) in pairs if a != b), shorter)]


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of the text may be the beginning of one of `stops`."""
    longest = max((min(len(stop), len(text)) for stop in stops), default=0)
    ends = (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in stops))
    return next(ends, 0)
