import random

import numpy as np
import pytest

from plmjax.data.counter_random import fold, key_of
from plmjax.data.instances import InstanceRule, build_instances, count_instances

RULE = InstanceRule(seq_len=35, short_seq_prob=0.3, next_sentence=True)
PASSES = 250


def make_offsets(documents=40, most_sentences=14, longest=18, seed=0):
    rng = np.random.default_rng(seed)
    sentences = rng.integers(1, most_sentences, documents)
    lengths = rng.integers(1, longest, sentences.sum())
    return np.append(0, lengths.cumsum()), np.append(0, sentences.cumsum())


def key_of_pass(number):
    return fold(key_of(0, "pass"), np.array(number, np.uint64))


def reference_instances(sentence_offsets, document_offsets, rule, rng):
    """google-research/bert's loops over tokens that are their own places in the store."""
    documents = [
        [
            list(range(sentence_offsets[s], sentence_offsets[s + 1]))
            for s in range(document_offsets[d], document_offsets[d + 1])
        ]
        for d in range(len(document_offsets) - 1)
    ]
    instances = []
    for index, document in enumerate(documents):
        target = rule.max_tokens
        if rng.random() < rule.short_seq_prob:
            target = rng.randint(2, rule.max_tokens)
        chunk, length, i = [], 0, 0
        while i < len(document):
            chunk.append(document[i])
            length += len(document[i])
            if i == len(document) - 1 or length >= target:
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a = [token for sentence in chunk[:a_end] for token in sentence]
                b = [token for sentence in chunk[a_end:] for token in sentence]
                is_random = len(chunk) == 1 or rng.random() < 0.5
                if is_random:
                    i -= len(chunk) - a_end
                    b = _random_segment(documents, index, target - len(a), rng)
                _truncate(a, b, rule.max_tokens, rng)
                instances.append((a, b, is_random))
                chunk, length = [], 0
            i += 1
    return instances


def _random_segment(documents, index, wanted, rng):
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != index:
            break
    segment = []
    for sentence in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
        segment.extend(sentence)
        if len(segment) >= wanted:
            break
    return segment


def _truncate(a, b, max_tokens, rng):
    while len(a) + len(b) > max_tokens:
        longer = a if len(a) > len(b) else b
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def _statistics(a_start, a_length, b_start, b_length, is_random, sentence_offsets):
    """What is compared, as one row per pass."""

    def from_sentence_start(places):
        return places - sentence_offsets[np.searchsorted(sentence_offsets, places, "right") - 1]

    total = a_length + b_length
    return [
        len(a_start),
        a_length.mean(),
        b_length.mean(),
        a_length.std(),
        b_length.std(),
        np.minimum(a_length, b_length).mean(),
        is_random.mean(),
        b_length[~is_random].mean(),
        b_length[is_random].mean(),
        (total == RULE.max_tokens).mean(),
        (total < RULE.max_tokens / 2).mean(),
        from_sentence_start(a_start).mean(),
        from_sentence_start(b_start[is_random]).mean(),
        (from_sentence_start(b_start[~is_random]) > 0).mean(),
    ]


def test_the_distribution_is_that_of_the_original_loops():
    sentence_offsets, document_offsets = make_offsets()
    ours, theirs = [], []
    rng = random.Random(1)
    for number in range(PASSES):
        made = build_instances(sentence_offsets, document_offsets, RULE, key_of_pass(number))
        columns = (made.a_start, made.a_length, made.b_start, made.b_length, made.is_random)
        ours.append(_statistics(*columns, sentence_offsets))
        rows = reference_instances(sentence_offsets, document_offsets, RULE, rng)
        columns = [np.array([f(row) for row in rows]) for f in REFERENCE_COLUMNS]
        theirs.append(_statistics(*columns, sentence_offsets))
    ours, theirs = np.array(ours), np.array(theirs)
    error = np.sqrt((ours.var(0) + theirs.var(0)) / PASSES)
    z = (ours.mean(0) - theirs.mean(0)) / error
    assert np.abs(z).max() < 3.5, z
    spread = ours.std(0) / theirs.std(0)  # a draw that is shared or missing would show here
    assert spread.min() > 0.75 and spread.max() < 1.33, spread


