"""Parameters of a run with fewer tokens: what it knows stays, what it has not is fresh."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.parallel.rules import EMBED, VOCAB
from plmjax.train.grown import as_stored, grown


def boxes(rows: int) -> dict:
    """A table, a bias and a kernel, of a vocabulary that is filled up to so many rows."""

    def box(shape, *names):
        return nn.LogicallyPartitioned(jax.ShapeDtypeStruct(shape, jnp.float32), names)

    return {
        "table": box((rows, 3), VOCAB, EMBED),
        "bias": box((rows,), VOCAB),
        "head": box((3, rows), EMBED, VOCAB),
        "kernel": box((3, 3), EMBED, None),
    }


@pytest.mark.parametrize(("size", "more"), [(6, 2), (7, 3), (8, 1), (8, 9)])
def test_entries_behind_the_known_are_fresh(size, more):
    multiple = 4
    rows = [-(-count // multiple) * multiple for count in (size, size + more)]
    new = boxes(rows[1])
    like = jax.tree.map(lambda box: box.value, new, is_leaf=lambda x: hasattr(x, "names"))
    asked = as_stored(like, new, size, multiple)
    shapes = {"table": (rows[0], 3), "bias": (rows[0],), "head": (3, rows[0]), "kernel": (3, 3)}
    assert {name: x.shape for name, x in asked.items()} == shapes
    known = {name: jnp.full(shape, 2.0) for name, shape in shapes.items()}
    fresh = jax.tree.map(lambda x: jnp.full(x.shape, 5.0), like)
    found = {name: np.asarray(x) for name, x in grown(known, fresh, new, size).items()}
    expected = np.where(np.arange(rows[1]) < size, 2.0, 5.0)
    np.testing.assert_array_equal(found["bias"], expected)
    np.testing.assert_array_equal(found["table"], np.repeat(expected[:, None], 3, 1))
    np.testing.assert_array_equal(found["head"], np.repeat(expected[None], 3, 0))
    np.testing.assert_array_equal(found["kernel"], np.full((3, 3), 2.0))
