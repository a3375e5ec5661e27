import math

import numpy as np
import pytest
import scipy.stats

from plmjax.data.maskings import SpanMasking
from tests.data.maskings.helpers import (
    assert_share,
    is_text,
    run,
    selected,
    shown_at_targets,
    step_bits,
    used,
    words_of,
)

L = 128
WEIGHTS = np.array([0.2 * 0.8 ** (n - 1) for n in range(1, 11)])


def reference(features, row, rate):
    """facebookresearch/SpanBERT, `PairWithSpanMaskingScheme.mask`, with the masking's draws.

    Returns:
      What is masked, and the lengths of the spans in words as they were drawn.
    """
    words, text = words_of(features, row), is_text(features)[row]
    word_of = {place: index for index, word in enumerate(words) for place in word}
    bound = max(word_of, default=-1) + 1
    ends = np.rint(np.cumsum(WEIGHTS) / WEIGHTS.sum() * 2**32)
    budget, masked, lengths, step = math.ceil(rate * len(word_of)), set(), [], 0
    while len(masked) < budget:
        upper, lower = step_bits(features["seeds"][row], "masked spans", step)
        step += 1
        anchor, length = upper * bound >> 32, 1 + int((lower >= ends[:-1]).sum())
        if anchor not in word_of or anchor in masked:
            continue
        lengths.append(length)
        first = word_of[anchor]
        for word in words[first : first + length]:
            if not text[anchor : word[0] + 1].all():
                break  # the text is interrupted before this word
            for place in word:
                if len(masked) < budget:
                    masked.add(place)
    return sorted(masked), lengths


def runs_of(places):
    """Runs of neighbouring places."""
    cuts = np.flatnonzero(np.diff(places) > 1) + 1
    return [run.tolist() for run in np.split(np.array(places), cuts)]


@pytest.fixture(scope="module")
def mixed(english, lengths):
    return english.features(300, L, lengths[:300])


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_it_is_spanberts_program(english, mixed, rate):
    result = run(SpanMasking(mask_rate=rate).bind(english.vocabulary, L), mixed)
    for row in range(300):
        positions = result["masked_positions"][row][used(result)[row]].tolist()
        assert positions == reference(mixed, row, rate)[0]


def test_boundaries_are_outside_of_the_span(english, mixed):
    alone = SpanMasking(max_span_targets=0).bind(english.vocabulary, L)
    assert not [key for key in alone.spec if key.startswith("sbo")]
    bound = SpanMasking(max_span_targets=4).bind(english.vocabulary, L)
    result = run(bound, mixed)
    text, without = is_text(mixed), 0
    for row in range(300):
        expected = []
        for span in runs_of(result["masked_positions"][row][used(result)[row]].tolist()):
            left, right = span[0] - 1, span[-1] + 1
            is_inner = left >= 0 and right < L and text[row, left] and text[row, right]
            without += not is_inner
            for index in range(len(span)):
                is_target = is_inner and index < 4
                expected.append((left, right, index, 1) if is_target else (0, 0, 0, 0))
        expected += [(0, 0, 0, 0)] * (len(used(result)[row]) - len(expected))
        keys = ("sbo_left", "sbo_right", "sbo_index", "sbo_weights")
        assert list(zip(*(result[key][row].tolist() for key in keys), strict=True)) == expected
    assert without > 10  # spans at an edge came up


def test_lengths_are_geometric_and_renormalised(english):
    """Of the spans of real rows; `reference` is the masking's program to the token."""
    shares = WEIGHTS / WEIGHTS.sum()
    assert np.allclose(SpanMasking().weights / np.sum(SpanMasking().weights), shares)
    features = english.features(1500, L)
    lengths = np.concatenate([reference(features, row, 0.5)[1] for row in range(1500)])
    for n, share in enumerate(shares, 1):
        assert_share((lengths == n).sum(), len(lengths), share, least=2 * 10**4)
    mean = (shares * np.arange(1, 11)).sum()
    assert abs(mean - 3.8) < 0.05
    assert abs(lengths.mean() - mean) < 3 * lengths.std() / np.sqrt(len(lengths))


def test_spans_are_shown_alike_and_random_tokens_follow_the_corpus(english):
    vocabulary = english.vocabulary
    features = english.features(9000, L)
    result = run(SpanMasking().bind(vocabulary, L), features)
    assert (selected(result).sum(1) == math.ceil(0.15 * is_text(features)[0].sum())).all()
    counts = {"mask": 0, "keep": 0, "random": 0}
    positions, tokens = result["masked_positions"], result["tokens"]
    shown, target = shown_at_targets(result)
    assert len(shown) > 10**5
    single = spans = 0
    for row in range(9000):
        for span in runs_of(positions[row][used(result)[row]]):
            is_mask = tokens[row, span] == vocabulary.mask_id
            assert is_mask.all() or not is_mask.any()
            is_same = (tokens[row, span] == features["tokens"][row, span]).all()
            counts["mask" if is_mask.all() else "keep" if is_same else "random"] += 1
            spans, single = spans + 1, single + (len(span) == 1)
    probabilities = vocabulary.token_counts / vocabulary.token_counts.sum()
    # A random span equals its own text only if all of its tokens happen to.
    same = single / spans * (probabilities**2).sum() * 0.1
    assert_share(counts["mask"], spans, 0.8, least=3 * 10**4)
    error = 3 * np.sqrt(0.09 / spans)
    assert -error < counts["keep"] / spans - 0.1 < error + 2 * same
    changed = shown[(shown != vocabulary.mask_id) & (shown != target)]
    assert not np.isin(changed, vocabulary.special_ids).any()
    frequent = np.flatnonzero(probabilities > 2e-3)
    observed = np.array([(changed == token).sum() for token in frequent])
    # A random token that is the target itself does not show: expect each one's share without.
    targets = np.bincount(target, minlength=len(probabilities)) / len(target)
    visible = probabilities * (1 - targets)
    expected = (visible / visible.sum())[frequent] * len(changed)
    rest = len(changed) - observed.sum()
    observed, expected = [*observed, rest], [*expected, len(changed) - expected.sum()]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3
