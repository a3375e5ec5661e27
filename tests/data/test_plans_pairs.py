"""Pairs against the loops of google-research/bert and /albert, written from their description."""

import random

import numpy as np
import pytest

from plmjax.data.plans import SentenceDistance, SentenceOrder, SentencePairs
from plmjax.data.plans.chunks import chunk_starts
from tests.data.splits import FakeTokenizer, pieces_of, random_split, rows_of, split_of

SEQ_LEN, SHORT, MAX_TOKENS = 35, 0.3, 32
PASSES = 200


def bound(settings, split, seed=0, seq_len=SEQ_LEN):
    return settings.bind(split, settings.layout("bert", FakeTokenizer(), seq_len), seed)


def made(plan, epoch=0):
    """Columns of an epoch's examples, in the order of the text."""
    examples = plan._made(epoch, np.arange(plan.epoch_size(epoch)))
    a, b = (examples.segments == segment for segment in (0, 1))
    return {
        "a_start": examples.starts[a],
        "a_length": examples.lengths[a],
        "b_start": examples.starts[b],
        "b_length": examples.lengths[b],
        "label": examples.labels,
    }


def reference(split, rng, kind):
    """Both repositories' loops over tokens that are their own places in the store."""
    sentences, documents = split.sentence_offsets, split.document_offsets
    texts = [
        [list(range(sentences[s], sentences[s + 1])) for s in range(documents[d], documents[d + 1])]
        for d in range(split.documents)
    ]
    instances = []
    for index, document in enumerate(texts):
        target = rng.randint(2, MAX_TOKENS) if rng.random() < SHORT else MAX_TOKENS
        chunk, length, i = [], 0, 0
        while i < len(document):
            chunk.append(document[i])
            length += len(document[i])
            if i == len(document) - 1 or length >= target:
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a = [token for sentence in chunk[:a_end] for token in sentence]
                b = [token for sentence in chunk[a_end:] for token in sentence]
                label = 0
                if len(chunk) == 1 or (kind == "next" and rng.random() < 0.5):
                    label = 1
                    b = _random_segment(texts, index, target - len(a), rng)
                    i -= len(chunk) - a_end
                elif kind == "order" and rng.random() < 0.5:
                    label = 1
                    a, b = b, a
                _truncate(a, b, rng)
                instances.append((a, b, label))
                chunk, length = [], 0
            i += 1
    return {
        "a_start": np.array([a[0] for a, _, _ in instances]),
        "a_length": np.array([len(a) for a, _, _ in instances]),
        "b_start": np.array([b[0] for _, b, _ in instances]),
        "b_length": np.array([len(b) for _, b, _ in instances]),
        "label": np.array([label for _, _, label in instances]),
    }


def _random_segment(texts, index, wanted, rng):
    for _ in range(10):
        other = rng.randint(0, len(texts) - 1)
        if other != index:
            break
    segment = []
    for sentence in texts[other][rng.randint(0, len(texts[other]) - 1) :]:
        segment.extend(sentence)
        if len(segment) >= wanted:
            break
    return segment


def _truncate(a, b, rng):
    while len(a) + len(b) > MAX_TOKENS:
        longer = a if len(a) > len(b) else b
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def _statistics(columns, sentence_offsets):
    """What is compared, as one row per pass."""
    a_start, a_length, b_start, b_length, label = columns.values()

    def from_sentence_start(places):
        return places - sentence_offsets[np.searchsorted(sentence_offsets, places, "right") - 1]

    total, is_one = a_length + b_length, label == 1
    return [
        len(a_start),
        a_length.mean(),
        b_length.mean(),
        a_length.std(),
        b_length.std(),
        np.minimum(a_length, b_length).mean(),
        is_one.mean(),
        b_length[~is_one].mean(),
        b_length[is_one].mean(),
        a_length[is_one].mean(),
        (total == MAX_TOKENS).mean(),
        (total < MAX_TOKENS / 2).mean(),
        (b_start < a_start).mean(),
        from_sentence_start(a_start).mean(),
        from_sentence_start(b_start[is_one]).mean(),
        (from_sentence_start(b_start[~is_one]) > 0).mean(),
    ]


