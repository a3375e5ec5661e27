"""Nothing of a target reaches the input: other targets at the same places give the same input."""

import math
from collections import Counter

import numpy as np
import pytest

from plmjax.data.maskings import Denoising, SpanCorruption
from tests.data.maskings.helpers import run, selected, words_of
from tests.data.maskings.test_common import MLM

L = 128
# Which tokens are picked, or shown, depends on what stands there, as published.
BY_TOKEN = ("xlm, rare words", "similar word")


@pytest.mark.parametrize("name", sorted(MLM.keys() - set(BY_TOKEN)))
def test_what_is_masked_does_not_show(english, name):
    vocabulary = english.vocabulary
    features = english.features(200, L)
    bound = MLM[name].bind(vocabulary, L)
    result = run(bound, features)
    hidden = selected(result) & (result["tokens"] == vocabulary.mask_id)
    hidden &= features["tokens"] != vocabulary.mask_id
    assert hidden.sum() > 100
    others = np.random.default_rng(0).choice(vocabulary.text_ids, features["tokens"].shape)
    changed = {**features, "tokens": np.where(hidden, others, features["tokens"]).astype(np.int32)}
    again = run(bound, changed)
    assert np.array_equal(again["tokens"], result["tokens"])
    assert np.array_equal(again["masked_positions"], result["masked_positions"])
    # The targets are the changed ones.
    rows = np.arange(len(hidden))[:, None]
    expected = changed["tokens"][rows, result["masked_positions"]]
    assert np.array_equal(again["masked_targets"], expected * (result["masked_weights"] > 0))


def test_a_token_is_in_t5s_input_or_among_its_targets(english, lengths):
    vocabulary = english.vocabulary
    bound = SpanCorruption().bind(vocabulary, L)
    width = bound.input_length
    features = english.features(len(lengths), width, lengths, layout="bare")
    result = run(bound, features)
    marks = {*vocabulary.sentinel_ids, vocabulary.eos_id, vocabulary.pad_id}
    for row, length in enumerate(lengths.tolist()):
        sides = result["tokens"][row], result["decoder_targets"][row]
        found = [t for side in sides for t in side.tolist() if t not in marks]
        assert Counter(found) == Counter(features["tokens"][row, :length].tolist())


def with_tokens_that_differ(english, rows):
    """Rows of real words whose ids are replaced by ids of which each stands once in a row."""
    features = english.features(rows, L, layout="single")
    fresh = np.random.default_rng(0).permuted(
        np.tile(english.vocabulary.text_ids, (rows, 1)), axis=1
    )
    features["tokens"][:, 1:-1] = fresh[:, : L - 2]
    return features, fresh[:, L - 2 :]


def test_bart_hides_whole_words_and_shows_nothing_of_them(english):
    vocabulary, rows = english.vocabulary, 300
    features, fresh = with_tokens_that_differ(english, rows)
    bound = Denoising(random_share=0.0).bind(vocabulary, L)
    tokens = run(bound, features)["tokens"]
    hidden_words = words = 0
    changed = {**features, "tokens": features["tokens"].copy()}
    for row in range(rows):
        gone = ~np.isin(features["tokens"][row], tokens[row])
        split = words_of(features, row)
        for word in split:
            assert gone[word].all() or not gone[word].any()
            hidden_words += gone[word].all()
            words += 1
        assert sum(gone[word[0]] for word in split) <= math.ceil(0.3 * len(split))
        changed["tokens"][row, gone] = fresh[row, : gone.sum()]
    # Spans that overlap or reach the end of the text hide less than 30%.
    assert 0.2 < hidden_words / words <= 0.31
    again = run(bound, changed)
    assert np.array_equal(again["tokens"], tokens)
    assert np.array_equal(again["decoder_targets"], changed["tokens"])


def test_deleted_tokens_do_not_show(english):
    features, fresh = with_tokens_that_differ(english, 300)
    masking = Denoising(mask_rate=0.0, permute_sentences=0.0, delete_rate=0.3)
    bound = masking.bind(english.vocabulary, L)
    tokens = run(bound, features)["tokens"]
    gone = np.array([~np.isin(*rows) for rows in zip(features["tokens"], tokens, strict=True)])
    assert (gone.sum(1) == math.ceil(0.3 * (L - 2))).all()
    other = np.where(gone, np.resize(fresh, gone.shape), features["tokens"]).astype(np.int32)
    assert np.array_equal(run(bound, {**features, "tokens": other})["tokens"], tokens)
