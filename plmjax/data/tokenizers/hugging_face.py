"""Any tokenizer.json of Hugging Face."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import tokenizers
from etils import epath

from plmjax.data.tokenizers.base import ROLES, Tokenizer, read_file
from plmjax.data.tokenizers.byte_bpe import WHITE_SPACE
from plmjax.data.tokenizers.wordpiece import ids_and_begins
from plmjax.errors import UserError

TOKENIZER_FILE = "tokenizer.json"
_USUAL = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>"),
    "eod": ("<eod>", "<|endoftext|>"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
}


@dataclasses.dataclass(frozen=True)
class HuggingFace(Tokenizer):
    """What a tokenizer.json describes, run by the library that wrote it.

    Padding, truncation and templates in the file are left aside: layouts do that.

    Attributes:
      content: the text of the file.
      given_roles: pairs (role, token) that win over the tokens' usual names.
    """

    kind: ClassVar[str] = "tokenizer_json"

    content: str = dataclasses.field(repr=False)
    given_roles: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        for role, token in self.given_roles:
            if role not in ROLES:
                raise UserError(f"'{role}' is no role of a token; give one of {', '.join(ROLES)}")
            if token not in self.ids:
                raise UserError(
                    f"the tokenizer has no token '{token}' to be its '{role}'; give one of its own"
                )

    @functools.cached_property
    def _engine(self) -> tokenizers.Tokenizer:
        try:
            engine = tokenizers.Tokenizer.from_str(self.content)
        except Exception as error:  # the library raises Exception itself for what it cannot read
            raise UserError(
                f"the {TOKENIZER_FILE} is damaged ({str(error).splitlines()[0]}); give a whole one"
            ) from None
        engine.no_padding()
        engine.no_truncation()
        engine.encode_special_tokens = True
        return engine

    @functools.cached_property
    def _description(self) -> dict[str, Any]:
        return json.loads(self._engine.to_str())

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in the order of their ids; `<no token N>` where the file skips an id."""
        known = self._engine.get_vocab(with_added_tokens=True)
        tokens = [f"<no token {number}>" for number in range(max(known.values(), default=-1) + 1)]
        for token, index in known.items():
            tokens[index] = token
        return tuple(tokens)

    @functools.cached_property
    def roles(self) -> dict[str, str]:
        """Given roles; else special tokens by their usual names, and the model's own unknown."""
        special = {t["content"] for t in self._description["added_tokens"] if t["special"]}
        found = {}
        for role, usual in _USUAL.items():
            name = next((token for token in usual if token in special), None)
            if name is not None:
                found[role] = name
        unknown = self._description["model"].get("unk_token")
        if unknown in self.ids:
            found["unk"] = unknown
        elif self._description["model"].get("unk_id") is not None:
            found["unk"] = self.vocabulary[self._description["model"]["unk_id"]]
        return found | dict(self.given_roles)

    @functools.cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The roles' ids and those of all added tokens that the file calls special."""
        added = {t["id"] for t in self._description["added_tokens"] if t["special"]}
        roles = {self.ids[token] for token in self.roles.values()}
        return tuple(sorted(added | roles | set(self.sentinel_ids)))

    @property
    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"roles": dict(self.given_roles)}

    @functools.cached_property
    def word_starts(self) -> np.ndarray:
        """Bool [vocab_size] by `##`, U+2581 or byte-level white space, whichever the file uses.

        Raises:
          UserError: where it uses none of them.
        """
        starts = self._starts_by_form()
        starts[list(self.special_ids)] = True
        return starts

    def _starts_by_form(self) -> np.ndarray:
        model = self._description["model"]
        around = json.dumps([self._description["pre_tokenizer"], self._description["normalizer"]])
        prefix = model.get("continuing_subword_prefix")
        if model["type"] == "WordLevel":
            return np.ones(self.vocab_size, bool)
        if prefix:
            return np.array([not token.startswith(prefix) for token in self.vocabulary])
        if '"ByteLevel"' in around:
            return np.array([token.startswith(WHITE_SPACE) for token in self.vocabulary])
        if '"Metaspace"' in around or '"\\u2581"' in around:
            return np.array([token.startswith("\u2581") for token in self.vocabulary])
        raise UserError(
            "the tokens of this tokenizer.json do not show where words begin (no ##, U+2581 or "
            "byte-level space); take a tokenizer of another form"
        )

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of all that decides which ids a text gets."""
        content = json.dumps([self.content, sorted(self.roles.items())])
        return hashlib.sha256(content.encode()).hexdigest()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, without special tokens: int32 arrays [length of the text]."""
        encodings = self._engine.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids, and the character of the text where each token begins."""
        encodings = self._engine.encode_batch(texts, add_special_tokens=False)
        return [ids_and_begins(encoding) for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens kept."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=False)

    def save_files(self, folder: epath.Path) -> None:
        """Writes tokenizer.json as it was."""
        (folder / TOKENIZER_FILE).write_bytes(self.content.encode())


def read_tokenizer_json(
    path: str | os.PathLike, roles: Mapping[str, str] | None = None
) -> HuggingFace:
    """Opens a tokenizer.json, or the one in a folder.

    Args:
      path: of the file or its folder.
      roles: token of each role, where it does not have its usual name, such as
        {"mask": "<special1>"}.

    Raises:
      UserError: where the file is missing or damaged, or a given token is not in it.
    """
    path = epath.Path(path).expanduser()
    if path.is_dir():
        path = path / TOKENIZER_FILE
    try:
        content = read_file(path, TOKENIZER_FILE).decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 at offset {error.start}; give a {TOKENIZER_FILE}"
        ) from None
    tokenizer = HuggingFace(content, tuple(sorted((roles or {}).items())))
    if not tokenizer.vocabulary:
        raise UserError(f"{path} has no tokens; give a whole {TOKENIZER_FILE}")
    return tokenizer
