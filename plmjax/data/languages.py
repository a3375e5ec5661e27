"""Which language a token is in: what the names of sources say.

As in facebookresearch/XLM a source is called after its language, `fr`, and one of translations
after both, `en-fr`, the first sentence's first; what is before the last dot of its name counts for
nothing (`wiki.fr`, `opus.en-fr`).
"""

from collections.abc import Sequence

import numpy as np

from plmjax.errors import UserError

LANGUAGES = "languages"
"""Batch key, int32 [B, L]: the number of each token's language, 0 on padding."""


def language_rows(sources: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """The languages of the two segments that an example may have, by its source: int32 [S, 2].

    Args:
      sources: names.
      languages: names; a language's number is its place.

    Raises:
      UserError: where a source is not called after one or two of the languages.
    """
    if len(set(languages)) < len(languages):
        raise UserError(f"languages={','.join(languages)} names one twice; name each once")
    numbers = {language: number for number, language in enumerate(languages)}
    rows = []
    for source in sources:
        named = source.rpartition(".")[2].split("-")
        if not set(named) <= numbers.keys() or len(named) > 2:
            raise UserError(
                f"languages={','.join(languages)}: the source '{source}' is called after none of"
                " them; prepare it as NAME=..., its language behind the last dot, such as fr or"
                " wiki.fr, or en-fr for translations"
            )
        rows.append((numbers[named[0]], numbers[named[-1]]))
    return np.array(rows, np.int32).reshape(-1, 2)
