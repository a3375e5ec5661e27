"""Chinese sentences whose words are marked, as a tag for each character."""

import itertools
from collections.abc import Iterable, Iterator

from plmjax.data.labelled.rows import Row, numbered_lines
from plmjax.data.labelled.tagged import read_conllu
from plmjax.errors import UserError


def read_segmented(path: str) -> Iterator[Row]:
    """Sentences of a file with one a line and blanks between words, as the bakeoffs of SIGHAN have
    (http://sighan.cs.uchicago.edu/bakeoff2005); blank lines hold none.

    Yields:
      Rows with `words`, `tokens` (their characters) and `tags`: B on a word's first character, M on
      its further ones, E on its last, S on one of a single character.

    Raises:
      UserError: where the file cannot be read, or has no sentences.
    """
    any_row = False
    for number, line in numbered_lines(path):
        if words := line.split():
            any_row = True
            yield Row(_characters(words), f"{path}, line {number}")
    if not any_row:
        raise UserError(f"{path} has no sentences")


def read_conllu_characters(path: str) -> Iterator[Row]:
    """Sentences of a treebank (see `read_conllu`), whose words are segmented.

    Yields:
      Rows as `read_segmented`.

    Raises:
      UserError: as `read_conllu`.
    """
    for row in read_conllu(path):
        yield Row(_characters(row.fields["tokens"]), row.where)


def _characters(words: Iterable[str]) -> dict[str, list[str]]:
    words = [word for word in ("".join(one.split()) for one in words) if word]
    return {
        "words": words,
        "tokens": [letter for word in words for letter in word],
        "tags": list(itertools.chain.from_iterable(map(word_tags, words))),
    }


def word_tags(word: str) -> list[str]:
    """A tag for each character of a word."""
    return ["B", *["M"] * (len(word) - 2), "E"] if len(word) > 1 else ["S"]
