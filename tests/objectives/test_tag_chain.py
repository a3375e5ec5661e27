"""Tags that are told as a sequence: the loss and what is said, by all sequences there are."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from plmjax.data.labelled.base import Features
from plmjax.data.labelled.tagging import Tagging
from plmjax.errors import UserError
from plmjax.families import make_objective
from plmjax.models.bert import Bert, Config
from plmjax.objectives.token_classification import TokenClassification

CLASSES = 3
CONFIG = Config(
    vocab_size=60,
    max_positions=16,
    num_layers=2,
    hidden_size=16,
    num_heads=2,
    mlp_size=32,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    initializer_range=0.5,
)
BATCH = {
    "tokens": np.random.default_rng(0).integers(1, 60, (4, 8)).astype(np.int32),
    "token_types": np.zeros((4, 8), np.int32),
    "attention_mask": np.ones((4, 8), np.int32),
    "tags": np.random.default_rng(1).integers(0, CLASSES, (4, 8)).astype(np.int32),
    "tag_weights": np.array(
        [
            [0, 1, 1, 1, 1, 1, 1, 0],
            [0, 1, 0, 1, 0, 0, 1, 0],
            [0, 1, 0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 0, 0, 0, 0],
        ],
        np.float32,
    ),
    "label_weights": np.array([1, 1, 1, 0], np.float32),
}


@pytest.fixture(scope="module")
def made():
    """The objective, its parameters, and what each token says of its own tag."""
    objective = TokenClassification(Bert(CONFIG), classes=CLASSES, crf=True)
    params = nn.meta.unbox(objective.init(jax.random.key(0), BATCH, train=False)["params"])
    rng = np.random.default_rng(2)
    for name in ("task_start", "task_follow", "task_end"):
        assert not params[name].any()
        params[name] = jnp.asarray(rng.standard_normal(params[name].shape), jnp.float32)
    plain = TokenClassification(Bert(CONFIG), classes=CLASSES)
    known = {name: params[name] for name in ("backbone", "task_head")}
    scores = plain.apply({"params": known}, BATCH, method="logits")
    return objective, params, np.asarray(scores, np.float64)


def every(params, scores):
    """The score of every sequence of tags."""
    start, follow, end = (
        np.asarray(params[name], np.float64) for name in ("task_start", "task_follow", "task_end")
    )
    found = {}
    for tags in itertools.product(range(CLASSES), repeat=len(scores)):
        inside = scores[np.arange(len(scores)), tags].sum()
        between = sum(follow[pair] for pair in itertools.pairwise(tags))
        found[tags] = start[tags[0]] + inside + between + end[tags[-1]]
    return found


def test_the_loss_is_that_of_whole_sequences(made):
    objective, params, scores = made
    expected, hits, words = 0.0, 0, 0
    for row in range(3):  # the fourth fills up the batch
        here = BATCH["tag_weights"][row] > 0
        of_all, truth = every(params, scores[row, here]), tuple(BATCH["tags"][row, here].tolist())
        expected += logsumexp(list(of_all.values())) - of_all[truth]
        best = max(of_all, key=of_all.get)
        hits += sum(a == b for a, b in zip(best, truth, strict=True))
        words += len(truth)
    loss = objective.apply({"params": params}, BATCH, train=False)
    assert float(loss.total()) == pytest.approx(expected / words, rel=1e-5)
    assert float(loss.metrics["task_accuracy"].value()) == pytest.approx(hits / words)
    assert float(objective.weights(BATCH)["task"]) == float(loss.terms["task"].weight) == words


def test_parts_of_a_batch_add_up(made):
    """As microbatches do: the sums of parts over the weight of the whole."""
    objective, params, _ = made
    whole = objective.apply({"params": params}, BATCH, train=False)
    parts = [
        objective.apply({"params": params}, {k: x[at : at + 2] for k, x in BATCH.items()}, train=0)
        for at in (0, 2)
    ]
    assert float((parts[0] + parts[1]).total()) == pytest.approx(float(whole.total()), rel=1e-6)


def test_what_is_said_of_words_is_the_best_sequence(made):
    objective, params, scores = made
    logits = np.asarray(objective.apply({"params": params}, BATCH, method="logits"))
    assert logits.shape == (4, 8, CLASSES)
    names, places = ("O", "B", "I"), []
    expected = []
    for row in range(4):
        here = BATCH["tag_weights"][row] > 0
        places.append(np.flatnonzero(here))
        of_all = every(params, scores[row, here])
        expected.append([names[tag] for tag in max(of_all, key=of_all.get)])
    owners = np.array([0, 0, 1, 2])  # a long sentence makes two rows
    features = Features([], [], {}, owners, 0, (places, names))
    found = Tagging().predictions(features, logits, [None] * 3)
    assert found == [expected[0] + expected[1], expected[2], expected[3]]
    alone = scores[BATCH["tag_weights"] > 0].argmax(-1).tolist()
    assert [names[tag] for tag in alone] != list(itertools.chain(*expected))


def test_a_wrong_setting_is_one_line():
    section = {"name": "token_classification", "crf": "yes"}
    with pytest.raises(UserError, match=r"config\.objective\.crf='yes'; expected true or f"):
        make_objective(section, "bert", CONFIG, {"classes": CLASSES})