@pytest.mark.parametrize(
    ("kind", "cls", "dupe_factor"),
    [("next", SentencePairs, 0), ("next", SentencePairs, 1), ("order", SentenceOrder, 0)],
)
def test_the_distribution_is_that_of_the_original_loops(kind, cls, dupe_factor):
    split = random_split()
    rng = random.Random(1)
    ours, theirs = [], []
    for seed in range(PASSES):
        plan = bound(cls(SHORT, dupe_factor), split, seed)
        ours.append(_statistics(made(plan), split.sentence_offsets))
        theirs.append(_statistics(reference(split, rng, kind), split.sentence_offsets))
    ours, theirs = np.array(ours), np.array(theirs)
    error = np.sqrt((ours.var(0) + theirs.var(0)) / PASSES)
    z = (ours.mean(0) - theirs.mean(0)) / error
    assert np.abs(z).max() < 3.5, z
    spread = ours.std(0) / theirs.std(0)  # a draw that is shared or missing would show here
    assert spread.min() > 0.75 and spread.max() < 1.33, spread


def documents_of(split, starts):
    return np.searchsorted(split.sentence_offsets[split.document_offsets], starts, "right")


def test_real_next_follows_and_random_next_is_from_elsewhere():
    split = random_split(documents=300)
    columns = made(bound(SentencePairs(SHORT), split))
    a, a_length, b, b_length, label = columns.values()
    is_random = label == 1
    document_a, document_b = documents_of(split, a), documents_of(split, b)
    assert np.array_equal(document_a[~is_random], document_b[~is_random])
    assert (document_a != document_b)[is_random].all()
    gap = b - (a + a_length)
    uncut = ~is_random & (a_length + b_length < MAX_TOKENS)
    assert uncut.any()
    assert (gap[uncut] == 0).all()
    assert (gap[~is_random] >= 0).all()
    assert (a_length >= 1).all() and (b_length >= 1).all()
    assert (a_length + b_length <= MAX_TOKENS).all()


def even_split():
    """Sentences of 4 tokens, 50 to a document: targets of 32 take 8 of them."""
    return split_of([[4] * 50] * 200)


def alone(split, starts):
    """Whether A begins with its document's last sentence, and so is a chunk of one."""
    last = split.document_offsets[1:] - 1
    return np.isin(np.searchsorted(split.sentence_offsets, starts, "right") - 1, last)


@pytest.mark.parametrize("cls", [SentencePairs, SentenceOrder])
def test_half_of_the_chunks_with_two_sentences_have_label_one(cls):
    split = even_split()
    columns = made(bound(cls(0.0), split))
    label = columns["label"]
    if cls is SentencePairs:  # sentence order has no chunk of one here
        label = label[~alone(split, columns["a_start"])]
    assert abs(label.mean() - 0.5) < 3 * np.sqrt(0.25 / len(label))


def test_random_others_differ_between_epochs_that_share_a_cut():
    split = even_split()
    plan = bound(SentencePairs(0.0), split)
    first, again = made(plan, 0), made(plan, plan._cuts)
    is_random = first["label"] == 1
    assert np.array_equal(first["label"], again["label"])
    assert np.array_equal(first["b_start"][~is_random], again["b_start"][~is_random])
    assert (first["b_start"] != again["b_start"])[is_random].mean() > 0.99


def test_dupe_factor_repeats_the_same_examples_in_another_order():
    split = random_split()
    plan = bound(SentencePairs(SHORT, dupe_factor=3), split)
    size = plan.epoch_size(0)
    assert abs(size - 3 * bound(SentencePairs(SHORT), split).epoch_size(0)) < 0.2 * size
    first, second = (rows_of(plan.examples(np.arange(size) + e * size)) for e in range(2))
    assert first != second
    assert sorted(first) == sorted(second)
    assert len({row[3:] for row in first}) > 0.5 * size  # the passes cut and pair differently


