import itertools

import numpy as np
import pytest
import scipy.stats

from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import SpanCorruption
from plmjax.data.maskings.span_corruption import segment_ends
from tests.data.maskings.helpers import assert_share, order_of, run


def segmentation(seed, purpose, items, segments):
    """`_random_segmentation`: which of the gaps between items begin a new segment."""
    if segments == 0:
        return []
    cuts = sorted(order_of(seed, f"segments of {purpose}", items - 1)[: segments - 1])
    return np.diff([0, *[cut + 1 for cut in cuts], items]).tolist()


def reference(tokens, seed, vocabulary, density, mean):
    """text-to-text-transfer-transformer: the noise mask, then its spans become sentinels."""
    n = len(tokens)
    noise = min(max(round(n * density), 1), n - 1) if n > 1 else 0
    spans = max(round(noise / mean), 1) if noise else 0
    text_lengths = segmentation(seed, "text", n - noise, spans)
    noise_lengths = segmentation(seed, "noise", noise, spans)
    is_noise = []
    for text, noisy in zip(text_lengths, noise_lengths, strict=True):
        is_noise += [False] * text + [True] * noisy
    is_noise = np.array(is_noise or [False] * n, bool)
    assert len(is_noise) == n and not is_noise[:1].any() and (n < 2 or is_noise[-1])

    def with_sentinels(mask):
        previous = np.concatenate([[False], mask[:-1]])
        sentinels = iter(vocabulary.sentinel_ids)
        out = []
        for token, inside, was in zip(tokens, mask, previous, strict=True):
            if not inside:
                out.append(int(token))
            elif not was:
                out.append(next(sentinels))
        return [*out, vocabulary.eos_id]

    return with_sentinels(is_noise), with_sentinels(~is_noise) if n > 1 else None


@pytest.mark.parametrize(("density", "mean"), [(0.15, 3.0), (0.5, 3.0), (0.3, 8.0), (0.15, 1.0)])
def test_it_is_t5s_program(english, density, mean):
    masking = SpanCorruption(density, mean)
    bound = masking.bind(english.vocabulary, 64)
    raw, vocabulary = bound.input_length, english.vocabulary
    lengths = np.concatenate([np.full(40, raw), np.arange(2, raw + 1)])
    features = english.features(len(lengths), raw, lengths, layout="bare")
    result = run(bound, features)
    for row, n in enumerate(lengths.tolist()):
        tokens, seed = features["tokens"][row, :n], features["seeds"][row]
        if masking.counts(n)[1] > n - masking.counts(n)[0]:
            continue
        inputs, targets = reference(tokens, seed, vocabulary, density, mean)
        assert (len(inputs), len(targets)) == masking.lengths(n)
        assert result["tokens"][row, : len(inputs)].tolist() == inputs
        assert (result["tokens"][row, len(inputs) :] == vocabulary.pad_id).all()
        assert result["attention_mask"][row].tolist() == [1] * len(inputs) + [0] * (
            64 - len(inputs)
        )
        assert result["decoder_targets"][row, : len(targets)].tolist() == targets
        assert (result["decoder_targets"][row, len(targets) :] == vocabulary.pad_id).all()
        assert result["decoder_weights"][row].sum() == len(targets)
        assert result["decoder_weights"][row, : len(targets)].all()
        shifted = [vocabulary.pad_id, *result["decoder_targets"][row, :-1].tolist()]
        assert result["decoder_tokens"][row].tolist() == shifted
    assert not result["overflow"].any()


def test_published_lengths(english):
    """512 tokens for the encoder are made of 568, and 114 are predicted."""
    bound = SpanCorruption().bind(english.vocabulary, 512)
    assert bound.input_length == 568
    assert bound.spec["tokens"] == ((512,), np.dtype(np.int32))
    assert bound.spec["decoder_targets"] == ((114,), np.dtype(np.int32))
    assert SpanCorruption().lengths(568) == (512, 114)
    assert SpanCorruption().counts(568) == (85, 28)


def test_shares_of_noise(english):
    """Noise tokens and spans of 10**6 raw tokens; sentinels descend from the first one."""
    vocabulary = english.vocabulary
    bound = SpanCorruption().bind(vocabulary, 128)
    features = english.features(8000, bound.input_length, layout="bare")
    result = run(bound, features)
    noise, spans = SpanCorruption().counts(bound.input_length)
    is_sentinel = np.isin(result["tokens"], vocabulary.sentinel_ids)
    assert (is_sentinel.sum(1) == spans).all()
    assert result["attention_mask"].all()
    first = np.sort(vocabulary.sentinel_ids)[::-1][:spans]
    for key in ("tokens", "decoder_targets"):
        rows = result[key][np.isin(result[key], vocabulary.sentinel_ids)].reshape(-1, spans)
        assert (rows == first).all()
    # Every gap of the text is a cut with the same chance, and so of the noise.
    for key, items in (("tokens", bound.input_length - noise), ("decoder_targets", noise)):
        places = np.nonzero(np.isin(result[key], vocabulary.sentinel_ids))[1].reshape(-1, spans)
        ends = places - np.arange(spans)  # tokens before each sentinel
        cuts = ends[:, :-1] if key == "tokens" else ends[:, 1:]
        lengths = np.diff(np.concatenate([np.zeros((8000, 1), int), cuts], axis=1), axis=1)
        assert lengths.min() >= 1 and lengths.max() < items
        counts = np.bincount(cuts.reshape(-1), minlength=items)
        assert not counts[0] and scipy.stats.chisquare(counts[1:items]).pvalue > 1e-3
        assert_share((lengths == 1).sum(), lengths.size, (spans - 1) / (items - 1), 3 * 10**4)
        mean = lengths[:, 0].mean()
        assert abs(mean - items / spans) < 3 * lengths[:, 0].std() / np.sqrt(8000)


def test_all_ways_to_split_are_as_likely():
    tf = tensorflow()
    seeds = tf.constant(np.random.default_rng(0).integers(0, 2**63, 30000).astype(np.uint64))
    items, segments = tf.fill([30000], 7), tf.fill([30000], 3)
    ends = segment_ends(seeds, "test", items, segments, 5, 9).numpy()
    assert (ends[:, 2:] == 7).all()
    ways = list(itertools.combinations(range(1, 7), 2))
    counts = [((ends[:, 0] == a) & (ends[:, 1] == b)).sum() for a, b in ways]
    assert sum(counts) == 30000 and scipy.stats.chisquare(counts).pvalue > 1e-3
