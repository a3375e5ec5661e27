"""The tokenizer of a run that was trained before."""

from collections.abc import Mapping

from etils import epath

from plmjax.data.tokenizers import Tokenizer, load_tokenizer
from plmjax.errors import UserError
from plmjax.train.workdir import Workdir

FOLDER = "tokenizer"
"""The folder in an imported run's workdir with its tokenizer."""


def tokenizer_of(work: Workdir, corpus: Mapping[str, str]) -> tuple[Tokenizer, str]:
    """A run's tokenizer and where it is: with its corpus, or where that has moved in the workdir.

    Args:
      work: of the run.
      corpus: what its record says of the corpus: `path`, and `vocabulary`, the tokenizer's digest.

    Raises:
      UserError: where it is in neither place, or another is.
    """
    places = [epath.Path(corpus["path"])] if corpus.get("path") else []
    places.append(work.path / FOLDER)
    for place in places:
        if place.exists():
            tokenizer = load_tokenizer(place)
            if tokenizer.digest == corpus.get("vocabulary"):
                return tokenizer, str(place)
    raise UserError(
        f"the tokenizer of {work.name} is not in {places[0]} any more; prepare its corpus again, or"
        f" put its tokenizer's files into {places[-1]}"
    )
