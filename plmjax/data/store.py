"""The token store: the arrays of one split of one source of a corpus."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from plmjax.data.arrays import ArrayWriter, open_array
from plmjax.errors import UserError

TOKENS, FLAGS, TOKEN_COUNTS = "tokens", "flags", "token_counts"
SENTENCE_OFFSETS, DOCUMENT_OFFSETS = "sentence_offsets", "document_offsets"
ARRAYS = (TOKENS, FLAGS, SENTENCE_OFFSETS, DOCUMENT_OFFSETS, TOKEN_COUNTS)


def smallest_token_dtype(vocab_size: int) -> np.dtype:
    """The dtype that the store gives token ids: uint16 where they fit, or else uint32."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


class SplitWriter:
    """Writes documents to the arrays of one split; nothing counts until `finish` has returned."""

    def __init__(self, folder: str, vocab_size: int):
        dtypes = {TOKENS: smallest_token_dtype(vocab_size), FLAGS: np.dtype(np.uint8)}
        self._writers = {
            name: ArrayWriter(f"{folder}/{name}", dtypes.get(name, np.dtype(np.int64)))
            for name in ARRAYS
        }
        self._token_counts_V = np.zeros(vocab_size, np.int64)
        self._writers[SENTENCE_OFFSETS].append(np.zeros(1, np.int64))
        self._writers[DOCUMENT_OFFSETS].append(np.zeros(1, np.int64))

    def add(
        self,
        tokens_T: np.ndarray,
        flags_T: np.ndarray,
        sentence_lengths_S: np.ndarray,
        document_lengths_D: np.ndarray,
    ) -> None:
        """Appends documents.

        Args:
          tokens_T: int, the ids of all, one after the other.
          flags_T: uint8, see `plmjax.data.flags`.
          sentence_lengths_S: int, tokens of each sentence, at least 1.
          document_lengths_D: int, sentences of each document, at least 1.

        Raises:
          OSError: where the disk is full.
        """
        tokens, sentences = self._writers[TOKENS].length, self._writers[SENTENCE_OFFSETS].length - 1
        self._writers[TOKENS].append(tokens_T)
        self._writers[FLAGS].append(flags_T)
        self._writers[SENTENCE_OFFSETS].append(
            tokens + np.cumsum(sentence_lengths_S, dtype=np.int64)
        )
        self._writers[DOCUMENT_OFFSETS].append(
            sentences + np.cumsum(document_lengths_D, dtype=np.int64)
        )
        self._token_counts_V += np.bincount(tokens_T, minlength=len(self._token_counts_V))

    def finish(self) -> dict[str, Any]:
        """Writes what is left and returns the split's part of the manifest."""
        self._writers[TOKEN_COUNTS].append(self._token_counts_V)
        return {
            "documents": self._writers[DOCUMENT_OFFSETS].length - 1,
            "sentences": self._writers[SENTENCE_OFFSETS].length - 1,
            "tokens": self._writers[TOKENS].length,
            "arrays": {name: writer.finish() for name, writer in self._writers.items()},
        }


class SplitReader:
    """One split of one source of a prepared corpus.

    Attributes:
      name: the source's name.
      path: the folder of the split.
      sentence_offsets: int64 [S + 1], the token at which each sentence starts, and the end.
      document_offsets: int64 [D + 1], the sentence at which each document starts, and the end.
      token_counts: int64 [V], how often each token occurs.

    The offsets are in memory, 8 bytes a document and 8 bytes a sentence, and beyond 1 GiB in a
    mapped file. Tokens and flags are read from their files as they are asked for.
    """

    def __init__(self, folder: str, manifest: Mapping[str, Any], name: str = ""):
        """Opens the split whose manifest part `SplitWriter.finish` returned.

        Raises:
          UserError: where an array is missing, damaged, or not the one of the manifest.
        """
        about = manifest["arrays"]
        arrays = {array: open_array(f"{folder}/{array}", about[array]) for array in ARRAYS}
        self.name = name
        self.path = folder
        self.sentence_offsets = arrays[SENTENCE_OFFSETS].read_all()
        self.document_offsets = arrays[DOCUMENT_OFFSETS].read_all()
        self.token_counts = arrays[TOKEN_COUNTS].read_all()
        self._tokens, self._flags = arrays[TOKENS], arrays[FLAGS]
        lengths = (self.documents, self.sentences, self.tokens, self._flags.length)
        told = [manifest[key] for key in ("documents", "sentences", "tokens", "tokens")]
        if list(lengths) != told:
            raise UserError(
                f"{folder} has {lengths} documents, sentences, tokens and flags but its manifest "
                f"says {tuple(told)}; prepare the data again"
            )

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.document_offsets) - 1

    @property
    def sentences(self) -> int:
        """How many sentences there are."""
        return len(self.sentence_offsets) - 1

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return self._tokens.length

    def read(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The tokens of many ranges, one range after the other: uint16 or uint32 [sum(lengths)].

        Args:
          starts: int64 [N], the first token of each range.
          lengths: int [N], how many tokens each range has.

        Raises:
          UserError: where a chunk is damaged; its file is named.
        """
        return self._tokens.read_ranges(starts, lengths)

    def read_flags(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """As `read`: uint8 [sum(lengths)], the bits WORD, PHRASE and ENTITY of each token."""
        return self._flags.read_ranges(starts, lengths)

    def blocks(self, size: int = 1 << 20) -> Iterator[np.ndarray]:
        """All tokens of the split, in order, in arrays of up to `size`."""
        for start in range(0, self.tokens, size):
            length = min(size, self.tokens - start)
            yield self.read(np.array([start]), np.array([length]))


def token_counts(splits: Sequence[SplitReader]) -> np.ndarray:
    """How often each token stands in all of these splits together: int64 [vocab_size]."""
    return np.sum([split.token_counts for split in splits], axis=0)
