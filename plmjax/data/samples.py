"""Texts that are there without being downloaded: `sample:NAME`."""

from collections.abc import Callable, Iterator
from typing import Protocol

from plmjax.data.catalogues_sample import catalogues_samples
from plmjax.data.cleaning import Document
from plmjax.data.people_daily_sample import people_daily_sample
from plmjax.data.pydoc_sample import pydoc_sample


class Sample(Protocol):
    """Documents of packages that are installed.

    total_bytes: what `documents` goes through. between: the white space between two sentences.
    """

    total_bytes: int
    between: str

    def fingerprint(self) -> str:
        """Hex digest of the content."""

    def documents(self, advance: Callable[[int], None]) -> Iterator[list[str] | Document]:
        """Yields each document as a list of sentences, or with all that there is to say of it;
        `advance` is told of the bytes gone by."""

    def entities(self) -> list[str]:
        """The names that are marked in the text; empty where none are."""


SAMPLES: dict[str, Callable[[], Sample]] = {
    "pydoc": pydoc_sample,
    "people_daily": people_daily_sample,
    **catalogues_samples(),
}
"""Each opens the one sample of its name."""
