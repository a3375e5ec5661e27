"""Tables of similar words, made from word vectors; looked up by the ids of a word's tokens."""

import dataclasses
import os
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath

from plmjax.data.counter_random import fold, key_of
from plmjax.errors import UserError

MOST_TOKENS = 8  # of a word; longer ones have no similar word
_ROWS_AT_ONCE = 1024  # bounds the memory of the block of cosines
_REMEDY = "make it with python -m plmjax.similar_words --store=STORE"


@dataclasses.dataclass(frozen=True, eq=False)
class SimilarWords:
    """Words and for each the most similar one with as many tokens, in ascending order of hashes.

    The paper does not say what happens where the similar word is longer or shorter, which would
    move all that follows: here only words of the same number of tokens come into question.

    Attributes:
      vocab_size: of the tokenizer that the words were encoded with.
      hashes_K: int64, ascending and all different.
      words_KT, similar_KT: int32 ids, -1 after the end of the word.
    """

    vocab_size: int
    hashes_K: np.ndarray
    words_KT: np.ndarray
    similar_KT: np.ndarray

    def save(self, path: str | os.PathLike) -> None:
        """Writes an .npz file."""
        with epath.Path(path).open("wb") as file:
            np.savez_compressed(file, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "SimilarWords":
        """Reads what `save` wrote.

        Raises:
          UserError: where there is no such file or it is another one.
        """
        try:
            with epath.Path(path).open("rb") as file, np.load(file) as arrays:
                values = {field.name: arrays[field.name] for field in dataclasses.fields(cls)}
        except FileNotFoundError:
            raise UserError(f"words={path} does not exist; {_REMEDY}") from None
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"words={path} is no table of similar words ({error}); {_REMEDY}"
            ) from None
        return cls(**values | {"vocab_size": int(values["vocab_size"])})

    def similar_to(self, word: np.ndarray) -> np.ndarray | None:
        """The similar word of a word of these ids; None where the table has none."""
        found = np.flatnonzero((self.words_KT == _padded([word[:MOST_TOKENS]])).all(axis=1))
        if len(word) > MOST_TOKENS or not len(found):
            return None
        return self.similar_KT[found[0], : len(word)]

    @classmethod
    def stand_in(cls, vocab_size: int) -> "SimilarWords":
        """What stands for a table that is still to be made, so that a run can be checked before."""
        nobody_KT = np.full((1, MOST_TOKENS), -1, np.int32)
        return cls(vocab_size, np.zeros(1, np.int64), nobody_KT, nobody_KT)


