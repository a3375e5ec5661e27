"""NEZHA against what transformers 4.57.6 computed; see golden/make_nezha.py."""

import dataclasses
import functools
import math
import pathlib

import jax
import numpy as np
import pytest

from plmjax.huggingface.encoders import FAMILIES, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models import nezha
from plmjax.models.bert import Bert
from plmjax.nn.positions import functional_positions
from plmjax.objectives.bert_pretraining import BertPretraining
from tests.batches import padded_in_front
from tests.compare import deviation, deviations, gradient_deviations

FILE = pathlib.Path(__file__).parent / "golden" / "nezha.npz"
CONFIGS = {
    "short": dataclasses.replace(
        nezha.PRESETS["base-zh"],
        vocab_size=60,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        mlp_size=32,
        max_relative=4,
    ),
    "odd": dataclasses.replace(
        nezha.PRESETS["base-zh"],
        vocab_size=47,
        hidden_size=18,
        num_layers=2,
        num_heads=3,
        mlp_size=20,
        activation="gelu",
        layer_norm_epsilon=1e-6,
    ),
    "front": dataclasses.replace(
        nezha.PRESETS["base-zh"],
        vocab_size=53,
        hidden_size=20,
        num_layers=3,
        num_heads=5,
        mlp_size=24,
        max_relative=7,
        activation="relu",
        layer_norm_epsilon=1e-3,
    ),
}


def golden(case: str, part: str) -> dict[str, np.ndarray]:
    prefix = f"{case}/{part}/"
    with np.load(FILE) as arrays:
        return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}


def tree(case: str, part: str):
    config = CONFIGS[case]
    table = masked_lm_table(FAMILIES["nezha"], config, pairs=True)
    return to_ours(golden(case, part), table, shape_of(config))


def batch_of(case: str) -> dict[str, np.ndarray]:
    given = golden(case, "batch")
    labels_BL = given["labels"]
    masked = np.zeros((3, *labels_BL.shape[:1], 4), np.int32)
    for row, labels_L in enumerate(labels_BL):
        places = np.flatnonzero(labels_L >= 0)
        masked[0, row, : len(places)] = places
        masked[1, row, : len(places)] = labels_L[places]
        masked[2, row, : len(places)] = 1
    return {
        "tokens": given["input_ids"],
        "token_types": given["token_type_ids"],
        "attention_mask": given["attention_mask"],
        "masked_positions": masked[0],
        "masked_targets": masked[1],
        "masked_weights": masked[2].astype(np.float32),
        "label": np.maximum(given["next_sentence_label"], 0),
        "label_weights": (given["next_sentence_label"] >= 0).astype(np.float32),
    }


@functools.cache
def ours(case: str):
    config = dataclasses.replace(CONFIGS[case], hidden_dropout=0.0, attention_dropout=0.0)
    module, batch, params = BertPretraining(Bert(config)), batch_of(case), tree(case, "weight")

    def everything(module, batch):
        arguments = batch["tokens"], batch["token_types"], batch["attention_mask"]
        output = module.backbone(*arguments, train=False, all_hidden=True)
        hidden = {f"hidden_{i}": x for i, x in enumerate(output.all_hidden_NBLD)}
        return hidden | {"logits": module.masked_logits(batch)[..., : config.vocab_size]}

    def total(params, batch):
        loss = module.apply({"params": params}, batch, train=False)
        return sum(term.value() for term in loss.terms.values())

    loss, grads = jax.value_and_grad(total)(params, batch)
    values = module.apply({"params": params}, batch, method=everything) | {"loss": loss}
    return jax.device_get(values), jax.device_get(grads)


@pytest.mark.parametrize("case", CONFIGS)
def test_values_equal_transformers(case):
    expected, batch = golden(case, "value"), batch_of(case)
    rows = np.arange(3)[:, None]
    expected["logits"] = expected["logits"][rows, batch["masked_positions"]]
    found = deviations(ours(case)[0], expected)
    print(case, max(found.values()))
    assert max(found.values()) <= 1e-4, found


@pytest.mark.parametrize("case", CONFIGS)
def test_gradients_equal_transformers(case):
    expected = tree(case, "gradient")
    found = gradient_deviations(ours(case)[1], expected)
    worst = max(found, key=found.get)
    print(case, worst, found[worst])
    assert found[worst] <= 1e-4, worst


@pytest.mark.parametrize("case", ["short", "odd"])
def test_padding_in_front_is_as_padding_behind(case):
    """Relative positions do not know where a text begins, so the recorded values hold shifted."""
    config, expected = CONFIGS[case], golden(case, "value")
    batch, params = batch_of(case), tree(case, "weight")["backbone"]
    moved = padded_in_front(batch, slice(None))
    arguments = moved["tokens"], moved["token_types"], moved["attention_mask"]
    assert (moved["attention_mask"][:, 0] == 0).sum() == 2
    output = Bert(config).apply({"params": params}, *arguments, train=False, all_hidden=True)
    for index, hidden_BLD in enumerate(output.all_hidden_NBLD):
        found = np.asarray(hidden_BLD)[moved["attention_mask"] == 1]
        text = expected[f"hidden_{index}"][batch["attention_mask"] == 1]
        assert deviation(found, text) <= 1e-4, index


def test_without_relative_positions_it_is_another_model():
    config = dataclasses.replace(CONFIGS["short"], max_relative=5, hidden_dropout=0.0)
    batch = batch_of("short")
    arguments = batch["tokens"], batch["token_types"], batch["attention_mask"]
    params = tree("short", "weight")["backbone"]
    other = Bert(config).apply({"params": params}, *arguments, train=False).hidden_BLD
    assert deviation(other, ours("short")[0]["hidden_2"]) > 1e-2


def test_the_table_is_the_published_formula():
    R, K, L = 3, 8, 6
    found = np.asarray(functional_positions(L, R, K))
    for query in range(L):
        for key in range(L):
            row = min(max(key - query, -R), R) + R
            expected = [
                (math.sin if k % 2 == 0 else math.cos)(row / 10000 ** (2 * (k // 2) / K))
                for k in range(K)
            ]
            np.testing.assert_allclose(found[query, key], expected, atol=1e-6)
