"""Which tokens make an example: BERT's instance building, from lengths alone.

Follows `create_instances_from_document` and `truncate_seq_pair` of google-research/bert
(create_pretraining_data.py), vectorised over documents.
"""

import dataclasses

import numpy as np

from plmjax.data.counter_random import below, fold, key_of, uniform

_DOCUMENTS_AT_ONCE = 1 << 18  # bounds the memory of temporaries
_TRIES = 10  # for a document that differs from the example's own


@dataclasses.dataclass(frozen=True)
class InstanceRule:
    """How documents are cut: see `plmjax.data.pipeline.DataConfig` for the fields."""

    seq_len: int
    short_seq_prob: float
    next_sentence: bool

    @property
    def max_tokens(self) -> int:
        """Tokens of text that fit beside [CLS] and one [SEP] per segment."""
        return self.seq_len - (3 if self.next_sentence else 2)


@dataclasses.dataclass(frozen=True)
class Instances:
    """Examples as ranges of the token store; each field is an array [N].

    `a_start`, `b_start` (int64) and `a_length`, `b_length` (int32) count tokens; B is empty where
    examples have one segment. `is_random` (bool): B does not follow A. `seed` (uint64) is the key
    of everything else that is drawn for the example.
    """

    a_start: np.ndarray
    a_length: np.ndarray
    b_start: np.ndarray
    b_length: np.ndarray
    is_random: np.ndarray
    seed: np.ndarray

    def __len__(self) -> int:
        return len(self.seed)

    def rows(self, indexes: np.ndarray) -> "Instances":
        """The examples at `indexes`, in that order."""
        return Instances(*(getattr(self, f.name)[indexes] for f in dataclasses.fields(self)))

    @classmethod
    def joined(cls, parts: "list[Instances]") -> "Instances":
        """All examples of `parts`, one part after the other."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """Runs of sentences before they are cut to length: A is [first, middle), B [middle, end)."""

    document: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    target: np.ndarray
    is_random: np.ndarray
    seed: np.ndarray


def count_instances(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, rule: InstanceRule, key: np.ndarray
) -> int:
    """How many examples `build_instances` makes with the same arguments."""
    return len(_chunks(sentence_offsets, document_offsets, rule, key).first)


def build_instances(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, rule: InstanceRule, key: np.ndarray
) -> Instances:
    """The examples of one pass over the documents, in the order of their first sentences.

    Args:
      sentence_offsets: int64 [S + 1], the token at which each sentence starts; strictly rising.
      document_offsets: int64 [D + 1], the sentence at which each document starts; strictly rising.
      rule: the lengths and probabilities.
      key: uint64 scalar; another key gives another pass.
    """
    chunks = _chunks(sentence_offsets, document_offsets, rule, key)
    a_start = sentence_offsets[chunks.first]
    a_length = sentence_offsets[chunks.middle] - a_start
    b_start = sentence_offsets[chunks.middle]
    b_length = sentence_offsets[chunks.end] - b_start
    if rule.next_sentence:
        random_start, random_length = _random_segments(
            sentence_offsets, document_offsets, chunks, np.maximum(chunks.target - a_length, 1)
        )
        b_start = np.where(chunks.is_random, random_start, b_start)
        b_length = np.where(chunks.is_random, random_length, b_length)
    a_cut, b_cut = _truncation(a_length, b_length, rule.max_tokens)
    return Instances(
        a_start=a_start + _cut_in_front(a_cut, fold(chunks.seed, key_of("front of a"))),
        a_length=(a_length - a_cut).astype(np.int32),
        b_start=b_start + _cut_in_front(b_cut, fold(chunks.seed, key_of("front of b"))),
        b_length=(b_length - b_cut).astype(np.int32),
        is_random=chunks.is_random,
        seed=chunks.seed,
    )


def _chunks(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, rule: InstanceRule, key: np.ndarray
) -> _Chunks:
    parts = []
    for start in range(0, len(document_offsets) - 1, _DOCUMENTS_AT_ONCE):
        documents = np.arange(start, min(start + _DOCUMENTS_AT_ONCE, len(document_offsets) - 1))
        parts += _lockstep(sentence_offsets, document_offsets, documents, rule, key)
    names = [field.name for field in dataclasses.fields(_Chunks)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    order = np.argsort(joined["first"])
    return _Chunks(**{name: values[order] for name, values in joined.items()})


def _lockstep(
    sentence_offsets: np.ndarray,
    document_offsets: np.ndarray,
    documents: np.ndarray,
    rule: InstanceRule,
    key: np.ndarray,
) -> list[dict[str, np.ndarray]]:
    """Cuts the n-th chunk of every document at once, for n = 0, 1, ... until all are used up."""
    first = document_offsets[documents]
    stop = document_offsets[documents + 1]
    target = _target_lengths(documents, rule, key)
    parts = []
    while len(documents):
        # The first sentence of a chunk never comes twice in a pass, so it names the chunk.
        seed = fold(key, first.astype(np.uint64))
        full = np.searchsorted(sentence_offsets, sentence_offsets[first] + target)
        end = np.minimum(full, stop)
        if rule.next_sentence:
            alone = end - first == 1
            spread = below(fold(seed, key_of("end of a")), end - first - 1)
            middle = first + 1 + np.where(alone, 0, spread)
            is_random = alone | (uniform(fold(seed, key_of("random b"))) < 0.5)
            following = np.where(is_random, middle, end)  # unused sentences are put back
        else:
            middle, is_random, following = end, np.zeros(len(end), bool), end
        parts.append(
            dict(
                document=documents,
                first=first,
                middle=middle,
                end=end,
                target=target,
                is_random=is_random,
                seed=seed,
            )
        )
        left = following < stop
        documents, first = documents[left], following[left]
        stop, target = stop[left], target[left]
    return parts


def _target_lengths(documents: np.ndarray, rule: InstanceRule, key: np.ndarray) -> np.ndarray:
    """Drawn once per document and pass: usually all that fits, sometimes anything shorter."""
    keys = fold(fold(key, key_of("target length")), documents.astype(np.uint64))
    is_short = uniform(fold(keys, key_of("short"))) < rule.short_seq_prob
    short = 2 + below(fold(keys, key_of("length")), rule.max_tokens - 1)
    return np.where(is_short, short, rule.max_tokens)


def _random_segments(
    sentence_offsets: np.ndarray, document_offsets: np.ndarray, chunks: _Chunks, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Start and length in tokens of a run of whole sentences from another document.

    The run begins at a random sentence and goes on until it has `wanted` tokens or the document
    ends.
    """
    keys = fold(chunks.seed, key_of("other document"))
    document = chunks.document.copy()
    again = np.arange(len(document))
    for attempt in range(_TRIES):
        bits = fold(keys[again], np.array(attempt, np.uint64))
        document[again] = below(bits, len(document_offsets) - 1)
        again = again[document[again] == chunks.document[again]]
    first, stop = document_offsets[document], document_offsets[document + 1]
    start = first + below(fold(chunks.seed, key_of("random start")), stop - first)
    full = np.searchsorted(sentence_offsets, sentence_offsets[start] + wanted)
    end = np.minimum(full, stop)
    return sentence_offsets[start], sentence_offsets[end] - sentence_offsets[start]


def _truncation(
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


def _cut_in_front(cut: np.ndarray, keys: np.ndarray) -> np.ndarray:
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