def piece_hash(ids: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Uint64: what a token at `index` of its word adds to the word's hash (NumPy or TensorFlow)."""
    return fold(fold(key_of("pieces of a word"), ids), index)


def word_hashes(tokens_T: np.ndarray, index_T: np.ndarray, begins_W: np.ndarray) -> np.ndarray:
    """Int64 [W]: the hashes of words that fill a text.

    Args:
      tokens_T: ids.
      index_T: of each token in its word.
      begins_W: where each word begins, the first at 0.
    """
    pieces_T = piece_hash(tokens_T.astype(np.uint64), index_T.astype(np.uint64))
    return np.add.reduceat(pieces_T, begins_W).view(np.int64)


def read_vectors(path: str | os.PathLike, limit: int) -> tuple[list[str], np.ndarray]:
    """The first `limit` words of a text file of vectors, and float32 vectors [K, D].

    A word and its numbers a line, as word2vec writes it, with a header of both sizes (Tencent's
    file, too), and GloVe without one. A word may have spaces in it.

    Raises:
      UserError: where the file is missing or a line of it has another number of values.
    """
    words, rows, width = [], [], 0
    for number, fields in _lines(path):
        if number == 1 and len(fields) == 2 and fields[1].isdigit():
            width = int(fields[1])
            continue
        width = width or len(fields) - 1
        word, numbers = fields[: len(fields) - width], fields[len(fields) - width :]
        try:
            row = np.array(numbers, np.float32)
        except ValueError:
            row = np.zeros(0, np.float32)
        if not word or len(row) != width or not width:
            expected = f"a word and {width} numbers" if rows else "a word and numbers"
            raise UserError(f"{path}, line {number}: expected {expected}; mend or remove the line")
        words.append(" ".join(word))
        rows.append(row)
        if len(words) == limit:
            break
    if not words:
        raise UserError(f"{path} has no word vectors; give a text file of word2vec's format")
    return words, np.stack(rows)


def _lines(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    try:
        with epath.Path(path).open("r", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                fields = line.rstrip().split(" ")
                if fields != [""]:
                    yield number, fields
    except FileNotFoundError:
        raise UserError(f"vectors={path} does not exist; give a word-vector file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no UTF-8 text ({error.reason}); give word vectors in word2vec's text format"
        ) from None


def make_similar_words(
    path: str | os.PathLike,
    encode_batch: Callable[[list[str]], list[np.ndarray]],
    vocab_size: int,
    *,
    limit: int = 200_000,
    least_cosine: float = 0.0,
) -> SimilarWords:
    """Finds for each word the one with the highest cosine among those of as many tokens.

    Args:
      path: word vectors, a text file of word2vec's format.
      encode_batch: the tokenizer's method of that name.
      vocab_size: the tokenizer's.
      limit: words of the file that are used; they are sorted by frequency.
      least_cosine: words with no neighbour as near as this have no similar word.

    Raises:
      UserError: where the file is none, or no word has a similar one.
    """
    words, vectors_KD = read_vectors(path, limit)
    return nearest_words(encode_batch(words), vectors_KD, vocab_size, str(path), least_cosine)


def nearest_words(
    ids: list[np.ndarray],
    vectors_KD: np.ndarray,
    vocab_size: int,
    source: str,
    least_cosine: float = 0.0,
) -> SimilarWords:
    """The table of words whose ids and vectors are known.

    Args:
      ids: of each word's tokens.
      vectors_KD: the words' vectors; of words with the same ids the first one counts.
      vocab_size: the tokenizer's.
      source: where they come from, for messages.
      least_cosine: see `make_similar_words`.

    Raises:
      UserError: where no word has a similar one.
    """
    lengths_K = np.array([len(row) for row in ids])
    known_K = np.linalg.norm(vectors_KD, axis=1) > 0
    vectors_KD = vectors_KD / np.maximum(np.linalg.norm(vectors_KD, axis=1, keepdims=True), 1e-12)
    vectors_KD = vectors_KD.astype(np.float32)
    own, other = [], []
    for length in range(1, MOST_TOKENS + 1):
        rows = _first_of_each(ids, np.flatnonzero((lengths_K == length) & known_K))
        if len(rows) < 2:
            continue
        neighbour, cosine = _nearest(vectors_KD[rows])
        is_near = cosine >= least_cosine
        own += [ids[row] for row in rows[is_near]]
        other += [ids[row] for row in rows[neighbour[is_near]]]
    if not own:
        raise UserError(f"{source}: no word has a similar one of as many tokens; give more vectors")
    words_KT, similar_KT = _padded(own), _padded(other)
    lengths_K = np.array([len(row) for row in own])
    begins_K = np.cumsum(lengths_K) - lengths_K
    index_T = np.arange(lengths_K.sum()) - np.repeat(begins_K, lengths_K)
    hashes_K = word_hashes(np.concatenate(own), index_T, begins_K)
    # Of words with one hash only one is kept: a look-up compares the ids, so none is mistaken.
    hashes_K, order = np.unique(hashes_K, return_index=True)
    return SimilarWords(vocab_size, hashes_K, words_KT[order], similar_KT[order])


def _first_of_each(ids: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Of rows with the same ids (such as words in capitals, lower-cased) the first ones."""
    seen: dict[bytes, int] = {}
    for row in rows.tolist():
        seen.setdefault(ids[row].tobytes(), row)
    return np.array(list(seen.values()), np.int64)


def _nearest(vectors_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of unit length the nearest other row, and the cosine."""
    nearest, cosines = [], []
    for start in range(0, len(vectors_KD), _ROWS_AT_ONCE):
        block_RK = vectors_KD[start : start + _ROWS_AT_ONCE] @ vectors_KD.T
        rows_R = np.arange(len(block_RK))
        block_RK[rows_R, start + rows_R] = -np.inf
        nearest.append(block_RK.argmax(axis=1))
        cosines.append(block_RK[rows_R, nearest[-1]])
    return np.concatenate(nearest), np.concatenate(cosines)


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    padded_KT = np.full((len(rows), MOST_TOKENS), -1, np.int32)
    for row, ids in enumerate(rows):
        padded_KT[row, : len(ids)] = ids
    return padded_KT
