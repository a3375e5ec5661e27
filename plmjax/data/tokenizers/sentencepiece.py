"""SentencePiece, unigram or BPE, with the id conventions of XLNet, ALBERT, T5 and XLM-R."""

import dataclasses
import functools
import hashlib
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import sentencepiece
from etils import epath

from plmjax.data.tokenizers.base import Tokenizer, read_file
from plmjax.errors import UserError

MARK = "\u2581"  # in front of a piece that begins with a space
MODEL_FILE = "spiece.model"
STYLES = ("plain", "xlnet", "albert", "t5", "xlm_r")
LOWERCASE = {"xlnet": False, "albert": True}
"""The styles that rewrite text, and whether the published models are of lower case."""
T5_SENTINELS = 100
_NAMES = {
    "pad": ("<pad>", "[PAD]"),
    "unk": ("<unk>", "[UNK]"),
    "cls": ("<cls>", "[CLS]"),
    "sep": ("<sep>", "[SEP]"),
    "mask": ("<mask>", "[MASK]"),
    "eod": ("<eod>",),
    "bos": ("<s>",),
    "eos": ("</s>",),
}
_NEEDED = {
    "plain": ("unk",),
    "xlnet": ("unk", "cls", "sep", "pad", "mask", "eod"),
    "albert": ("pad", "unk", "cls", "sep", "mask"),
    "t5": ("pad", "eos", "unk"),
    "xlm_r": ("bos", "eos", "unk"),
}
_XLM_R_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_XLM_R_SHIFT = 1  # of the ordinary pieces; the model's own first three are put in another order
_PUNCTUATION = frozenset('!"#$%&()*+,-./:;?@[\\]^_`{|}~')
_ALBERT_INSIDE = frozenset("abcdefghijklmnopqrstuvwxyz€£") | _PUNCTUATION


