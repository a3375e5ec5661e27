"""Documents cut into chunks of whole sentences, one after the other, from lengths alone."""

import abc
import dataclasses
from collections.abc import Callable

import numpy as np

from plmjax.data.counter_random import below, fold, key_of, uniform
from plmjax.data.kept import Kept
from plmjax.data.plans.base import Plan, cuts_of, number_dtype
from plmjax.data.plans.examples import Examples, Split

_DOCUMENTS_AT_ONCE = 1 << 18  # bounds the memory of temporaries
_SENTENCES_AT_ONCE = 1 << 18
_FEW_DOCUMENTS = 32  # so few long documents are walked through instead

# (first sentences [n], their documents [n]) -> the sentence at which the next chunk begins [n]
Following = Callable[[np.ndarray, np.ndarray], np.ndarray]


def chunk_starts(document_offsets: np.ndarray, following: Following) -> np.ndarray:
    """The first sentence of every chunk of every document, ascending: uint32 or int64 [N].

    The n-th chunks of many documents are cut at once, for n = 0, 1, ...; where only a few long
    documents are left, what would follow each of their sentences is found at once instead.

    Args:
      document_offsets: int64 [D + 1], the sentence at which each document starts.
      following: where the chunk after the one that begins at a sentence begins; later than that
        sentence, and the end of the document or more where there is none.
    """
    dtype = number_dtype(int(document_offsets[-1]))
    parts = []
    for start in range(0, len(document_offsets) - 1, _DOCUMENTS_AT_ONCE):
        documents = np.arange(start, min(start + _DOCUMENTS_AT_ONCE, len(document_offsets) - 1))
        first, stop = document_offsets[documents], document_offsets[documents + 1]
        found = []
        while len(documents) > _FEW_DOCUMENTS or (len(documents) and (stop - first).max() < 256):
            found.append(first.astype(dtype))
            first = following(first, documents)
            left = first < stop
            documents, first, stop = documents[left], first[left], stop[left]
        for document, begin, end in zip(documents, first.tolist(), stop.tolist(), strict=True):
            found.append(_walked(begin, end, document, following).astype(dtype))
        block = np.concatenate(found)
        block.sort()
        parts.append(block)
    return np.concatenate(parts)


def _walked(first: int, stop: int, document: int, following: Following) -> np.ndarray:
    found = []
    while first < stop:
        end = min(stop, first + _SENTENCES_AT_ONCE)
        sentences = np.arange(first, end)
        steps = following(sentences, np.full(end - first, document)).tolist()
        base = first
        while first < end:
            found.append(first)
            first = steps[first - base]
    return np.array(found, np.int64)


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Where N examples were cut; each field an array [N].

    first, document: int64, the first sentence and its document.
    keys: uint64, the key of the pass over the documents that the chunk is of.
    cut_seeds: uint64, for draws that belong to the cut: the same whenever the cut is used.
    seeds: uint64, for what is drawn anew in every epoch (with `dupe_factor` the same as above).
    """

    first: np.ndarray
    document: np.ndarray
    keys: np.ndarray
    cut_seeds: np.ndarray
    seeds: np.ndarray


class ChunkPlan(Plan):
    """A plan whose examples are chunks of one document each.

    A table holds the first sentence of each chunk of one cut: 4 bytes per example (8 beyond 2**32
    sentences); the rest of an example is found again from it. With `dupe_factor` k a cut is k
    differently drawn passes over the documents, all epochs have the same, and their seeds are the
    same in every epoch, so that masks are too, as google-research/bert prepares its data.
    """

    def __init__(self, split: Split, seed: int, dupe_factor: int = 0, varies: bool = True):
        """`varies`: whether passes are drawn differently at all."""
        static = dupe_factor > 0
        cuts = cuts_of(len(split.sentence_offsets) - 1) if varies and not static else 1
        super().__init__(split, seed, cuts)
        self._static = static
        self._passes = dupe_factor if static else 1
        self._pass_key = key_of(seed, split.name, "pass")
        self._tables = Kept(self._table)

    @abc.abstractmethod
    def _following(
        self, first: np.ndarray, document: np.ndarray, keys: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        """Where the chunk after the one at `first` begins; `seeds` are the cut's."""

    @abc.abstractmethod
    def _of_chunks(self, chunks: Chunks) -> Examples:
        """The examples of these chunks, in their order."""

    def _count(self, cut: int) -> int:
        return len(self._tables[cut][0])

    def _table(self, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """First sentences of all chunks of the cut's passes, and where each pass begins."""
        passes = []
        for number in range(cut * self._passes, (cut + 1) * self._passes):
            key = self._key_of_pass(np.array(number))

            def following(first: np.ndarray, document: np.ndarray, key=key) -> np.ndarray:
                return self._following(first, document, key, fold(key, first.astype(np.uint64)))

            passes.append(chunk_starts(self.split.document_offsets, following))
        begins = np.cumsum([0, *map(len, passes)])[:-1]
        return np.concatenate(passes), begins

    def _made(self, epoch: int, numbers: np.ndarray) -> Examples:
        cut = epoch % self._cuts
        firsts, begins = self._tables[cut]
        first = firsts[numbers].astype(np.int64)
        passes = np.searchsorted(begins, numbers, side="right") - 1 + cut * self._passes
        keys = self._key_of_pass(passes)
        cut_seeds = fold(keys, first.astype(np.uint64))
        seeds = cut_seeds if self._static else self._epoch_seeds(epoch, cut_seeds)
        document = np.searchsorted(self.split.document_offsets, first, side="right") - 1
        return self._of_chunks(Chunks(first, document, keys, cut_seeds, seeds))

    def _key_of_pass(self, number: np.ndarray) -> np.ndarray:
        return fold(self._pass_key, number.astype(np.uint64))

    def _full_end(self, first: np.ndarray, document: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The sentence behind the first one that fills `target` tokens, or the document's end."""
        offsets = self.split.sentence_offsets
        full = np.searchsorted(offsets, offsets[first] + target)
        return np.minimum(full, self.split.document_offsets[document + 1])


def target_lengths(
    documents: np.ndarray, keys: np.ndarray, short_seq_prob: float, max_tokens: int
) -> np.ndarray:
    """BERT's: drawn once per document and pass; usually all that fits, or uniform from 2 on."""
    keys = fold(fold(keys, key_of("target length")), documents.astype(np.uint64))
    is_short = uniform(fold(keys, key_of("short"))) < short_seq_prob
    short = 2 + below(fold(keys, key_of("length")), max_tokens - 1)
    return np.where(is_short, short, max_tokens)


def truncation(
    a_length: np.ndarray, b_length: np.ndarray, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens each segment loses when the longer one is cut until both fit.

    Cutting token by token first evens out the lengths and then alternates, B first.
    """
    excess = np.maximum(a_length + b_length - max_tokens, 0)
    uneven = np.minimum(excess, np.abs(a_length - b_length))
    even = excess - uneven
    a_cut = np.where(a_length > b_length, uneven, 0) + even // 2
    return a_cut, excess - a_cut


def cut_in_front(cut: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """How many of the `cut` tokens go from the front, each with probability one half.

    Binomial(cut, 1/2), exactly: the ones among that many random bits.
    """
    front = np.zeros_like(cut)
    rows = np.flatnonzero(cut)
    word = 0
    while len(rows):
        bits = fold(keys[rows], np.array(word, np.uint64))
        unused = np.maximum(64 - (cut[rows] - 64 * word), 0).astype(np.uint64)
        front[rows] += np.bitwise_count(bits >> unused)
        word += 1
        rows = rows[cut[rows] > 64 * word]
    return front
