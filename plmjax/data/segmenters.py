"""Where words begin in Chinese, which is written without spaces."""

import abc
import functools
import importlib
import importlib.metadata
import logging
import re
from types import ModuleType
from typing import ClassVar

from plmjax.errors import UserError

SEGMENTERS = ("rjieba", "jieba", "spaces", "none")
# What BERT calls Chinese characters (google-research/bert, _is_chinese_char): kana and hangul are
# not among them.
HAN_RANGES = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_HAN = "".join(f"{chr(first)}-{chr(last)}" for first, last in HAN_RANGES)
_HAN_CHARACTER = re.compile(f"[{_HAN}]")
# Between two tokens of segmented text a space is no space of the text if Chinese is beside it.
_WIDE = f"{_HAN}\u2014\u2018\u2019\u201c\u201d\u2026\u3000-\u303f\uff00-\uffef"
_SEPARATOR = re.compile(rf"(?<=[{_WIDE}])[ \t\u3000]+|[ \t\u3000]+(?=[{_WIDE}])")


def has_han(text: str) -> bool:
    """Whether a text holds a Chinese character."""
    return not text.isascii() and _HAN_CHARACTER.search(text) is not None


class Segmenter(abc.ABC):
    """Cuts text into words.

    Attributes:
      name: as in `SEGMENTERS`.
      version: of what decides; goes into digests.
    """

    name: ClassVar[str]
    version: str

    @abc.abstractmethod
    def words(self, text: str) -> list[str]:
        """The words in order, with punctuation and white space as words of their own.

        Joined they are the text to be tokenised: the given one, but for `spaces`.
        """


class Rjieba(Segmenter):
    """jieba's dictionary and algorithm in Rust: 20 times as fast, other words in some Latin only.

    With its HMM for words that the dictionary lacks, as is jieba's default.
    """

    name = "rjieba"

    def __init__(self):
        self._cut = _imported("rjieba").cut
        self.version = importlib.metadata.version("rjieba")

    def words(self, text: str) -> list[str]:
        """See the base class."""
        return self._cut(text)


class Jieba(Segmenter):
    """The `jieba` package, cut_all=False; CPM's tokenizer is defined by it."""

    name = "jieba"

    def __init__(self):
        self._module = _imported("jieba")
        self._module.setLogLevel(logging.WARNING)
        self.version = importlib.metadata.version("jieba")

    def words(self, text: str) -> list[str]:
        """See the base class."""
        return self._module.lcut(text)


class Spaces(Segmenter):
    """Text whose Chinese words already stand apart by spaces.

    Those spaces are taken out: the ones beside a Chinese character or full-width punctuation.
    Spaces between Latin words stay, since they belong to the text.
    """

    name = "spaces"
    version = "1"

    def words(self, text: str) -> list[str]:
        """See the base class; the words lack the spaces between Chinese words."""
        return [word for word in _SEPARATOR.split(text.strip(" \t\u3000")) if word]


@functools.cache
def open_segmenter(name: str = "rjieba") -> Segmenter | None:
    """The segmenter of this name; None for `none`.

    Raises:
      UserError: where the name is not known or its package not installed.
    """
    if name == "none":
        return None
    classes = {"rjieba": Rjieba, "jieba": Jieba, "spaces": Spaces}
    if name not in classes:
        raise UserError(f"segmenter={name} is not known; give one of {', '.join(SEGMENTERS)}")
    return classes[name]()


def _imported(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UserError(
            f"{package} is not installed, which cuts Chinese; pip install {package}"
        ) from None
