"""Splits of the store and a tokenizer, made up in memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class FakeSplit:
    """Tokens are their own places in the split, plus 100, so that a test sees what was read."""

    sentence_offsets: np.ndarray
    document_offsets: np.ndarray
    name: str = "text"
    path: str = "store/text/train"

    @property
    def documents(self) -> int:
        return len(self.document_offsets) - 1

    @property
    def tokens(self) -> int:
        return int(self.sentence_offsets[-1])

    def read(self, starts, lengths):
        pieces = [np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)]
        return np.concatenate([np.zeros(0, np.int64), *pieces]).astype(np.uint32) + 100

    def read_flags(self, starts, lengths):
        return ((self.read(starts, lengths) - 100) % 8).astype(np.uint8)


@dataclasses.dataclass
class FakeTokenizer:
    pad_id: int | None = 0
    cls_id: int | None = 2
    sep_id: int | None = 3
    bos_id: int | None = 4
    eos_id: int | None = 5
    eod_id: int | None = 6
    mask_id: int | None = 7
    kind: str = "fake"
    vocab_size: int = 100

    def id_of(self, role):
        return getattr(self, f"{role}_id")


def split_of(documents: list[list[int]], name: str = "text") -> FakeSplit:
    """A split of documents given as the lengths of their sentences."""
    lengths = np.array([n for document in documents for n in document], np.int64)
    counts = np.array([len(document) for document in documents], np.int64)
    return FakeSplit(np.append(0, lengths.cumsum()), np.append(0, counts.cumsum()), name)


def random_split(
    documents: int = 40, most_sentences: int = 14, longest: int = 18, seed: int = 0
) -> FakeSplit:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most_sentences, documents)
    lengths = rng.integers(1, longest, counts.sum())
    return FakeSplit(np.append(0, lengths.cumsum()), np.append(0, counts.cumsum()))


def pairs_split(documents: int = 60, longest: int = 18, seed: int = 0) -> FakeSplit:
    lengths = np.random.default_rng(seed).integers(1, longest, 2 * documents)
    return FakeSplit(np.append(0, lengths.cumsum()), np.arange(0, 2 * documents + 1, 2))


def pieces_of(examples):
    """For each example, its pieces as (start, length, segment, closes)."""
    found = [[] for _ in range(len(examples))]
    columns = (examples.rows, examples.starts, examples.lengths, examples.segments, examples.closes)
    for row, *piece in zip(*(column.tolist() for column in columns), strict=True):
        found[row].append(tuple(piece))
    return found


def rows_of(examples):
    """Everything that is said of each example, comparable and hashable."""
    columns = (examples.seeds, examples.labels, examples.sources)
    heads = zip(*(column.tolist() for column in columns), strict=True)
    return [(*head, *pieces) for head, pieces in zip(heads, pieces_of(examples), strict=True)]
