"""MacBERT's loss and gradients against transformers' BERT, on a batch of its own masking."""

import dataclasses

import jax
import numpy as np
import pytest

from plmjax.data.counter_random import fold, key_of
from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.maskings import MaskingVocabulary, SimilarWordMasking
from plmjax.data.maskings.similar_words import nearest_words
from plmjax.models.bert import PRESETS, Bert
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.types import OVERFLOW
from tests.compare import deviation, gradient_deviations
from tests.data.maskings.helpers import run, selected
from tests.parity import huggingface_bert as oracle

torch = oracle.torch

CONFIG = dataclasses.replace(
    PRESETS["base"],
    **{"vocab_size": 90, "max_positions": 40, "num_layers": 2, "hidden_size": 24},
    **{"num_heads": 3, "mlp_size": 48, "hidden_dropout": 0.0, "attention_dropout": 0.0},
)
TOLERANCE = 1e-4
MASK, SIZE, LENGTH = 3, 8, 36


def rows(folder: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Pairs of up to 36 tokens, and what the masking makes of them; a table of similar words."""
    rng, place = np.random.default_rng(0), np.arange(LENGTH)
    ends_B1 = np.array([36, 36, 35, 30, 28, 25, 20, 12])[:, None]
    shape = SIZE, LENGTH
    tokens, flags = rng.integers(4, CONFIG.vocab_size, shape), np.zeros(shape, np.uint8)
    flags[rng.random(shape) < 0.7] = WORD
    types = (place > ends_B1 // 2) & (place < ends_B1)
    for is_one, token in (
        (np.broadcast_to(place == 0, shape), 1),
        ((place == ends_B1 // 2) | (place == ends_B1 - 1), 2),
    ):
        tokens[is_one], flags[is_one] = token, SPECIAL
    tokens[place >= ends_B1], flags[place >= ends_B1] = 0, 0
    features = {"tokens": tokens.astype(np.int32), "flags": flags}
    features["attention_mask"] = (place < ends_B1).astype(np.int32)
    features["seeds"] = fold(key_of(7, "rows"), np.arange(SIZE, dtype=np.uint64))
    words = [np.array([token], np.int32) for token in range(4, CONFIG.vocab_size)]
    words += [row for row in rng.integers(4, CONFIG.vocab_size, (60, 2)).astype(np.int32)]
    table = nearest_words(words, rng.normal(size=(len(words), 6)), CONFIG.vocab_size, "here", -1.0)
    table.save(f"{folder}/table.npz")
    vocabulary = MaskingVocabulary(CONFIG.vocab_size, special_ids=(0, 1, 2, 3), mask_id=MASK)
    masking = SimilarWordMasking(f"{folder}/table.npz", mask_rate=0.5)
    batch = run(masking.bind(vocabulary, LENGTH), features)
    del batch[OVERFLOW]
    pairs = {"label": np.arange(SIZE) % 2, "label_weights": np.ones(SIZE, np.float32)}
    known = {"attention_mask": features["attention_mask"], "token_types": types.astype(np.int32)}
    return features, batch | known | pairs


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Loss and gradients of theirs and of ours."""
    features, batch = rows(str(tmp_path_factory.mktemp("table")))
    chosen_BL = selected(batch)
    kept_BL = chosen_BL & (batch["tokens"] == features["tokens"])
    assert chosen_BL.sum() > 60 and 5 < kept_BL.sum() < chosen_BL.sum() / 2
    assert not (batch["tokens"] == MASK).any()
    model = oracle.build(CONFIG, seed=0)
    oracle.randomize(model, seed=1)
    params = jax.tree.map(np.copy, oracle.weights(model, CONFIG))
    given = {
        "input_ids": batch["tokens"],
        "token_type_ids": batch["token_types"],
        "attention_mask": batch["attention_mask"],
        # The true tokens of every word that is picked, also where it is shown as it is.
        "labels": np.where(chosen_BL, features["tokens"], -100),
        "next_sentence_label": batch["label"],
    }
    given = {key: torch.from_numpy(np.asarray(x, np.int64)) for key, x in given.items()}
    expected = model(**given).loss
    expected.backward()
    objective = BertPretraining(Bert(CONFIG), labels=2, task="sop")

    def total(params):
        loss = objective.apply({"params": params}, batch, train=False)
        assert set(loss.terms) == {"mlm", "sop"}
        return loss.total()

    found, grads = jax.device_get(jax.jit(jax.value_and_grad(total))(params))
    return (expected.item(), oracle.gradients(model, CONFIG)), (found, grads)


def test_the_loss_of_correction_and_order_equals_transformers(both):
    theirs, ours = both
    found = deviation(ours[0], theirs[0])
    print(found)
    assert found <= TOLERANCE


def test_every_gradient_equals_transformers(both):
    theirs, ours = both
    found = gradient_deviations(ours[1], theirs[1])
    worst = max(found, key=found.get)
    print(worst, found[worst])
    assert found[worst] <= TOLERANCE, worst
