"""WordPiece tokenizers: trained on a corpus, or read from a published vocabulary."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable

import numpy as np
import tokenizers
from etils import epath
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from plmjax.errors import UserError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUATION = "##"
VOCABULARY_FILE = "vocab.txt"
# Characters; longer words become [UNK]. Hugging Face's limit, so that its tokenizer gives the same
# ids: google-research/bert has 200.
_LONGEST_WORD = 100


@dataclasses.dataclass(frozen=True)
class WordPiece:
    """BERT's tokenizer: clean, split around CJK and punctuation, then longest match first.

    Ids are those of Hugging Face's `BertTokenizerFast` with the same vocabulary. Special tokens
    written out in a text are ordinary text.

    Attributes:
      vocabulary: the tokens, in the order of their ids.
      lowercase: whether text is lower-cased and stripped of accents.
    """

    vocabulary: tuple[str, ...]
    lowercase: bool = True

    def __post_init__(self):
        missing = [token for token in SPECIAL_TOKENS if token not in self._ids]
        if missing:
            raise UserError(
                f"the vocabulary lacks {', '.join(missing)}; BERT's needs "
                f"{' '.join(SPECIAL_TOKENS)}, each on a line of its own"
            )
        if len(self._ids) < len(self.vocabulary):
            twice = next(t for i, t in enumerate(self.vocabulary) if self._ids[t] != i)
            raise UserError(f"the vocabulary has '{twice}' more than once; leave one of them")

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.vocabulary)}

    @functools.cached_property
    def _engine(self) -> tokenizers.Tokenizer:
        model = models.WordPiece(
            self._ids,
            unk_token="[UNK]",
            continuing_subword_prefix=CONTINUATION,
            max_input_chars_per_word=_LONGEST_WORD,
        )
        return _with_bert_rules(model, self.lowercase)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; ids are in range(vocab_size)."""
        return len(self.vocabulary)

    @property
    def pad_id(self) -> int:
        """The id of [PAD]."""
        return self._ids["[PAD]"]

    @property
    def unk_id(self) -> int:
        """The id of [UNK]."""
        return self._ids["[UNK]"]

    @property
    def cls_id(self) -> int:
        """The id of [CLS]."""
        return self._ids["[CLS]"]

    @property
    def sep_id(self) -> int:
        """The id of [SEP]."""
        return self._ids["[SEP]"]

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self._ids["[MASK]"]

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
        encodings = self._engine.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, pieces joined to words, special tokens kept."""
        return self._engine.decode([int(i) for i in ids], skip_special_tokens=False)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.txt and tokenizer.json into an existing folder."""
        folder = epath.Path(folder)
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


def read_vocabulary(path: str | os.PathLike) -> tuple[str, ...]:
    """The tokens of a vocab.txt, one per line, in the order of their ids.

    Raises:
      UserError: where the file is missing or is not UTF-8 text.
    """
    path = epath.Path(path).expanduser()
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"there is no vocabulary at {path}; give the path of a vocab.txt") from None
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
    alphabet = _train(texts(), len(SPECIAL_TOKENS), vocab_size // 2, lowercase, ())
    continuing = sorted(token for token in alphabet if token.startswith(CONTINUATION))
    vocabulary = _train(texts(), vocab_size, vocab_size // 2, lowercase, continuing)
    if len(vocabulary) > vocab_size:
        raise UserError(
            f"vocab_size={vocab_size} has no room for the characters of the corpus; give at least "
            f"{len(vocabulary) + 100}"
        )
    return WordPiece(tuple(vocabulary), lowercase)


def _train(
    texts: Iterable[str],
    vocab_size: int,
    limit_alphabet: int,
    lowercase: bool,
    fixed: Iterable[str],
) -> list[str]:
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        limit_alphabet=limit_alphabet,
        special_tokens=[*SPECIAL_TOKENS, *fixed],
        show_progress=False,
    )
    engine = _with_bert_rules(models.WordPiece(unk_token="[UNK]"), lowercase)
    engine.train_from_iterator(texts, trainer)
    ids = engine.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _with_bert_rules(model: models.WordPiece, lowercase: bool) -> tokenizers.Tokenizer:
    engine = tokenizers.Tokenizer(model)
    engine.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece(prefix=CONTINUATION)
    engine.encode_special_tokens = True
    return engine
