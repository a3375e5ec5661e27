"""How text becomes tokens and flags: settings, and what is kept of them in a store's folder."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence

from etils import epath

from plmjax.data.annotation import Annotator
from plmjax.data.formats import Unit
from plmjax.data.phrases import dictionary_bytes, read_dictionary
from plmjax.data.segmenters import open_segmenter
from plmjax.data.tokenizers import Tokenizer, load_tokenizer, open_tokenizer, train_tokenizer
from plmjax.errors import UserError

ANNOTATOR_FILE = "annotator.json"
DICTIONARIES = ("phrases", "entities")
_SAMPLED_UNITS = 64
_KEPT_SPACES = ("byte_bpe", "tokenizer_json", "cpm")


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """How text becomes tokens.

    Attributes:
      tokenizer: a kind, see `plmjax.data.tokenizers.opening`.
      tokenizer_path: published files of that kind; empty to train one.
      vocab_size: of a tokenizer to train.
      lowercase: `true`, `false`, or empty for what the kind does by itself.
      algorithm: `unigram` or `bpe` of a SentencePiece to train.
      sample_mb: megabytes of the corpus, evenly spread, that training reads at most.
      segmenter: cuts Chinese into words: `rjieba`, `jieba`, `spaces` or `none`.
      phrases, entities: files of words that belong together, one a line; empty for none, and
        `sample:people_daily` for the names that are marked in that text.
      capitals: whether it is kept which words begin with a capital letter, whatever `lowercase` is.
      spacing: `collapse` or `keep` (see `plmjax.data.tokenising.Job`), or empty for `keep` with
        tokenizers to which white space matters (byte-level BPE, tokenizer.json, CPM).
    """

    tokenizer: str = "wordpiece"
    tokenizer_path: str = ""
    vocab_size: int = 32_000
    lowercase: str = ""
    algorithm: str = ""
    sample_mb: int = 200
    segmenter: str = "rjieba"
    phrases: str = ""
    entities: str = ""
    spacing: str = ""
    # No part of what is printed: stores of before there was the choice were made without.
    capitals: bool = dataclasses.field(default=False, repr=False)

    def __post_init__(self):
        if self.lowercase not in ("", "true", "false"):
            raise UserError(f"lowercase={self.lowercase}; give true or false")
        if self.spacing not in ("", "keep", "collapse"):
            raise UserError(f"spacing={self.spacing}; give keep or collapse")
        if not self.tokenizer_path and self.vocab_size < 100:
            raise UserError(f"vocab_size={self.vocab_size} is too small; give 100 or more")
        if self.sample_mb < 1:
            raise UserError(f"sample_mb={self.sample_mb} is nothing to train on; give 1 or more")

    @property
    def cased(self) -> bool | None:
        """What the tokenizers call `lowercase`."""
        return {"": None, "true": True, "false": False}[self.lowercase]

    def given_tokenizer(self, called: str = "--tokenizer_path") -> Tokenizer | None:
        """The published one, or None where one is to be trained.

        Args:
          called: what the user knows `tokenizer_path` as, for messages.

        Raises:
          UserError: where the files are missing or unusable.
        """
        if not self.tokenizer_path:
            return None
        try:
            return open_tokenizer(self.tokenizer, self.tokenizer_path, lowercase=self.cased)
        except UserError as error:
            raise UserError(f"{called}: {error}") from None

    def trained(self, texts: Callable[[], Iterator[str]]) -> Tokenizer:
        """A tokenizer trained on texts; `texts` may be called twice."""
        return train_tokenizer(
            self.tokenizer,
            texts,
            self.vocab_size,
            lowercase=self.cased,
            algorithm=self.algorithm or None,
        )

    def spacing_for(self, tokenizer: Tokenizer | None) -> str:
        """`spacing` with nothing left open; None for a tokenizer that is still to be trained."""
        if self.spacing:
            return self.spacing
        if tokenizer is not None:
            keep = tokenizer.kind in _KEPT_SPACES
        else:
            keep = self.tokenizer in ("gpt2", "roberta", "tokenizer_json", "cpm")
        return "keep" if keep else "collapse"

    def save(self, tokenizer: Tokenizer, folder: epath.Path) -> None:
        """Writes the tokenizer, the dictionaries and `annotator.json`."""
        tokenizer.save(folder)
        for name in DICTIONARIES:
            if path := getattr(self, name):
                (folder / f"{name}.txt").write_bytes(dictionary_bytes(path))
        about = {"segmenter": self.segmenter}
        about |= {name: bool(getattr(self, name)) for name in DICTIONARIES}
        about |= {"capitals": True} if self.capitals else {}
        (folder / ANNOTATOR_FILE).write_text(json.dumps(about, indent=2) + "\n")
        open_annotator(folder)


def open_annotator(folder: str | epath.Path) -> Annotator:
    """The annotator of a store, from what `TextSettings.save` wrote into its folder.

    Raises:
      UserError: where a file is missing or damaged, or a package is not installed.
    """
    folder = epath.Path(folder)
    try:
        about = json.loads((folder / ANNOTATOR_FILE).read_text())
        paths = [folder / f"{name}.txt" if about[name] else None for name in DICTIONARIES]
        segmenter = open_segmenter(about["segmenter"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder / ANNOTATOR_FILE} is missing or damaged ({error}); prepare the data again"
        ) from None
    dictionaries = [read_dictionary(path) if path else None for path in paths]
    capitals = "capitals" in about
    return Annotator(load_tokenizer(folder), segmenter, *dictionaries, capitals=capitals)


def sampled_units(units: Sequence[Unit], most_bytes: int) -> list[tuple[Unit, int]]:
    """The units that training reads, and how many bytes of each: all of them where they fit."""
    if sum(unit.size for unit in units) <= most_bytes:
        return [(unit, unit.size) for unit in units]
    count = min(_SAMPLED_UNITS, len(units))
    chosen = [units[number * len(units) // count] for number in range(count)]
    return [(unit, most_bytes // count) for unit in chosen]


def settings_digest(*settings: object) -> str:
    """Hex digest of settings that show all that matters when printed."""
    return hashlib.sha256("\0".join(map(repr, settings)).encode()).hexdigest()
