"""Documents packed into one row are computed as if each had a row of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.models import bert

CONFIG = dataclasses.replace(
    bert.PRESETS["tiny"], vocab_size=60, hidden_size=32, num_heads=4, mlp_size=64, max_positions=24
)
LENGTHS = [(7, 9, 5), (20,), (3, 18)]
L = 24


def rows():
    rng = np.random.default_rng(0)
    return [[rng.integers(5, 60, n) for n in lengths] for lengths in LENGTHS]


def packed(documents):
    keys = ("tokens", "mask", "positions", "segments")
    batch = {key: np.zeros((len(documents), L), np.int32) for key in keys}
    for row, some in enumerate(documents):
        begin = 0
        for number, ids in enumerate(some):
            at = slice(begin, begin + len(ids))
            batch["tokens"][row, at], batch["mask"][row, at] = ids, 1
            batch["positions"][row, at] = np.arange(len(ids))
            batch["segments"][row, at] = number + 1
            begin += len(ids)
    return batch


@pytest.fixture(scope="module")
def model():
    module = bert.Bert(CONFIG)
    ones = np.ones((1, L), np.int32)
    params = module.init(jax.random.key(0), ones, ones * 0, ones, train=False)
    # Position and type vectors that are not small, so that a wrong position is seen.
    return module, jax.tree.map(lambda x: x * 4.0, params)


def encode(model, batch):
    module, params = model
    return module.apply(
        params,
        batch["tokens"],
        np.zeros_like(batch["tokens"]),
        batch["mask"],
        train=False,
        positions_BL=batch["positions"],
        segment_ids_BL=batch["segments"],
    ).hidden_BLD


def test_each_document_is_as_if_alone(model):
    documents = rows()
    together = encode(model, packed(documents))
    for row, some in enumerate(documents):
        begin = 0
        for ids in some:
            alone = encode(model, packed([[ids]]))[0, : len(ids)]
            here = together[row, begin : begin + len(ids)]
            np.testing.assert_allclose(here, alone, atol=2e-5)
            begin += len(ids)
    # And it matters: without segments the second document comes out otherwise.
    batch = packed(documents)
    batch["segments"] = batch["mask"]
    assert jnp.abs(encode(model, batch) - together)[0, 7:16].max() > 1e-2


def test_no_gradient_crosses_documents(model):
    batch = packed(rows())
    module, params = model

    def loss(table):
        changed = jax.tree.map(lambda x: x, params)
        changed["params"]["position_embedding"] = table
        hidden = encode((module, changed), batch)
        return (hidden[0, 7:16] ** 2).sum()  # the second document: positions 0 to 8

    boxed = params["params"]["position_embedding"]
    gradient = jax.grad(loss)(boxed)
    norms = np.abs(np.asarray(jax.tree.leaves(gradient)[0])).sum(1)
    assert (norms[:9] > 0).all()
    assert (norms[9:] == 0).all()
