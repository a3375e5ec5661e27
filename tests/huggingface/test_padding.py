"""What a model says of a text does not hang on how many places of padding are behind it."""

import jax
import numpy as np
import pytest

from tests.compare import deviation
from tests.huggingface import small
from tests.huggingface.test_heads import begun

TOLERANCE = 1e-5
LENGTHS = (9, 15, 12)
"""Each with padding behind it: MobileBERT's last token sees its right neighbour's embedding."""


def padded(tokenizer, form, length: int) -> dict[str, np.ndarray]:
    """A batch of tagged words in rows of `length`."""
    rng = np.random.default_rng(0)
    rows = {key: np.zeros((3, length), dtype) for key, (_, dtype) in form.spec.items()}
    rows["tokens"][:] = tokenizer.pad_id
    for row, size in enumerate(LENGTHS):
        rows["tokens"][row, :size] = rng.integers(8, tokenizer.vocab_size, size)
        rows["token_types"][row, 6:size] = 1
        rows["attention_mask"][row, :size] = 1
        rows["tags"][row, :size] = rng.integers(0, 3, size)
        rows["tag_weights"][row, :size] = 1
    return rows | {"label_weights": np.ones(3, np.float32)}


@pytest.mark.slow
@pytest.mark.parametrize("case", small.CONFIGS)
def test_places_of_padding_change_nothing(case, tmp_path):
    module, form, params, tokenizer = begun(case, "tagging", tmp_path)
    # Larger weights let T5, which does not scale its scores, make much of a rounding.
    params = jax.tree.map(lambda x: 0.5 * x, params)

    def logits(params, batch):
        return module.apply({"params": params}, batch, method="logits")

    said = jax.jit(logits)
    short, long = (said(params, padded(tokenizer, form, length)) for length in (16, 24))
    for row, size in enumerate(LENGTHS):
        assert deviation(short[row, :size], long[row, :size]) < TOLERANCE
