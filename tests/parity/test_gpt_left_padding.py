"""GPT-1 and GPT-2 against transformers where padding stands in front, as in generation."""

import functools

import jax
import numpy as np
import pytest

from plmjax.huggingface import gpt as keys
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.gpt import Gpt
from tests.parity.test_gpt import (
    CASES,
    check_gradients,
    check_values,
    make_batch,
    positions,
    theirs,
)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_values_equal_transformers(family, name):
    check_values(family, name, in_front=True)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_gradients_equal_transformers(family, name):
    check_gradients(family, name, in_front=True)


@pytest.mark.parametrize("family", ["gpt1", "gpt2"])
def test_the_same_text_with_its_padding_behind_or_in_front_gives_the_same(family):
    config = CASES[family, "tiny"]
    params = to_ours(theirs(family, "tiny")[0], keys.table(config), shape_of(config))
    lengths = make_batch(config)["attention_mask"].sum(1)
    text = np.random.default_rng(0).integers(1, config.vocab_size, lengths.sum())
    run = jax.jit(functools.partial(Gpt(config).apply, train=False))
    found = []
    for in_front in (False, True):
        mask = make_batch(config, in_front)["attention_mask"]
        tokens = np.zeros_like(mask)
        tokens[mask == 1] = text
        output = run({"params": params}, tokens, mask, positions_BL=positions(mask))
        found.append(np.asarray(output.hidden_BLD)[mask == 1])
    np.testing.assert_allclose(*found, atol=2e-5)
