"""Perplexity of masked language models in an order, against a plain loop in float64."""

import copy
import json
import math

import numpy as np
import pytest

from plmjax import evaluating
from plmjax.errors import UserError
from plmjax.evals.in_context.perplexity import InOrder, orders
from tests.evals.in_context import models
from tests.huggingface.small import torch
from tests.run.verb import forked

TEXT = "the cat sat on a mat and ate one fish; why?"
WINDOW = 5


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    return folder, models.bert(folder), models.opened(folder, rows=16)


def by_torch(net, text: str, how: InOrder) -> list[float]:
    """The log-likelihood of each draw."""
    tokens = models.tokenizer("wordpiece")
    net = copy.deepcopy(net).double()
    ids = tokens.encode_batch([text])[0].tolist()
    totals = np.zeros(how.draws)
    for number, first in enumerate(range(0, len(ids), WINDOW)):
        part = ids[first : first + WINDOW]
        for draw, order in enumerate(orders(len(part), how.order, how.draws, how.seed, number)):
            known = set()
            for place in order.tolist():
                shown = [x if n in known else tokens.mask_id for n, x in enumerate(part)]
                row = torch.tensor([[tokens.cls_id, *shown, tokens.sep_id]])
                with torch.no_grad():
                    said = torch.log_softmax(net(row).logits[0, 1 + place], -1)
                totals[draw] += float(said[part[place]])
                known.add(place)
    return totals.tolist()


@pytest.mark.parametrize("order", ["left", "right", "random"])
def test_perplexities_are_those_of_a_plain_loop(bert, order, tmp_path):
    _, net, model = bert
    how = InOrder(order, draws=3 if order == "random" else 1, seed=5, window=WINDOW)
    expected = by_torch(net, TEXT, how)
    found = model.in_order(TEXT, how)
    np.testing.assert_allclose([one.total for one in found], expected, rtol=1e-5)
    (tmp_path / "t.txt").write_text(TEXT)
    said = []
    rows, records = evaluating.text_perplexity(model, str(tmp_path / "t.txt"), 0, said.append, how)
    tokens = len(models.tokenizer("wordpiece").encode_batch([TEXT])[0])
    assert tokens > 2 * WINDOW
    assert rows[0].value == pytest.approx(math.exp(-np.mean(expected) / tokens), rel=1e-4)
    assert rows[0].task == f"perplexity:t.txt {order}" and "windows of 5 tokens" in said[0]
    if order == "random":
        values = [math.exp(-total / tokens) for total in expected]
        assert rows[0].error == pytest.approx(np.std(values, ddof=1) / math.sqrt(3), rel=1e-3)
        assert len(records[0]["logprobs"]) == 3 and len(set(records[0]["logprobs"])) == 3
    else:
        assert rows[0].error is None and records[0]["logprob"] == pytest.approx(expected[0])


def test_orders_are_drawn_for_each_window_and_again_by_a_seed():
    assert [order.tolist() for order in orders(3, "left", 4, 0, 0)] == [[0, 1, 2]]
    assert [order.tolist() for order in orders(3, "right", 4, 0, 0)] == [[2, 1, 0]]
    drawn = [
        tuple(order.tolist())
        for seed in (0, 1)
        for window in (0, 1)
        for order in orders(20, "random", 2, seed, window)
    ]
    assert len(set(drawn)) == 8 and tuple(orders(20, "random", 2, 1, 1)[1].tolist()) == drawn[-1]


def test_what_cannot_be_asked_is_a_line(bert, tmp_path):
    _, _, model = bert
    with pytest.raises(UserError, match="no perplexity of a text but in an order; give --order="):
        model.of_text(TEXT)
    with pytest.raises(UserError, match="--window=200 is more than the 126 tokens"):
        model.in_order(TEXT, InOrder("left", window=200))
    models.gpt(tmp_path)
    with pytest.raises(UserError, match=r"--order=left is of models that fill in blanks, .* gpt"):
        models.opened(tmp_path).in_order(TEXT, InOrder("left"))


@pytest.mark.slow
def test_the_verb_prints_the_figures_and_a_line_for_mistakes(bert, tmp_path):
    folder, _, model = bert
    (tmp_path / "t.txt").write_text("the cat sat")
    task = (f"--model={folder}", f"--task=perplexity:{tmp_path}/t.txt")
    done = forked(*task, "--order=random", "--orders=2", "--json", verb="evaluate")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    (expected,) = evaluating.text_perplexity(
        *(model, str(tmp_path / "t.txt"), 0, print), InOrder("random", 2)
    )[0][:1]
    assert rows[0]["value"] == pytest.approx(expected.value, rel=1e-5) and rows[0]["error"] > 0
    for flags, message in {
        ("--orders=2",): "--orders does nothing without --order",
        ("--order=left", "--orders=2"): "--orders with --order=left, of which there is one",
        ("--order=left", "--stride=2"): "--stride with --order has no meaning; give --window=N",
        ("--order=left", "--task=2D+"): "--order=left is of --task=perplexity:FILE alone",
    }.items():
        done = forked(*task, *flags, verb="evaluate")
        assert done.code == 2 and message in done.err and done.err.count("\n") == 1