@dataclasses.dataclass(frozen=True)
class SentencePiece(Tokenizer):
    """A SentencePiece model under the convention of the models that use it.

    Styles:
      plain: ids are the model's; its special pieces are found by their usual names.
      xlnet, albert: ids are the model's; the text is rewritten first (white space collapsed, NFKD
        without combining marks, for XLNet ``x'' to "x") and a piece such as `1999,` is split
        again, as in zihangdai/xlnet and google-research/albert. Hugging Face does not split.
      t5: 100 sentinels follow the model's pieces, `<extra_id_0>` last (ids descend).
      xlm_r: fairseq's ids: <s> <pad> </s> <unk>, the model's pieces from its fourth on, <mask>.

    Attributes:
      model: the content of a `.model` file.
      style: one of `STYLES`.
      lowercase: whether rewriting lower-cases; only of styles that rewrite.
    """

    kind: ClassVar[str] = "sentencepiece"

    model: bytes = dataclasses.field(repr=False)
    style: str = "plain"
    lowercase: bool = False

    def __post_init__(self):
        if self.style not in STYLES:
            raise UserError(f"style={self.style} is none of SentencePiece's: {', '.join(STYLES)}")
        lacking = [role for role in _NEEDED[self.style] if role not in self.roles]
        if lacking:
            raise UserError(
                f"the model has no {' or '.join(_NAMES[lacking[0]])}, which {self.style} needs; "
                "give its own model, or open it as 'sentencepiece'"
            )

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        processor = sentencepiece.SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(self.model)
            if not processor.GetPieceSize():
                raise RuntimeError("it has no pieces")
        except RuntimeError:
            raise UserError(
                f"the {len(self.model)} bytes are no SentencePiece model, or a damaged one; give "
                "the .model file that its trainer wrote"
            ) from None
        return processor

    @functools.cached_property
    def _pieces(self) -> tuple[str, ...]:
        processor = self._processor
        return tuple(processor.IdToPiece(i) for i in range(processor.GetPieceSize()))

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, in the order of their ids."""
        if self.style == "xlm_r":
            return (*_XLM_R_FIRST, *self._pieces[3:], "<mask>")
        if self.style == "t5" and "<extra_id_0>" not in self._pieces:
            sentinels = (f"<extra_id_{i}>" for i in reversed(range(T5_SENTINELS)))
            return (*self._pieces, *sentinels)
        return self._pieces

    @functools.cached_property
    def roles(self) -> dict[str, str]:
        """By the names of the pieces; XLM-R's <s> and </s> serve for classes and segments, too."""
        found = {
            role: next(name for name in names if name in self.ids)
            for role, names in _NAMES.items()
            if any(name in self.ids for name in names)
        }
        if self.style == "xlm_r":
            return found | {"cls": "<s>", "sep": "</s>"}
        for role in ("unk", "pad", "bos", "eos"):
            piece = getattr(self._processor, f"{role}_id")()
            if piece >= 0:
                found[role] = self._pieces[piece]
        return found

    @functools.cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Roles, sentinels, every control piece of the model, and XLNet's <eop>."""
        pieces = enumerate(self._pieces)
        control = {piece for i, piece in pieces if self._processor.IsControl(i)}
        tokens = {*self.roles.values(), *control} | ({"<eop>"} & self.ids.keys())
        return tuple(sorted({self.ids[token] for token in tokens} | set(self.sentinel_ids)))

    @property
    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"style": self.style, "lowercase": self.lowercase}

    @functools.cached_property
    def word_starts(self) -> np.ndarray:
        """Bool [vocab_size]: pieces that begin with U+2581, and special ones.

        In XLNet also `<...` and single ASCII punctuation, in ALBERT besides these every piece
        with anything but ASCII letters and punctuation, as in their data preparation.
        """
        starts = np.array([self._begins_word(token) for token in self.vocabulary])
        starts[list(self.special_ids)] = True
        return starts

    def _begins_word(self, token: str) -> bool:
        if token.startswith(MARK) or self.style not in LOWERCASE:
            return token.startswith(MARK)
        if token.startswith("<") or token in _PUNCTUATION:
            return True
        if self.style == "xlnet":
            return False
        return token in "€£" or not _ALBERT_INSIDE.issuperset(token.lower())

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of all that decides which ids a text gets."""
        settings = f"sentencepiece {self.style} lowercase={self.lowercase}\n"
        return hashlib.sha256(settings.encode() + self.model).hexdigest()

    def seen(self, text: str) -> str:
        """The text after XLNet's or ALBERT's rewriting; of other styles, the text."""
        return rewritten(text, self.style, self.lowercase)

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, without special tokens: int32 arrays [length of the text].

        As many threads are used as RAYON_NUM_THREADS says, which rules the other tokenizers, too;
        without it, one for each core.
        """
        if self.style in LOWERCASE:
            texts = [self.seen(text) for text in texts]
        batch = self._processor.Encode(texts, return_type="numpy", num_threads=_threads())
        if self._to_ids is not None:
            return [self._to_ids[pieces] for pieces in batch]
        if self._splits and batch and self._is_split[np.concatenate(batch)].any():
            return [self._split_again(pieces, None)[0] for pieces in batch]
        return batch

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids, and the character of `seen(text)` where each token begins."""
        texts = [self.seen(text) for text in texts]
        batch = self._processor.Encode(texts, return_type="offset_mapping", num_threads=_threads())
        results = []
        for encoding in batch:
            pieces = np.array(encoding["ids"], np.int32)
            spans = np.array(encoding["offsets"], np.int32).reshape(-1, 2)
            if self._to_ids is not None:
                results.append((self._to_ids[pieces], spans[:, 0]))
            else:
                results.append(self._split_again(pieces, spans))
        return results

    @functools.cached_property
    def _to_ids(self) -> np.ndarray | None:
        """int32 [pieces]: our ids of the model's pieces, where they differ (XLM-R)."""
        if self.style != "xlm_r":
            return None
        to_ids = np.arange(len(self._pieces), dtype=np.int32) + _XLM_R_SHIFT
        to_ids[:3] = [self.ids[piece] for piece in self._pieces[:3]]
        return to_ids

    @functools.cached_property
    def _splits(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For each id of a piece that is split again: the ids instead, and their lengths."""
        if self.style not in LOWERCASE:
            return {}
        splits = {}
        for index, piece in enumerate(self._pieces):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                parts = self._processor.EncodeAsPieces(piece[:-1].replace(MARK, ""))
                if piece[0] != MARK and parts[0][0] == MARK:
                    parts = parts[1:] if parts[0] == MARK else [parts[0][1:], *parts[1:]]
                parts.append(",")
                ids = np.array([self._processor.PieceToId(part) for part in parts], np.int32)
                splits[index] = (ids, np.array([len(part) for part in parts]))
        return splits

    @functools.cached_property
    def _is_split(self) -> np.ndarray:
        is_split = np.zeros(len(self._pieces), bool)
        is_split[list(self._splits)] = True
        return is_split

    def _split_again(
        self, pieces: np.ndarray, spans: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids after the second splitting, and with `spans` [pieces, 2] their beginnings."""
        begins = pieces if spans is None else spans[:, 0]
        if not self._splits or not self._is_split[pieces].any():
            return pieces, begins
        new_ids, new_begins = [], []
        for number, piece in enumerate(pieces.tolist()):
            ids, lengths = self._splits.get(piece, (pieces[number : number + 1], np.ones(1, int)))
            new_ids.append(ids)
            if spans is not None:
                begin, end = spans[number]
                after = np.concatenate([np.cumsum(lengths[:0:-1])[::-1], np.zeros(1, int)])
                new_begins.append(np.r_[begin, (end - after)[:-1]] if len(ids) > 1 else [begin])
        begins = np.concatenate(new_begins).astype(np.int32) if new_begins else begins
        return np.concatenate(new_ids), begins

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, with special tokens as they are written, spaces around them."""
        special = set(self.special_ids)
        parts = []
        for is_special, run in itertools.groupby(map(int, ids), special.__contains__):
            if is_special:
                parts.extend(self.vocabulary[i] for i in run)
            else:
                shift = _XLM_R_SHIFT if self.style == "xlm_r" else 0
                parts.append(self._processor.Decode([i - shift for i in run]))
        return " ".join(parts)

    def save_files(self, folder: epath.Path) -> None:
        """Writes spiece.model."""
        (folder / MODEL_FILE).write_bytes(self.model)


def read_sentencepiece(
    path: str | os.PathLike, style: str = "plain", lowercase: bool | None = None
) -> SentencePiece:
    """Opens a `.model` file, or the only one in a folder.

    Args:
      path: of the file or its folder.
      style: see `SentencePiece`.
      lowercase: only of XLNet and ALBERT; None takes the published models'.

    Raises:
      UserError: where it is missing, damaged, or lacks a special piece of the style.
    """
    path = epath.Path(path).expanduser()
    if path.is_dir():
        found = sorted(path.glob("*.model"))
        if len(found) != 1:
            raise UserError(f"{path} holds {len(found)} .model files; give the path of one")
        path = found[0]
    content = read_file(path, "SentencePiece model (a .model file)")
    try:
        return SentencePiece(content, style, _lowercase(style, lowercase))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def rewritten(text: str, style: str, lowercase: bool) -> str:
    """The text that a style's published data preparation gives to SentencePiece."""
    if style not in LOWERCASE:
        return text
    text = " ".join(text.split())
    if style == "xlnet":
        text = text.replace("``", '"').replace("''", '"')
    if not text.isascii():
        text = _combining().sub("", unicodedata.normalize("NFKD", text))
    return text.lower() if lowercase else text


def _lowercase(style: str, given: bool | None) -> bool:
    if given is not None and style not in LOWERCASE:
        raise UserError(
            f"lowercase={given} has no meaning for {style}, whose model decides; leave it out"
        )
    return LOWERCASE.get(style, False) if given is None else given


@functools.cache
def _combining() -> re.Pattern[str]:
    marks = (chr(code) for code in range(0x300, 0x20000) if unicodedata.combining(chr(code)))
    return re.compile(f"[{''.join(marks)}]")


def _threads() -> int:
    return int(os.environ.get("RAYON_NUM_THREADS") or -1)
