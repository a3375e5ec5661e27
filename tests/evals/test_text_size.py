"""Bits per byte and perplexity per word against their formulas, on text that is known."""

import math

import numpy as np
import pytest

from plmjax.data.tokenizers import train_tokenizer
from plmjax.evals.held_out import evaluate
from plmjax.evals.text_size import TextSize, joined_rows, text_size, words
from plmjax.objectives.causal_lm import CausalLM
from plmjax.types import Loss, Mean

DOCUMENTS = ["A cat sat, and sat.\nThe dog — 狗 — ran away.", "我们在这里。", "One more thing"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("gpt2", lambda: iter(DOCUMENTS * 3), 270)


def rows_of(tokenizer, length):
    """Causal batches of one row that begin with the last token of the one before, and the text."""
    ids = [*(np.append(ids, tokenizer.eod_id) for ids in tokenizer.encode_batch(DOCUMENTS))]
    stream = np.concatenate(ids)
    batches = []
    for start in range(0, len(stream) - 1, length - 1):
        piece = stream[start : start + length]
        tokens = np.zeros((1, length), int)
        tokens[0, : len(piece)] = piece
        mask = (np.arange(length) < len(piece))[None]
        weights = (np.arange(length) < len(piece) - 1)[None].astype(np.float32)
        targets = np.roll(tokens, -1, 1)
        batch = {"tokens": tokens, "attention_mask": mask, "targets": targets, "weights": weights}
        batches.append(batch)
    return batches, stream


@pytest.mark.parametrize("length", [7, 16, 500])
def test_measures_are_those_of_the_text_and_of_each_tokens_loss(tokenizer, length):
    batches, stream = rows_of(tokenizer, length)
    nats_T = np.random.default_rng(length).uniform(0.5, 6, len(stream))
    nats_T[0] = 0  # nothing is to its left
    place = iter(range(1, len(stream)))

    def step(params, batch):
        losses = np.zeros(batch["weights"].shape)
        for index in np.argwhere(batch["weights"] > 0):
            losses[tuple(index)] = nats_T[next(place)]
        return Loss({"lm": Mean.of(losses, batch["weights"])}, {})

    scores = evaluate(step, None, batches, lambda batch: batch)
    tokens, _, predicted = joined_rows(batches, CausalLM.histories)
    size = text_size(tokens, predicted, tokenizer.decode, tokenizer.special_ids)
    # All text but the first token, which is the letter A; the rest of its word is none.
    text = [DOCUMENTS[0][1:], *DOCUMENTS[1:]]
    assert size.tokens == len(stream) - 1
    assert size.bytes == sum(len(piece.encode()) for piece in text)
    assert size.words == 4 + 7 + 6 + 3
    found = size.measures(scores, "lm")
    assert found["lm_bits_per_byte"] == pytest.approx(nats_T.sum() / math.log(2) / size.bytes)
    assert found["lm_word_perplexity"] == pytest.approx(np.exp(nats_T.sum() / size.words))
    # Megatron-LM's adjusted perplexity.
    loss = nats_T.sum() / (len(stream) - 1)
    adjusted = math.exp(loss * (len(stream) - 1) / size.words)
    assert found["lm_word_perplexity"] == pytest.approx(adjusted)


def test_words_stand_between_white_space_and_chinese_characters_alone():
    assert words("  It's 2 o'clock,\nnow. ") == ["It's", "2", "o'clock,", "now."]
    assert words("我有 iPhone手机，好。") == [*"我有", "iPhone", *"手机", "，", "好", "。"]


def test_without_text_there_is_nothing_to_measure():
    assert TextSize(5, 0, 0).measures({"lm_loss": 2.0}, "lm") == {}
    assert TextSize(5, 9, 2).measures({"mlm_loss": 2.0}, "lm") == {}


def test_a_perplexity_without_bound_is_a_number_still():
    assert math.isfinite(
        TextSize(9000, 9, 2).measures({"lm_loss": 7.0}, "lm")["lm_word_perplexity"]
    )