def test_swapped_segments_follow_each_other_backwards():
    split = random_split(documents=300)
    a, a_length, b, b_length, label = made(bound(SentenceOrder(0.0), split)).values()
    uncut = a_length + b_length < MAX_TOKENS
    same = documents_of(split, a) == documents_of(split, b)
    assert same[label == 0].all()
    assert (a + a_length == b)[uncut & (label == 0)].all()
    swapped = uncut & (label == 1) & same
    assert swapped.any()
    assert (b + b_length == a)[swapped].all()
    elsewhere = np.flatnonzero(~same)
    assert len(elsewhere)  # chunks of a single sentence
    sentence = np.searchsorted(split.sentence_offsets, a[elsewhere], "right")
    until = np.searchsorted(split.sentence_offsets, (a + a_length)[elsewhere] - 1, "right")
    assert np.array_equal(sentence, until)


def test_three_distances_are_equally_likely_and_what_they_say():
    split = even_split()
    a, a_length, b, b_length, label = made(bound(SentenceDistance(0.0), split)).values()
    normal = ~alone(split, a)
    counts = np.bincount(label[normal], minlength=3)
    error = np.sqrt(2 / 9 * normal.sum())
    assert np.abs(counts - normal.sum() / 3).max() < 3 * error
    same = documents_of(split, a) == documents_of(split, b)
    assert same[label < 2].all() and not same[label == 2].any()
    assert (a + a_length == b)[label == 0].all()
    elsewhere = label == 1
    gap = np.where(b > a, b - (a + a_length), a - (b + b_length))[elsewhere]
    assert (gap >= 4).all()  # a sentence at least
    assert (b > a)[elsewhere].any() and (b < a)[elsewhere].any()
    assert (gap[(b > a)[elsewhere]] == 4).any() and (gap[(b < a)[elsewhere]] == 4).any()


def test_distance_in_documents_without_an_elsewhere():
    split = split_of([[4, 4]] * 50 + [[4]] * 50)
    a, _, b, _, label = made(bound(SentenceDistance(0.0), split)).values()
    assert set(label.tolist()) == {0, 2}
    assert (documents_of(split, a) == documents_of(split, b)).tolist() == (label == 0).tolist()


def test_single_segments_are_cut_where_a_sentence_fills_them():
    split = random_split(longest=8)
    plan = bound(SentencePairs(0.0, next_sentence=False), split, seq_len=66)
    pieces = pieces_of(plan._made(0, np.arange(plan.epoch_size(0))))
    assert all(len(example) == 1 for example in pieces)
    starts, lengths = (np.array([example[0][n] for example in pieces]) for n in range(2))
    uncut = lengths < 64
    ends = starts + lengths
    assert (ends[:-1] <= starts[1:]).all()
    assert np.isin(ends[uncut], split.sentence_offsets).all()
    assert lengths.sum() > 0.9 * split.tokens


def test_long_sentences_lose_tokens_evenly_from_both_ends():
    split = split_of([[301] * 4] * 100)
    columns = [made(bound(SentencePairs(SHORT), split, seed)) for seed in range(30)]
    front = np.concatenate([c["a_start"] % 301 for c in columns])
    cut = np.concatenate([301 - c["a_length"] for c in columns])
    whole = cut < 301  # A of a single sentence
    z = (front[whole] - cut[whole] / 2) / np.sqrt(cut[whole] / 4)
    assert abs(z.mean()) < 3 / np.sqrt(len(z))
    assert abs(z.var() - 1) < 3 * np.sqrt(2 / len(z))


@pytest.mark.parametrize("few", [0, 3, 1000])
@pytest.mark.parametrize("at_once", [1, 7, 1 << 18])
def test_chunks_are_the_same_however_they_are_found(monkeypatch, few, at_once):
    split = random_split(documents=50, most_sentences=400)
    expected = bound(SentencePairs(SHORT), split)._table(0)[0]
    for name, value in {
        "_FEW_DOCUMENTS": few,
        "_DOCUMENTS_AT_ONCE": at_once,
        "_SENTENCES_AT_ONCE": at_once,
    }.items():
        monkeypatch.setattr(f"plmjax.data.plans.chunks.{name}", value)
    assert np.array_equal(bound(SentencePairs(SHORT), split)._table(0)[0], expected)


def test_one_endless_document_is_cut_too():
    starts = chunk_starts(np.array([0, 100_000]), lambda first, document: first + 3)
    assert np.array_equal(starts, np.arange(0, 100_000, 3))
