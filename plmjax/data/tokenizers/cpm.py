"""CPM's tokenizer: jieba's words, visible white space, then SentencePiece.

As in TsinghuaAI/CPM-1-Generate, data_util/tokenization_gpt2.py. Hugging Face's CpmTokenizer of
version 5 neither segments nor replaces white space, so its ids are others.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
from etils import epath

from plmjax.data.segmenters import Segmenter, open_segmenter
from plmjax.data.tokenizers.base import Tokenizer
from plmjax.data.tokenizers.sentencepiece import SentencePiece, read_sentencepiece
from plmjax.data.tokenizers.sentencepiece_training import train_model
from plmjax.errors import UserError

SPACE = "\u2582"
NEWLINE = "\u2583"
_VISIBLE = str.maketrans({" ": SPACE, "\n": NEWLINE})


@dataclasses.dataclass(frozen=True)
class CPM(Tokenizer):
    """Words of jieba, joined by spaces, as pieces; real spaces and newlines are U+2582 and U+2583.

    Attributes:
      pieces: the SentencePiece model, with `<sep> <pad> <mask> <eod>` and the two signs.
      segmenter: `jieba`, as published; `rjieba` is 20 times as fast and cuts some Latin otherwise.
    """

    kind: ClassVar[str] = "cpm"
    has_segmented: ClassVar[bool] = True

    pieces: SentencePiece
    segmenter: str = "jieba"

    def __post_init__(self):
        lacking = [token for token in (SPACE, NEWLINE, "<eod>") if token not in self.ids]
        if lacking:
            raise UserError(
                f"the model has no piece '{lacking[0]}', which CPM needs; give CPM's own model, "
                "or open it as 'sentencepiece'"
            )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The model's pieces."""
        return self.pieces.vocabulary

    @property
    def roles(self) -> dict[str, str]:
        """The model's."""
        return self.pieces.roles

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The model's; the two signs are text."""
        return self.pieces.special_ids

    @property
    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"segmenter": self.segmenter}

    @property
    def word_starts(self) -> np.ndarray:
        """Bool [vocab_size]: pieces with U+2581, which here is the border of a jieba word."""
        return self.pieces.word_starts

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of the model and the segmenter's name."""
        return hashlib.sha256(f"cpm {self.segmenter} {self.pieces.digest}".encode()).hexdigest()

    @property
    def _cutter(self) -> Segmenter:
        return open_segmenter(self.segmenter)

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, without special tokens: int32 arrays [length of the text]."""
        return self.pieces.encode_batch([_joined(self._cutter.words(text)) for text in texts])

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids, and the character of the text where each token begins."""
        cut = [self._cutter.words(text) for text in texts]
        encoded = self.pieces.encode_with_offsets([_joined(words) for words in cut])
        return [
            (ids, _positions(words)[begins])
            for words, (ids, begins) in zip(cut, encoded, strict=True)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, special tokens kept."""
        text = self.pieces.decode(ids).replace(" ", "")
        return text.replace(SPACE, " ").replace(NEWLINE, "\n")

    def save_files(self, folder: epath.Path) -> None:
        """Writes spiece.model."""
        self.pieces.save_files(folder)


def read_cpm(path: str | os.PathLike, segmenter: str = "jieba") -> CPM:
    """Opens CPM's `.model` file, or the only one in a folder.

    Raises:
      UserError: where it is missing, damaged, or another model's.
    """
    return CPM(read_sentencepiece(path), segmenter)


def train_cpm(texts: Callable[[], Iterable[str]], vocab_size: int, segmenter: str = "jieba") -> CPM:
    """Trains CPM's unigram model on texts cut by the segmenter; deterministic.

    Raises:
      UserError: see `train_sentencepiece`.
    """
    cutter = open_segmenter(segmenter)
    lines = (_joined(cutter.words(text)) for text in texts())
    return CPM(SentencePiece(train_model(lines, vocab_size, "cpm", "unigram")), segmenter)


def _joined(words: list[str]) -> str:
    return " ".join([word.translate(_VISIBLE) for word in words])


def _positions(words: list[str]) -> np.ndarray:
    """int32 [length of the joined text + 1]: the place in the text of each of its characters."""
    lengths = np.array([len(word) for word in words], np.int32)
    inserted = np.repeat(np.arange(len(words), dtype=np.int32), lengths + 1)
    positions = np.arange(len(inserted), dtype=np.int32) - inserted
    # The space after a word stands for the beginning of the next one.
    return np.append(positions, positions[-1:] if len(positions) else np.int32(0))
