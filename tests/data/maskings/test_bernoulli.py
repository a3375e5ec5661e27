import dataclasses
import math

import numpy as np
import scipy.stats

from plmjax.data.flags import SPECIAL
from plmjax.data.maskings import XlmMasking
from plmjax.data.plans import Translation
from tests.data.maskings.conftest import Text
from tests.data.maskings.helpers import (
    assert_eighty_ten_ten,
    assert_share,
    is_text,
    run,
    selected,
    used,
)
from tests.data.splits import FakeSplit, FakeTokenizer

L = 128


def test_every_token_but_the_first_is_a_target_with_the_rate(english, lengths):
    features = english.features(len(lengths), L, lengths)
    result = run(XlmMasking().bind(english.vocabulary, L), features)
    chosen = selected(result)
    assert not chosen[:, 0].any() and not result["overflow"].any()
    assert_share(chosen.sum(), (lengths - 1).sum(), 0.15)
    # The number of targets of a row is binomial, not fixed.
    n = lengths - 1
    spread = (chosen.sum(1) - 0.15 * n) ** 2 / (n * 0.15 * 0.85)
    assert abs(spread.mean() - 1) < 3 * np.sqrt(2.2 / len(n))
    seps = (features["flags"] == SPECIAL) & (np.arange(L) > 0)
    assert_share(chosen[seps].sum(), seps.sum(), 0.15, least=2500)


@dataclasses.dataclass
class Pairs(FakeSplit):
    """Documents of two sentences of a text."""

    text: Text | None = None

    def read(self, starts, lengths):
        return np.concatenate(
            [self.text.ids[s : s + n] for s, n in zip(starts, lengths, strict=True)]
        )

    def read_flags(self, starts, lengths):
        return np.concatenate(
            [self.text.flags[s : s + n] for s, n in zip(starts, lengths, strict=True)]
        )


def test_both_sides_of_a_translation_pair_are_masked_alike(english):
    """TLM, on rows as `plans.Translation` makes them: </s> source </s> </s> target </s>."""
    vocabulary = english.vocabulary
    sentences = np.resize(np.random.default_rng(0).integers(20, 61, 1999), 2000)
    sentence_offsets = np.append(0, sentences.cumsum())
    split = Pairs(sentence_offsets, np.arange(0, 2001, 2), text=english)
    ids = FakeTokenizer(pad_id=vocabulary.pad_id, eos_id=vocabulary.eos_id)
    layout = Translation().layout("xlm", ids, L)
    plan = Translation().bind(split, layout, 0)
    sides = np.zeros((2, 2))
    separators = np.zeros(2)
    for first in range(0, 4000, 1000):  # each pair with four seeds
        features = layout.assemble(plan.examples(np.arange(first, first + 1000)), [split])
        bound = XlmMasking().bind(vocabulary, L)
        result = run(bound, features)
        assert not {"positions", "token_types"} & result.keys()
        chosen = selected(result)
        assert not chosen[:, 0].any() and not chosen[features["attention_mask"] == 0].any()
        assert not result["overflow"].any()
        text = is_text(features)
        for side in (0, 1):
            where = text & (features["token_types"] == side)
            sides[side] += chosen[where].sum(), where.sum()
        where = (features["flags"] == SPECIAL) & (np.arange(L) > 0)
        separators += chosen[where].sum(), where.sum()
    for hits, trials in sides:
        assert_share(hits, trials, 0.15)
    assert_share(*separators, 0.15, least=10**4)


def test_eighty_ten_ten(english):
    features = english.features(7000, L)
    result = run(XlmMasking().bind(english.vocabulary, L), features)
    ids = np.arange(english.vocabulary.vocab_size)
    assert_eighty_ten_ten(result, english.vocabulary.mask_id, ids)


def test_a_rate_of_one_takes_all(english):
    features = english.features(5, L)
    result = run(XlmMasking(mask_rate=1.0).bind(english.vocabulary, L), features)
    assert (selected(result).sum(1) == L - 1).all() and not result["overflow"].any()


def test_rare_words_are_preferred_as_their_counts_say(english):
    """One draw of few: shares are those of count**-alpha; several: as drawn one by one."""
    vocabulary = english.vocabulary
    features = english.features(1, L)
    repeats = 60000
    many = {key: np.repeat(value, repeats, axis=0) for key, value in features.items()}
    many["seeds"] = english.features(repeats, L)["seeds"]
    candidates = (np.arange(L) > 0) & (features["tokens"][0] != vocabulary.sep_id)
    weights = np.maximum(vocabulary.token_counts[features["tokens"][0]], 1.0) ** -0.5
    weights = np.where(candidates, weights, 0)
    # [SEP] is not in the text that was counted: its weight is 0.
    for n in (1, 2):
        masking = XlmMasking(mask_rate=(n - 0.5) / L, sample_alpha=0.5)
        result = run(masking.bind(vocabulary, L), many)
        assert (used(result).sum(1) == math.ceil(masking.mask_rate * L)).all()
        counts = selected(result).sum(0)
        shares = weights / weights.sum()
        if n == 2:  # first this one, or another one first and then this one
            others = shares / (1 - shares)
            shares = shares * (1 + others.sum() - others)
        assert not counts[~candidates].any()
        test = scipy.stats.chisquare(counts[candidates], shares[candidates] * repeats)
        assert test.pvalue > 1e-3
