"""Byte-level BPE, as of GPT-2 and RoBERTa: vocab.json and merges.txt, or trained on a corpus."""

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import tokenizers
from etils import epath
from tokenizers import decoders, models, pre_tokenizers, trainers

from plmjax.data.tokenizers.base import Tokenizer, check_tokens, read_file, without_surplus
from plmjax.data.tokenizers.word_cache import WordCache
from plmjax.data.tokenizers.wordpiece import ids_and_begins, ids_of
from plmjax.errors import UserError

END_OF_TEXT = "<|endoftext|>"
VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
STYLES = ("gpt2", "roberta")
# How the byte alphabet writes the ASCII white space: space, tab, line feed, carriage return.
WHITE_SPACE = ("Ġ", "ĉ", "Ċ", "č")
_BEFORE_WORD = re.compile("(?= [!-~])")
_ROBERTA = {
    "pad": "<pad>",
    "unk": "<unk>",
    "cls": "<s>",
    "sep": "</s>",
    "mask": "<mask>",
    "bos": "<s>",
    "eos": "</s>",
}
# Of each style: the special tokens at the begin of the vocabulary, and those at its end.
_SPECIAL = {
    "gpt2": ((), (END_OF_TEXT,)),
    "roberta": (("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",)),
}
# Texts of this many characters at most are looked at in training: runs of Chinese have no spaces,
# so nearly each is a word of its own to be held in memory.
_TRAINING_CHARACTERS = 100_000_000


