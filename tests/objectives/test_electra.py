"""ELECTRA's objective: what is drawn and for whom, what is counted, and whom it trains."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.errors import UserError
from plmjax.families import FAMILIES, make_objective, objective_config
from plmjax.models.bert import Bert
from plmjax.models.electra import GENERATOR_FRACTIONS, PRESETS
from plmjax.objectives.electra import Electra
from plmjax.train.state import fresh_state
from plmjax.train.step import train_step
from tests.batches import bert_batch, spec
from tests.compare import deviations

CONFIG = dataclasses.replace(
    PRESETS["small"],
    **{"vocab_size": 90, "max_positions": 24, "num_layers": 1, "hidden_size": 16},
    **{"num_heads": 2, "mlp_size": 32, "embedding_size": 12, "initializer_range": 0.3},
)
OBJECTIVE = Electra(Bert(CONFIG), generator_fraction=0.5)
ROWS = 8


def batch(length: int = 20) -> dict[str, np.ndarray]:
    made = bert_batch(CONFIG, ROWS, length, 6, seed=3)
    return {key: x for key, x in made.items() if not key.startswith("label")}


@functools.cache
def start():
    return jax.jit(lambda: fresh_state(OBJECTIVE, spec(batch()), optax.sgd(1.0), seed=0))()


@pytest.mark.slow
def test_draws_are_the_same_in_microbatches_and_the_loss_is_the_weighted_sum():
    """With dropout on: what is replaced to the bit, and the parameters after a step."""
    found = {}
    for count in (1, 4):
        step = train_step(OBJECTIVE, optax.sgd(1.0), seed=0, accumulate=count, log_every=1)
        state, metrics = jax.jit(step)(start(), batch())
        found[count] = state.params, {name: mean.value() for name, mean in metrics.items()}
    assert found[1][1]["replaced"] == found[4][1]["replaced"] > 0
    moved = deviations(found[4][0], found[1][0])
    # The true gradient of a key's bias is 0.
    moved = {path: value for path, value in moved.items() if not path.endswith("key/bias")}
    assert max(moved.values()) < 1e-4, moved
    means = found[1][1]
    total = means["mlm_loss"] + 50.0 * means["disc_loss"]
    np.testing.assert_allclose(means["loss"], total, rtol=1e-6)


def test_in_evaluation_a_draw_depends_on_the_row_alone():
    """Rows in another order and with more padding say the same; other rows say something else."""
    params = {"params": start().params}
    told = jax.jit(lambda batch: OBJECTIVE.apply(params, batch, method="told"))
    made = {key: np.concatenate([x, x[:2]]) for key, x in batch().items()}
    found = told({key: x[::-1] for key, x in made.items()}).replaced_BL[::-1]
    np.testing.assert_array_equal(found[:2], found[ROWS:])
    padded = {
        key: np.pad(x, ((0, 0), (0, 4))) if x.shape[1] == 20 else x for key, x in made.items()
    }
    longer = told(padded)
    np.testing.assert_array_equal(longer.replaced_BL[:, :20], found)
    np.testing.assert_array_equal(longer.weights_BL, padded["attention_mask"])


def test_rows_that_fill_a_batch_up_do_not_count():
    made = batch()
    made["masked_weights"][5:] = 0.0  # as the pipeline leaves them
    weights = OBJECTIVE.weights(made)
    assert weights["disc"] == made["attention_mask"][:5].sum()
    assert weights["mlm"] == made["masked_weights"].sum()


@pytest.mark.parametrize("train", [True, False])
def test_tokens_are_drawn_with_the_generators_probabilities(train):
    """40,000 draws among 6 tokens, within five standard deviations."""
    logits_V = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01]))
    logits_BMV = jnp.asarray(np.broadcast_to(logits_V, (4, 10_000, 6)), jnp.float32)
    rows = {"tokens": np.arange(40).reshape(4, 10), "attention_mask": np.ones((4, 10), int)}

    def draw(module):
        return module._drawn(logits_BMV, rows, train)

    rngs = {"dropout": jax.random.key(1)} if train else {}
    drawn = np.asarray(OBJECTIVE.apply({"params": {}}, method=draw, rngs=rngs))
    assert len({row.tobytes() for row in drawn}) == 4
    count, share_V = drawn.size, np.exp(logits_V)
    deviation_V = np.sqrt(count * share_V * (1 - share_V))
    counted_V = np.bincount(drawn.ravel(), minlength=6)
    assert (np.abs(counted_V - count * share_V) <= 5 * deviation_V).all(), counted_V


def test_operations_are_those_that_xla_counts():
    config = dataclasses.replace(CONFIG, num_layers=2, scan=False, vocab_multiple=1)
    config = dataclasses.replace(config, hidden_size=64, embedding_size=0, mlp_size=256)
    objective = Electra(Bert(config), generator_fraction=0.5)
    made = batch()
    params = jax.eval_shape(lambda: objective.init(jax.random.key(0), made, train=False))

    def forward(params, batch):
        return objective.apply(params, batch, train=False).total()

    counted = jax.jit(forward).lower(params, made).cost_analysis()["flops"]
    products = objective.forward_flops(spec(made))
    # XLA counts norms, softmax, activations and the draw, too.
    assert products < counted < 1.3 * products, counted / products


def test_generators_are_the_published_ones():
    sizes = {}
    for name, fraction in GENERATOR_FRACTIONS.items():
        c = PRESETS[name].narrower(fraction)
        sizes[name] = (c.num_layers, c.hidden_size, c.num_heads, c.mlp_size, c.embedding_width)
    assert sizes == {
        "small": (12, 64, 1, 256, 128),
        "base": (12, 256, 4, 1024, 768),
        "large": (24, 256, 4, 1024, 1024),
    }


def made_for(family: str, **settings):
    model = next(iter(FAMILIES[family].presets.values()))
    section = objective_config("electra", **settings)
    return make_objective(section, family, model, {"labels": 0, "task": ""})


def test_it_trains_every_encoder_of_berts_layers():
    for family in ("bert", "roberta", "albert", "nezha", "electra"):
        assert made_for(family).generator_fraction == 0.25
    with pytest.raises(UserError, match=r"does not train config\.model\.family='gpt'"):
        made_for("gpt")
    with pytest.raises(UserError, match="a MobileBert has no way to; choose a family of BERT's"):
        made_for("mobilebert")


def test_a_generator_without_a_width_is_one_line():
    with pytest.raises(UserError, match=r"generator_fraction=0\.0; give a share"):
        made_for("electra", generator_fraction=0.0)
    with pytest.raises(UserError, match="hidden_size=256 is 179, which does not"):
        PRESETS["small"].narrower(0.7)
