"""ELECTRA's segments against the loop of its ExampleBuilder, written out from its description."""

import numpy as np
import pytest

from plmjax.data.plans import ElectraSegments
from tests.data.splits import FakeTokenizer, pieces_of, random_split, split_of

L = 40


def bound(settings, split, seed=0, seq_len=L):
    return settings.bind(split, settings.layout("bert", FakeTokenizer(), seq_len), seed)


def segments_of(pieces):
    found = [[], []]
    for start, length, segment, _ in pieces:
        found[segment] += range(start, start + length)
    return tuple(map(tuple, found))


def reference_segments(sentences, target, single, joins):
    wanted = 100000 if single else (target - 3) // 2
    first, second = [], []
    for sentence in sentences:
        if (
            not first
            or len(first) + len(sentence) < wanted
            or (not second and len(first) < wanted and joins)
        ):
            first += sentence
        else:
            second += sentence
    first = first[: L - 2]
    return tuple(first), tuple(second[: max(0, L - len(first) - 3)])


def chunks_of(split, target=L):
    """Sentences of each chunk, when every one has the same target."""
    chunks = []
    for d in range(split.documents):
        chunk, length = [], 0
        for s in range(split.document_offsets[d], split.document_offsets[d + 1]):
            sentence = list(range(split.sentence_offsets[s], split.sentence_offsets[s + 1]))
            chunk.append(sentence)
            length += len(sentence)
            if length >= target:
                chunks.append(chunk)
                chunk, length = [], 0
        if chunk:
            chunks.append(chunk)
    return chunks


@pytest.mark.parametrize("single_prob", [0.0, 1.0])
def test_each_chunk_is_split_as_the_original_does_for_one_side_of_the_coin(single_prob):
    split = random_split(documents=200, longest=25)
    plan = bound(ElectraSegments(single_prob, 0.0), split)
    ours = [segments_of(p) for p in pieces_of(plan._made(0, np.arange(plan.epoch_size(0))))]
    chunks = chunks_of(split)
    assert len(ours) == len(chunks)
    heads = []
    for segments, chunk in zip(ours, chunks, strict=True):
        options = [reference_segments(chunk, L, single_prob == 1, joins) for joins in (1, 0)]
        assert segments in options
        if options[0] != options[1]:
            heads.append(segments == options[0])
    if single_prob:
        assert not any(second for _, second in ours)
        assert not heads
    else:
        assert any(
            len(first) > 1 and first != tuple(range(first[0], first[-1] + 1)) for first, _ in ours
        )
        assert abs(np.mean(heads) - 0.5) < 3 * np.sqrt(0.25 / len(heads))


def test_a_tenth_has_one_segment():
    split = split_of([[4] * 40] * 400)
    plan = bound(ElectraSegments(0.1, 0.0), split)
    examples = plan._made(0, np.arange(plan.epoch_size(0)))
    single = np.bincount(examples.rows, examples.segments) == 0
    assert abs(single.mean() - 0.1) < 3 * np.sqrt(0.09 / len(single))


def test_a_twentieth_of_the_targets_is_short_and_uniform():
    split = split_of([[1] * 4000] * 60)  # a chunk has as many tokens as its target
    plan = bound(ElectraSegments(0.1, 0.05), split)
    firsts = plan._table(0)[0].astype(np.int64)
    targets = np.diff(firsts)[np.diff(firsts // 4000) == 0]
    short = targets[targets < L]
    rate = 0.05 * (1 - 1 / (L - 4))
    assert abs(len(short) / len(targets) - rate) < 3 * np.sqrt(rate / len(targets))
    assert short.min() == 5
    assert abs(short.mean() - (5 + L - 1) / 2) < 3 * (L - 5) / np.sqrt(12 * len(short))


def test_dynamic_epochs_split_and_cut_anew_and_short_targets_take_turns():
    plan = bound(ElectraSegments(), random_split())
    assert plan._cuts == 16
    assert bound(ElectraSegments(short_prob=0.0), random_split())._cuts == 1
    size = plan.epoch_size(0)
    first, again = (
        [segments_of(p) for p in pieces_of(plan._made(e, np.arange(size)))] for e in (0, 16)
    )
    assert first != again
