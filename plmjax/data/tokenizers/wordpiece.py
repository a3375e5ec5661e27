"""WordPiece tokenizers: trained on a corpus, or read from a published vocabulary."""

import collections
import dataclasses
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tokenizers
from etils import epath
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from plmjax.data.tokenizers.base import Tokenizer, check_tokens, read_file
from plmjax.data.tokenizers.word_cache import WordCache
from plmjax.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUATION = "##"
VOCABULARY_FILE = "vocab.txt"
# Characters; longer words become [UNK]. Hugging Face's limit, so that its tokenizer gives the same
# ids: google-research/bert has 200.
_LONGEST_WORD = 100


@dataclasses.dataclass(frozen=True)
class WordPiece(Tokenizer):
    """BERT's tokenizer: clean, split around CJK and punctuation, then longest match first.

    Ids are those of Hugging Face's `BertTokenizerFast` with the same vocabulary. Special tokens
    written out in a text are ordinary text.

    Attributes:
      vocabulary: the tokens, in the order of their ids.
      lowercase: whether text is lower-cased and stripped of accents.
    """

    kind: ClassVar[str] = "wordpiece"

    vocabulary: tuple[str, ...]
    lowercase: bool = True

    def __post_init__(self):
        missing = [token for token in SPECIAL_TOKENS if token not in self.ids]
        if missing:
            raise UserError(
                f"the vocabulary lacks {', '.join(missing)}; BERT's needs "
                f"{' '.join(SPECIAL_TOKENS)}, each on a line of its own"
            )
        check_tokens(self.vocabulary, self.ids)

    @functools.cached_property
    def _engine(self) -> tokenizers.Tokenizer:
        model = models.WordPiece(
            self.ids,
            unk_token="[UNK]",
            continuing_subword_prefix=CONTINUATION,
            max_input_chars_per_word=_LONGEST_WORD,
        )
        return _with_bert_rules(model, self.lowercase)

    @property
    def roles(self) -> dict[str, str]:
        """BERT's five; no document or sequence has an end of its own."""
        return dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL_TOKENS, strict=True))

    @property
    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"lowercase": self.lowercase}

    @functools.cached_property
    def word_starts(self) -> np.ndarray:
        """Bool [vocab_size]: False for the tokens that continue a word (`##...`)."""
        return np.array([not token.startswith(CONTINUATION) for token in self.vocabulary])

    @functools.cached_property
    def digest(self) -> str:
        """Hex digest of all that decides which ids a text gets."""
        content = "\n".join((f"lowercase={self.lowercase}", *self.vocabulary))
        return hashlib.sha256(content.encode()).hexdigest()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of each text, without [CLS] and [SEP]: int32 arrays [length of the text]."""
        return self._words.encode_batch(texts)

    @functools.cached_property
    def _words(self) -> WordCache:
        # The rules look at one character at a time, and no token reaches over a space.
        return WordCache(lambda text: text.split(" "), functools.partial(ids_of, self._engine))

    def encode_with_offsets(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids, and the character of the text where each token begins."""
        return [
            ids_and_begins(e) for e in self._engine.encode_batch(texts, add_special_tokens=False)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, pieces joined to words, special tokens kept."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=False)

    def save_files(self, folder: epath.Path) -> None:
        """Writes vocab.txt and tokenizer.json."""
        (folder / VOCABULARY_FILE).write_text("\n".join(self.vocabulary) + "\n")
        (folder / "tokenizer.json").write_text(self._engine.to_str(pretty=True))

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "WordPiece":
        """Reads what `save` wrote.

        Raises:
          UserError: where a file is missing or its vocabulary is none of BERT's.
        """
        path = epath.Path(folder) / "tokenizer.json"
        try:
            lowercase = tokenizers.Tokenizer.from_str(path.read_text()).normalizer.lowercase
        except Exception as error:  # the library raises Exception itself for what it cannot read
            raise UserError(
                f"{path} is no tokenizer that plmjax saved ({error}); remove the folder and "
                "prepare the data again"
            ) from None
        return cls(read_vocabulary(path.parent / VOCABULARY_FILE), lowercase)


def ids_of(engine: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    """The ids of each text, without special tokens."""
    return [encoding.ids for encoding in engine.encode_batch_fast(texts, add_special_tokens=False)]


def ids_and_begins(encoding: tokenizers.Encoding) -> tuple[np.ndarray, np.ndarray]:
    """The ids of an encoding and the characters where its tokens begin: int32 arrays."""
    offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
    return np.array(encoding.ids, np.int32), offsets[:, 0]


def read_vocabulary(path: str | os.PathLike) -> tuple[str, ...]:
    """The tokens of a vocab.txt, one per line, in the order of their ids.

    Raises:
      UserError: where the file is missing or is not UTF-8 text.
    """
    content = read_file(path, "vocab.txt")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at offset {error.start}; give a vocab.txt") from None
    # Published vocabularies hold odd white space (U+2028 and such): only "\n" ends a line.
    return tuple(line.rstrip("\r") for line in text.removesuffix("\n").split("\n"))


def train_wordpiece(
    texts: Callable[[], Iterable[str]], vocab_size: int, lowercase: bool
) -> WordPiece:
    """Trains a WordPiece on texts; the same texts give the same vocabulary.

    Args:
      texts: makes the iterable of texts; it is called twice.
      vocab_size: tokens in all, special tokens and single characters included.
      lowercase: see `WordPiece`.

    Raises:
      UserError: where `vocab_size` has no room for the characters of the texts.
    """
    # The library numbers the continuing characters (##a) in the order of a randomised hash map and
    # breaks ties by number. Handing them over as if they were special tokens fixes their order.
    # Of characters that are equally rare it keeps random ones; so those to keep are picked here.
    counts = collections.Counter()
    alphabet = set(_train(_counted(texts(), counts, lowercase), len(SPECIAL_TOKENS), lowercase))
    characters = sorted(counts.keys() & alphabet, key=lambda c: (-counts[c], c))[: vocab_size // 2]
    continuing = [CONTINUATION + character for character in sorted(characters)]
    continuing = [token for token in continuing if token in alphabet]
    vocabulary = _train(texts(), vocab_size, lowercase, characters, continuing)
    if len(vocabulary) > vocab_size:
        raise UserError(
            f"vocab_size={vocab_size} has no room for the characters of the corpus; give at least "
            f"{len(vocabulary) + 100}"
        )
    return WordPiece(tuple(vocabulary), lowercase)


def _counted(
    texts: Iterable[str], counts: collections.Counter[str], lowercase: bool
) -> Iterator[str]:
    """The same texts; `counts` takes their characters after BERT's normalisation."""
    normalize = _normalizer(lowercase).normalize_str
    for text in texts:
        counts.update(normalize(text))
        yield text


def _train(
    texts: Iterable[str],
    vocab_size: int,
    lowercase: bool,
    characters: Sequence[str] = (),
    fixed: Sequence[str] = (),
) -> list[str]:
    """The vocabulary, of no other characters than these if any are given."""
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        limit_alphabet=len(characters) or sys.maxunicode,
        initial_alphabet=list(characters),
        special_tokens=[*SPECIAL_TOKENS, *fixed],
        show_progress=False,
    )
    engine = _with_bert_rules(models.WordPiece(unk_token="[UNK]"), lowercase)
    engine.train_from_iterator(texts, trainer)
    ids = engine.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(lowercase=lowercase)


def _with_bert_rules(model: models.WordPiece, lowercase: bool) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = _normalizer(lowercase)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece(prefix=CONTINUATION)
    engine.encode_special_tokens = True
    return engine
