"""What every tokenizer of plmjax is and does, whichever library stands behind it."""

import abc
import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from etils import epath

from plmjax.errors import UserError

SETTINGS_FILE = "tokenizer_settings.json"
ROLES = ("pad", "unk", "cls", "sep", "mask", "eod", "bos", "eos")
_MARKS = {
    "pad": "[PAD] or <pad>",
    "unk": "[UNK] or <unk>",
    "cls": "[CLS] or <cls>",
    "sep": "[SEP] or <sep>",
    "mask": "[MASK] or <mask>",
    "eod": "<eod> or <|endoftext|>",
    "bos": "<s> or <|endoftext|>",
    "eos": "</s> or <|endoftext|>",
}


class Tokenizer(abc.ABC):
    """Text to ids and back, with the special tokens made explicit.

    Special tokens written out in a text are ordinary text, and no encoding adds any.

    Attributes:
      kind: which class can load it again.
      vocabulary: the tokens, in the order of their ids.
      roles: the token that serves as `pad`, `unk`, `cls`, `sep`, `mask`, `eod` (end of document),
        `bos` and `eos` (begin and end of sequence); roles that the vocabulary has no token for are
        missing.
      has_segmented: True where the tokenizer cuts Chinese into words itself, so that the form of
        its tokens says where words begin in Chinese, too.
    """

    kind: ClassVar[str]
    vocabulary: tuple[str, ...]
    has_segmented: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def roles(self) -> Mapping[str, str]:
        """The token of each role that the vocabulary has a token for."""

    @property
    @abc.abstractmethod
    def word_starts(self) -> np.ndarray:
        """Bool [vocab_size]: False for the tokens that by their form continue a word."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """Hex digest of all that decides which ids a text gets."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `load_tokenizer` needs besides the files; JSON."""

    @abc.abstractmethod
    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, without special tokens: int32 arrays [length of the text]."""

    @abc.abstractmethod
    def encode_with_offsets(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same ids, and where each token begins: pairs of int32 arrays of one length.

        Beginnings count characters of `seen(text)`, not bytes. White space that belongs to the
        token comes first, so a beginning may be one of a space.
        """

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, pieces joined to words, special tokens kept."""

    @abc.abstractmethod
    def save_files(self, folder: epath.Path) -> None:
        """Writes the files of the tokenizer into an existing folder."""

    def seen(self, text: str) -> str:
        """The text that offsets point into: `text` itself unless it is rewritten beforehand."""
        return text

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the tokenizer into an existing folder; `load_tokenizer` reads it."""
        folder = epath.Path(folder)
        self.save_files(folder)
        settings = {"kind": self.kind, **self.settings, "digest": self.digest}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; ids are in range(vocab_size)."""
        return len(self.vocabulary)

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """The id of each token."""
        return {token: index for index, token in enumerate(self.vocabulary)}

    @functools.cached_property
    def sentinel_ids(self) -> tuple[int, ...]:
        """The ids of T5's sentinels, `<extra_id_0>` first; empty where there are none."""
        if "<extra_id_0>" not in self.ids:
            return ()
        tokens = (f"<extra_id_{number}>" for number in range(len(self.vocabulary)))
        return tuple(_while_known(self.ids, tokens))

    @functools.cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Every id that is no text, ascending."""
        roles = {self.ids[token] for token in self.roles.values()}
        return tuple(sorted(roles | set(self.sentinel_ids)))

    def id_of(self, role: str) -> int | None:
        """The id of a role's token; None where the vocabulary has none."""
        token = self.roles.get(role)
        return None if token is None else self.ids[token]

    @property
    def pad_id(self) -> int | None:
        """The id of padding."""
        return self.id_of("pad")

    @property
    def unk_id(self) -> int | None:
        """The id of what the vocabulary cannot spell."""
        return self.id_of("unk")

    @property
    def cls_id(self) -> int | None:
        """The id of the token whose hidden state stands for the sequence."""
        return self.id_of("cls")

    @property
    def sep_id(self) -> int | None:
        """The id of the token between segments."""
        return self.id_of("sep")

    @property
    def mask_id(self) -> int | None:
        """The id of the mask."""
        return self.id_of("mask")

    @property
    def eod_id(self) -> int | None:
        """The id of the end of a document."""
        return self.id_of("eod")

    @property
    def bos_id(self) -> int | None:
        """The id of the begin of a sequence."""
        return self.id_of("bos")

    @property
    def eos_id(self) -> int | None:
        """The id of the end of a sequence."""
        return self.id_of("eos")


def unknown_share(counts_V: np.ndarray, tokenizer: Tokenizer) -> float:
    """What part of a text's tokens the vocabulary cannot spell, from 0 to 1.

    It is 0 where the unknown token is the end of a text, too, and nobody could tell.

    Args:
      counts_V: int [vocab_size], how often each id stands there; special tokens do not count, but
        for the unknown one.
      tokenizer: whose ids they are.
    """
    unknown, roles = tokenizer.unk_id, list(tokenizer.roles.values())
    if unknown is None or roles.count(tokenizer.vocabulary[unknown]) > 1:
        return 0.0
    special = set(tokenizer.special_ids) - {unknown}
    of_text = counts_V.sum() - counts_V[list(special)].sum()
    return float(counts_V[unknown] / max(of_text, 1))


def told_unknown(counts_V: np.ndarray, tokenizer: Tokenizer) -> str:
    """`unknown_share` in words; empty where it is less than a thousandth."""
    share = unknown_share(counts_V, tokenizer)
    return f"{share:.1%} of the tokens are unknown to the vocabulary" if share >= 0.001 else ""


def require_id(tokenizer: Tokenizer, role: str) -> int:
    """The id of the token with this role.

    Args:
      tokenizer: whose vocabulary is asked.
      role: one of `ROLES`.

    Raises:
      UserError: where the vocabulary has no such token.
    """
    found = tokenizer.id_of(role)
    if found is None:
        raise UserError(
            f"the vocabulary has no {_MARKS[role]} ({tokenizer.kind}, {tokenizer.vocab_size} "
            f"tokens), which is needed here as '{role}'; take a tokenizer that has one"
        )
    return found


def read_file(path: str | os.PathLike, what: str) -> bytes:
    """The bytes of a tokenizer's file.

    Args:
      path: local or remote; `~` is expanded.
      what: the name of such a file, for the message.

    Raises:
      UserError: where it cannot be read.
    """
    path = epath.Path(path).expanduser()
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"there is no {what} at {path}; give the path of one") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; check its permissions") from None


def check_tokens(vocabulary: tuple[str, ...], ids: Mapping[str, int]) -> None:
    """Raises UserError where a token occurs twice."""
    if len(ids) < len(vocabulary):
        twice = next(t for i, t in enumerate(vocabulary) if ids[t] != i)
        raise UserError(f"the vocabulary has '{twice}' more than once; leave one of them")


def without_surplus(texts: Iterable[str], budget: int) -> list[str]:
    """Texts of at most `budget` characters in all, evenly spread over the whole corpus.

    Every text is kept while they fit; then every second, every fourth and so on, so that the
    choice depends on nothing but the texts and memory stays bounded.
    """
    kept: list[str] = []
    characters, stride = 0, 1
    for number, text in enumerate(texts):
        if number % stride:
            continue
        kept.append(text)
        characters += len(text)
        while characters > budget and len(kept) > 1:
            kept, stride = kept[::2], 2 * stride
            characters = sum(map(len, kept))
    return kept


def _while_known(ids: Mapping[str, int], tokens: Iterable[str]) -> Iterator[int]:
    for token in tokens:
        if token not in ids:
            return
        yield ids[token]
