"""The one entrance to every kind of tokenizer: opening, training, loading."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from etils import epath

from plmjax.data.tokenizers import byte_bpe, cpm, sentencepiece, wordpiece
from plmjax.data.tokenizers.base import SETTINGS_FILE, Tokenizer, read_file
from plmjax.data.tokenizers.hugging_face import read_tokenizer_json
from plmjax.data.tokenizers.sentencepiece_training import stand_in_model, train_sentencepiece
from plmjax.errors import UserError

_SENTENCEPIECE = ("sentencepiece", "xlnet", "albert", "t5", "xlm_r")
TRAINABLE = ("wordpiece", "gpt2", "roberta", *_SENTENCEPIECE, "cpm")
KINDS = (*TRAINABLE, "tokenizer_json")
CASED = ("wordpiece", "xlnet", "albert")
"""The kinds for which lower case is a choice."""


def open_tokenizer(
    kind: str,
    path: str | os.PathLike,
    *,
    lowercase: bool | None = None,
    roles: Mapping[str, str] | None = None,
) -> Tokenizer:
    """Opens the published files of a tokenizer.

    Args:
      kind: one of `KINDS`: `wordpiece` (vocab.txt), `gpt2` and `roberta` (vocab.json and
        merges.txt), `sentencepiece`, `xlnet`, `albert`, `t5`, `xlm_r`, `cpm` (a .model file),
        `tokenizer_json`.
      path: of the file, or of the folder that holds it.
      lowercase: of `wordpiece`, `xlnet` and `albert`; None takes BERT uncased, XLNet cased,
        ALBERT uncased.
      roles: of `tokenizer_json`: tokens of roles, where they lack their usual names.

    Raises:
      UserError: where something is missing, damaged, of another kind, or has no meaning for it.
    """
    _check(kind, KINDS, lowercase)
    if roles and kind != "tokenizer_json":
        raise UserError(f"the roles of tokens can be given for tokenizer_json, not for {kind}")
    path = epath.Path(path).expanduser()
    if kind == "wordpiece":
        file = path / wordpiece.VOCABULARY_FILE if path.is_dir() else path
        return wordpiece.WordPiece(wordpiece.read_vocabulary(file), lowercase is not False)
    if kind in byte_bpe.STYLES:
        return _opened_byte_bpe(kind, path)
    if kind == "cpm":
        return cpm.read_cpm(path)
    if kind == "tokenizer_json":
        return read_tokenizer_json(path, roles)
    return sentencepiece.read_sentencepiece(path, _style(kind), lowercase)


def train_tokenizer(
    kind: str,
    texts: Callable[[], Iterable[str]],
    vocab_size: int,
    *,
    lowercase: bool | None = None,
    algorithm: str | None = None,
) -> Tokenizer:
    """Trains a tokenizer; the same texts give the same one.

    Args:
      kind: one of `TRAINABLE`; it decides the special tokens and their ids.
      texts: makes the iterable of texts; called once, for `wordpiece` twice.
      vocab_size: tokens in all.
      lowercase: see `open_tokenizer`.
      algorithm: `unigram` (None) or `bpe`, of the SentencePiece kinds.

    Raises:
      UserError: where `vocab_size` does not fit the texts, or a setting the kind.
    """
    _check(kind, TRAINABLE, lowercase)
    if algorithm is not None and kind not in _SENTENCEPIECE:
        raise UserError(
            f"algorithm={algorithm} has no meaning for {kind}; leave it out, or take one of "
            f"{', '.join(_SENTENCEPIECE)}"
        )
    if kind == "wordpiece":
        return wordpiece.train_wordpiece(texts, vocab_size, lowercase is not False)
    if kind in byte_bpe.STYLES:
        return byte_bpe.train_byte_bpe(texts(), vocab_size, kind)
    if kind == "cpm":
        return cpm.train_cpm(texts, vocab_size)
    return train_sentencepiece(texts(), vocab_size, _style(kind), algorithm or "unigram", lowercase)


def stand_in_tokenizer(kind: str, vocab_size: int, *, lowercase: bool | None = None) -> Tokenizer:
    """What stands for a tokenizer that is still to be trained, so that a run can be checked before.

    It has as many tokens and the same special ones at the same ids, and is not for reading text.

    Args:
      kind: one of `TRAINABLE`.
      vocab_size: tokens in all.
      lowercase: see `open_tokenizer`.

    Raises:
      UserError: for a kind that cannot be trained, or a `lowercase` that has no meaning for it.
    """
    _check(kind, TRAINABLE, lowercase)
    if kind == "wordpiece":
        count = vocab_size - len(wordpiece.SPECIAL_TOKENS)
        others = (f"w{number}" for number in range(count))
        return wordpiece.WordPiece((*wordpiece.SPECIAL_TOKENS, *others), lowercase is not False)
    if kind in byte_bpe.STYLES:
        return byte_bpe.stand_in_byte_bpe(vocab_size, kind)
    if kind == "cpm":
        return cpm.CPM(sentencepiece.SentencePiece(stand_in_model(vocab_size, "cpm")))
    style = _style(kind)
    lower = sentencepiece.LOWERCASE.get(style, False) if lowercase is None else lowercase
    return sentencepiece.SentencePiece(stand_in_model(vocab_size, style), style, lower)


def load_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """Reads what `Tokenizer.save` wrote.

    Raises:
      UserError: where a file is missing or damaged.
    """
    folder = epath.Path(folder)
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(read_file(path, "saved tokenizer").decode())
        return _loaded(folder, settings)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}); prepare the data again"
        ) from None


def _loaded(folder: epath.Path, settings: dict[str, Any]) -> Tokenizer:
    kind = settings["kind"]
    if kind == "wordpiece":
        vocabulary = wordpiece.read_vocabulary(folder / wordpiece.VOCABULARY_FILE)
        return wordpiece.WordPiece(vocabulary, settings["lowercase"])
    if kind == "byte_bpe":
        return byte_bpe.read_byte_bpe(folder, settings["prefix_space"])
    if kind == "tokenizer_json":
        return read_tokenizer_json(folder, settings["roles"])
    if kind not in ("sentencepiece", "cpm"):
        raise ValueError(f"kind '{kind}' is not known")
    model = read_file(folder / sentencepiece.MODEL_FILE, "SentencePiece model")
    if kind == "cpm":
        return cpm.CPM(sentencepiece.SentencePiece(model), settings["segmenter"])
    return sentencepiece.SentencePiece(model, settings["style"], settings["lowercase"])


def _check(kind: str, kinds: tuple[str, ...], lowercase: bool | None) -> None:
    if kind not in kinds:
        raise UserError(f"tokenizer={kind} is not known here; give one of {', '.join(kinds)}")
    if lowercase is not None and kind not in CASED:
        raise UserError(
            f"lowercase={lowercase} has no meaning for {kind}; leave it out, or take one of "
            f"{', '.join(CASED)}"
        )


def _style(kind: str) -> str:
    return "plain" if kind == "sentencepiece" else kind


def _opened_byte_bpe(kind: str, path: epath.Path) -> byte_bpe.ByteBPE:
    folder = path if path.is_dir() or path.suffix not in (".json", ".txt") else path.parent
    tokenizer = byte_bpe.read_byte_bpe(folder)
    needed = "<s>" if kind == "roberta" else byte_bpe.END_OF_TEXT
    if needed not in tokenizer.ids:
        raise UserError(f"the vocabulary in {folder} has no {needed}, so it is not one of {kind}")
    return tokenizer