REFERENCE_COLUMNS = (
    lambda row: row[0][0],
    lambda row: len(row[0]),
    lambda row: row[1][0],
    lambda row: len(row[1]),
    lambda row: row[2],
)


def test_real_next_follows_and_random_next_is_from_elsewhere():
    sentence_offsets, document_offsets = make_offsets(documents=300)
    token_offsets = sentence_offsets[document_offsets]
    made = build_instances(sentence_offsets, document_offsets, RULE, key_of(1))
    document_a, document_b = (
        np.searchsorted(token_offsets, start, "right") for start in (made.a_start, made.b_start)
    )
    real = ~made.is_random
    assert np.array_equal(document_a[real], document_b[real])
    assert (document_a != document_b)[made.is_random].all()
    gap = made.b_start - (made.a_start + made.a_length)
    uncut = real & (made.a_length + made.b_length < RULE.max_tokens)
    assert uncut.any()
    assert (gap[uncut] == 0).all()
    assert (gap[real] >= 0).all()
    assert (made.a_length >= 1).all() and (made.b_length >= 1).all()
    assert (made.a_length + made.b_length <= RULE.max_tokens).all()


def test_half_of_the_chunks_with_two_sentences_get_a_random_next():
    sentence_offsets = np.arange(0, 40001, 4)  # sentences of 4 tokens, 50 to a document
    document_offsets = np.arange(0, 10001, 50)
    rule = InstanceRule(seq_len=35, short_seq_prob=0.0, next_sentence=True)
    made = build_instances(sentence_offsets, document_offsets, rule, key_of(2))
    last_sentences = document_offsets[1:] - 1
    alone = np.isin(np.searchsorted(sentence_offsets, made.a_start, "right") - 1, last_sentences)
    rate = made.is_random[~alone].mean()
    assert abs(rate - 0.5) < 3 * np.sqrt(0.25 / (~alone).sum())


def test_one_segment_instances_cover_every_token_once():
    sentence_offsets, document_offsets = make_offsets(longest=8)
    rule = InstanceRule(seq_len=66, short_seq_prob=0.0, next_sentence=False)
    made = build_instances(sentence_offsets, document_offsets, rule, key_of(3))
    assert (made.b_length == 0).all()
    assert not made.is_random.any()
    uncut = made.a_length < rule.max_tokens
    ends = made.a_start + made.a_length
    # Chunks end at the first sentence that fills them: only what sticks out is cut.
    assert (ends[:-1] <= made.a_start[1:]).all()
    assert np.isin(ends[uncut], sentence_offsets).all()
    assert made.a_length.sum() > 0.9 * sentence_offsets[-1]


@pytest.mark.parametrize("next_sentence", [True, False])
def test_count_is_the_number_of_instances_and_seeds_are_distinct(next_sentence):
    offsets = make_offsets()
    rule = InstanceRule(20, 0.1, next_sentence)
    made = build_instances(*offsets, rule, key_of(4))
    assert len(made) == count_instances(*offsets, rule, key_of(4))
    assert len(np.unique(made.seed)) == len(made)


def test_blocks_of_documents_do_not_change_the_result(monkeypatch):
    offsets = make_offsets()
    whole = build_instances(*offsets, RULE, key_of(5))
    monkeypatch.setattr("plmjax.data.instances._DOCUMENTS_AT_ONCE", 7)
    blocks = build_instances(*offsets, RULE, key_of(5))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(vars(whole).values(), vars(blocks).values(), strict=True)
    )


def test_long_sentences_lose_tokens_evenly_from_both_ends():
    sentence_offsets = np.arange(0, 401 * 301, 301)
    document_offsets = np.arange(0, 401, 4)
    made = [build_instances(sentence_offsets, document_offsets, RULE, key_of(n)) for n in range(30)]
    front = np.concatenate([m.a_start % 301 for m in made])
    cut = np.concatenate([301 - m.a_length for m in made])
    whole = cut < 301  # A of a single sentence
    z = (front[whole] - cut[whole] / 2) / np.sqrt(cut[whole] / 4)
    assert abs(z.mean()) < 3 / np.sqrt(len(z))
    assert abs(z.var() - 1) < 3 * np.sqrt(2 / len(z))
