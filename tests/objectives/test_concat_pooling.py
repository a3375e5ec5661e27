"""What stands for a text as in ULMFiT: a token's state, the largest and the mean of all."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.models import bert, gpt
from plmjax.objectives.sequence_classification import SequenceClassification
from tests.compare import deviation

SIZES = {"num_layers": 2, "hidden_size": 16, "num_heads": 2, "mlp_size": 32, "vocab_size": 60}
SIZES |= {"max_positions": 12, "hidden_dropout": 0.0, "attention_dropout": 0.0}
BACKBONES = {
    "bert": bert.Bert(bert.Config(**SIZES, initializer_range=0.5)),
    "gpt": gpt.Gpt(gpt.Config(**SIZES, initializer_range=0.5)),
}


@pytest.mark.parametrize("family", BACKBONES)
def test_states_are_put_one_behind_the_other(family):
    rng, backbone = np.random.default_rng(0), BACKBONES[family]
    lengths = np.array([12, 7, 1, 9])
    mask = (np.arange(12) < lengths[:, None]).astype(np.int32)
    batch = {
        "tokens": rng.integers(1, 60, (4, 12)).astype(np.int32) * mask,
        "token_types": np.zeros((4, 12), np.int32),
        "attention_mask": mask,
        "label": np.zeros(4, np.int32),
        "label_weights": np.ones(4, np.float32),
    }
    objective = SequenceClassification(backbone, classes=3, pooling="concat")
    params = nn.meta.unbox(objective.init(jax.random.key(1), batch, train=False)["params"])
    params["task_head"]["bias"] = jnp.arange(3.0)
    found = objective.apply({"params": params}, batch, method="logits")
    given = batch["tokens"], batch["token_types"], mask
    reading = backbone.apply({"params": params["backbone"]}, *given, train=False, method="read")
    hidden, rows = np.asarray(reading.hidden_BLD, np.float64), []
    for states, length in zip(hidden, lengths, strict=True):
        of_token = states[0 if family == "bert" else length - 1]
        real = states[:length]
        rows.append(np.concatenate([of_token, real.max(0), real.mean(0)]))
    expected = np.stack(rows)
    if family == "bert":
        dense = params["task_dense"]
        expected = np.tanh(expected @ dense["kernel"] + dense["bias"])
    head = params["task_head"]
    assert head["kernel"].shape == (48, 3)
    assert deviation(found, expected @ head["kernel"] + head["bias"]) <= 1e-5