@dataclasses.dataclass(frozen=True)
class ByteBPE(Tokenizer):
    """GPT-2's tokenizer: every text can be spelt, a space belongs to the word after it.

    Ids are those of `GPT2TokenizerFast` and `RobertaTokenizerFast` with the same files. RoBERTa's
    vocabulary is GPT-2's with other ids and `<s> <pad> </s> <unk> <mask>`; where it holds these,
    they have its roles, and `<|endoftext|>` ends a document; in GPT-2's `<|endoftext|>` is begin
    and end of everything.

    Attributes:
      vocabulary: the tokens in the byte alphabet, in the order of their ids.
      merges: pairs of tokens, the first learnt first.
      prefix_space: whether a text without a space in front gets one; "world" and " world" have
        different ids. The published models do without.
    """

    kind: ClassVar[str] = "byte_bpe"

    vocabulary: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    prefix_space: bool = False

    def __post_init__(self):
        check_tokens(self.vocabulary, self.ids)
        for left, right in self.merges:
            lacking = [t for t in (left, right, left + right) if t not in self.ids]
            if lacking:
                raise UserError(
                    f"the merge '{left} {right}' needs '{lacking[0]}', which the vocabulary lacks; "
                    f"give the {VOCABULARY_FILE} and {MERGES_FILE} of one model"
                )

    @functools.cached_property
    def _engine(self) -> tokenizers.Tokenizer:
        return _engine(models.BPE(self.ids, list(self.merges)), self.prefix_space)

    @functools.cached_property
    def roles(self) -> dict[str, str]:
        """RoBERTa's where the vocabulary has `<s>`, else GPT-2's."""
        roles = {role: token for role, token in _ROBERTA.items() if token in self.ids}
        if END_OF_TEXT in self.ids:
            roles["eod"] = END_OF_TEXT
            if "bos" not in roles:
                roles |= {"bos": END_OF_TEXT, "eos": END_OF_TEXT}
        return roles

    @property
    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"prefix_space": self.prefix_space}

    @functools.cached_property
    def word_starts(self) -> np.ndarray:
        """Bool [vocab_size]: True for tokens that begin with white space, and for special ones."""
        starts = np.array([token.startswith(WHITE_SPACE) for token in self.vocabulary])
        starts[list(self.special_ids)] = True
        return starts

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of all that decides which ids a text gets."""
        lines = (f"byte_bpe prefix_space={self.prefix_space}", *self.vocabulary)
        content = "\n".join((*lines, "", *map(" ".join, self.merges)))
        return hashlib.sha256(content.encode()).hexdigest()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, without special tokens: int32 arrays [length of the text]."""
        if self.prefix_space:  # which the library would put before every word
            return [np.array(ids, np.int32) for ids in ids_of(self._engine, texts)]
        return self._words.encode_batch(texts)

    @functools.cached_property
    def _words(self) -> WordCache:
        # GPT-2's pattern begins a word at every space with something visible behind it.
        return WordCache(_BEFORE_WORD.split, functools.partial(ids_of, self._engine))

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids, and the character in which the first byte of each token lies."""
        encodings = self._engine.encode_batch(texts, add_special_tokens=False)
        return [ids_and_begins(encoding) for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens kept; incomplete characters become U+FFFD."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=False)

    def save_files(self, folder: epath.Path) -> None:
        """Writes vocab.json and merges.txt."""
        vocabulary = json.dumps(dict(self.ids), ensure_ascii=False)
        (folder / VOCABULARY_FILE).write_bytes(vocabulary.encode())
        merges = "".join(f"{left} {right}\n" for left, right in self.merges)
        (folder / MERGES_FILE).write_bytes(f"#version: 0.2\n{merges}".encode())


def read_byte_bpe(folder: str | os.PathLike, prefix_space: bool = False) -> ByteBPE:
    """Opens the vocab.json and merges.txt of a folder.

    Raises:
      UserError: where one is missing, damaged, or not of the other.
    """
    folder = epath.Path(folder).expanduser()
    path = folder / VOCABULARY_FILE
    try:
        ids = json.loads(read_file(path, VOCABULARY_FILE).decode())
        tokens = sorted(ids, key=ids.__getitem__)
        complete = [ids[token] for token in tokens] == list(range(len(ids)))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); it has to map tokens to ids") from None
    if not complete or not tokens:
        raise UserError(f"the ids in {path} are not 0, 1, 2 ... without gaps; give a whole file")
    return ByteBPE(tuple(tokens), _read_merges(folder / MERGES_FILE), prefix_space)


def train_byte_bpe(
    texts: Iterable[str], vocab_size: int, style: str, prefix_space: bool = False
) -> ByteBPE:
    """Trains byte-level BPE; the same texts give the same tokenizer.

    Args:
      texts: read once.
      vocab_size: tokens in all, special tokens and the 256 bytes included.
      style: whose special tokens: `gpt2` or `roberta`, with their places at begin and end.
      prefix_space: see `ByteBPE`.

    Raises:
      UserError: where `vocab_size` has no room for the bytes.
    """
    first, last = _SPECIAL[style]
    least = 256 + len(first) + len(last)
    if vocab_size < least:
        raise UserError(
            f"vocab_size={vocab_size} has no room for the 256 bytes and {len(first) + len(last)} "
            f"special tokens; give {least} or more"
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(first) - len(last),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine = _engine(models.BPE(), prefix_space)
    engine.train_from_iterator(without_surplus(texts, _TRAINING_CHARACTERS), trainer)
    model = json.loads(engine.to_str())["model"]
    learnt = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = tuple((left, right) for left, right in model["merges"])
    return ByteBPE((*first, *learnt, *last), merges, prefix_space)


def stand_in_byte_bpe(vocab_size: int, style: str) -> ByteBPE:
    """As large as one of that style will be, with its special tokens; it cannot read text."""
    first, last = _SPECIAL[style]
    others = (f"w{number}" for number in range(vocab_size - len(first) - len(last)))
    return ByteBPE((*first, *others, *last), ())


def _engine(model: models.BPE, prefix_space: bool) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    engine.decoder = decoders.ByteLevel()
    return engine


def _read_merges(path: epath.Path) -> tuple[tuple[str, str], ...]:
    try:
        lines = read_file(path, MERGES_FILE).decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at offset {error.start}; give a merges.txt") from None
    merges = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#version"):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2 or not all(pair):
            raise UserError(f"line {number} of {path} is no pair of tokens: '{line[:40]}'")
        merges.append((pair[0], pair[1]))
    return tuple(merges)
