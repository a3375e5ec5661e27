"""Whole tasks with small models, against transformers asked item by item."""

import json
import math

import numpy as np
import pytest

from plmjax import evaluating
from plmjax.errors import UserError
from plmjax.evals.in_context.prompts import Piece, draw
from plmjax.evals.in_context.splits import TASKS, Options, find_task
from plmjax.evals.in_context.tasks import read_task
from tests.evals.in_context import models
from tests.evals.in_context.models import torch

CHOICES = [
    {
        "query": f"What is {n} plus {n}?",
        "choices": ["five", "the cat", "a mat sat on"],
        "gold": n % 3,
    }
    for n in range(6)
]


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    return models.gpt(folder), models.opened(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    return models.bert(folder), models.opened(folder)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    return models.t5(folder), models.opened(folder)


def write(path, records):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return str(path)


def told(net, before: str, text: str) -> np.ndarray:
    """Log-probabilities of the tokens of `text` by their model, of running text."""
    tokens = models.tokenizer("gpt2")
    context = tokens.encode_batch([before])[0].tolist()
    whole = tokens.encode_batch([before + text])[0].tolist()
    first = len(context) or 1
    ids = whole if context else [tokens.eod_id, *whole]
    logits = net(torch.tensor([ids])).logits[0].double()
    rows = torch.log_softmax(logits, -1).detach().numpy()[first - 1 : -1]
    return rows[np.arange(len(rows)), ids[first:]]


def run(model, task, shots=(0,), **options):
    said = []
    found = list(evaluating.evaluate(model, task, shots, Options(**options), said.append))
    return [rows for rows, _ in found], [records for _, records in found], said


def test_choices_are_those_of_transformers_by_every_normalisation(gpt, tmp_path):
    net, model = gpt
    data = write(tmp_path / "data.jsonl", CHOICES)
    task = find_task("query_choices")
    rows, records, said = run(model, task, (0, 2), data=data, train=data, seed=3)
    assert not said
    for shots, found, figures in zip((0, 2), records, rows, strict=True):
        hits = {name: [] for name in task.normalise}
        for number, (item, record) in enumerate(zip(CHOICES, found, strict=True)):
            shown = [CHOICES[n] for n in draw(shots, 6, 3, number, number)]
            parts = [f"{each['query']} {each['choices'][each['gold']]}" for each in shown]
            before = "\n\n".join([*parts, item["query"]])
            texts = [f" {choice}" for choice in item["choices"]]
            logprobs = [told(net, before, text) for text in texts]
            alone = [told(net, "Answer:", text).sum() for text in texts]
            totals = np.array([x.sum() for x in logprobs])
            np.testing.assert_allclose(record["logprobs"], totals, atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(record["unconditional"], alone, atol=1e-4, rtol=1e-4)
            sizes = np.array([len(choice) for choice in item["choices"]])
            expected = {
                "sum": totals.argmax(),
                "token": np.array([x.mean() for x in logprobs]).argmax(),
                "char": (totals / sizes).argmax(),
                "byte": (totals / sizes).argmax(),
                "unconditional": (totals - alone).argmax(),
            }
            assert record["chosen"] == expected
            for name, chosen in expected.items():
                hits[name].append(chosen == item["gold"])
        assert [row.metric for row in figures] == [f"accuracy ({n})" for n in task.normalise]
        for row, name in zip(figures, task.normalise, strict=True):
            assert row.value == pytest.approx(np.mean(hits[name]))
            assert (row.shots, row.count, row.chance) == (shots, 6, pytest.approx(1 / 3))


def test_a_word_counts_where_each_token_is_the_first_choice(gpt, tmp_path):
    net, model = gpt
    before, tokens = "the cat sat on a mat and", models.tokenizer("gpt2")
    ids = tokens.encode_batch([before])[0].tolist()
    with torch.no_grad():
        logits = net(torch.tensor([ids])).logits[0, -1]
    words = [" one", " cat", " fish", " mat"]
    data = write(tmp_path / "d.jsonl", [{"text": before + word} for word in words])
    (rows,), (records,), _ = run(model, find_task("lambada"), data=data)
    logprobs = [told(net, before, word) for word in words]
    assert [r["logprob"] for r in records] == pytest.approx([x.sum() for x in logprobs], abs=1e-4)
    best = tokens.decode([int(logits.argmax())])
    assert [r["is_greedy"] for r in records] == [
        len(x) == 1 and word == best for x, word in zip(logprobs, words, strict=True)
    ]
    mean = np.mean([x.sum() for x in logprobs])
    assert rows[1].value == pytest.approx(math.exp(-mean), rel=1e-3)


def test_answers_are_what_the_model_writes(gpt, tmp_path):
    net, model = gpt
    tokens, question = models.tokenizer("gpt2"), "the cat"
    ids = tokens.encode_batch([f"Q: {question}\n\nA:"])[0].tolist()
    ends = {tokens.eod_id, *model._stop_tokens(("\n",))}
    expected = []
    with torch.no_grad():
        for _ in range(4):
            expected.append(int(net(torch.tensor([ids + expected])).logits[0, -1].argmax()))
            if expected[-1] in ends:
                break
    written = tokens.decode([n for n in expected if n not in ends])
    data = write(tmp_path / "d.jsonl", [{"question": question, "answer": ["no", written]}])
    task = read_task(_changed(tmp_path, "question_answer", "max_new_tokens = 4"))
    (rows,), (records,), _ = run(model, task, data=data, beams=1)
    assert records[0]["written"] == written.partition("\n")[0]
    assert [row.metric for row in rows] == ["em", "f1"]


def _changed(folder, name, line):
    text = (TASKS / f"{name}.toml").read_text()
    path = folder / f"{name}.toml"
    path.write_text(f"{text}\n{line}\n")
    return path


def test_blanks_are_filled_by_pseudo_likelihood_where_a_model_is_masked(bert):
    net, model = bert
    tokens = models.tokenizer("wordpiece")
    (rows,), (records,), _ = run(model, find_task("probes_en"), limit=3)
    before, _, after = "The dogs in the garden ____ barking at the postman.".partition("____")
    encode = [x.tolist() for x in tokens.encode_batch([before, *records[0]["options"], after])]
    for option, logprob, count in zip(
        encode[1:-1], records[0]["logprobs"], records[0]["tokens"], strict=True
    ):
        ids, total = [tokens.cls_id, *encode[0], *option, *encode[-1], tokens.sep_id], 0.0
        for place in range(1 + len(encode[0]), 1 + len(encode[0]) + len(option)):
            hidden = [*ids[:place], tokens.mask_id, *ids[place + 1 :]]
            rows_V = torch.log_softmax(net(torch.tensor([hidden])).logits[0, place].double(), -1)
            total += float(rows_V[ids[place]].detach())
        assert logprob == pytest.approx(total, abs=1e-3) and count == len(option)
    assert {row.group for row in rows} == {"", "grammar"} and rows[0].chance == 0.25


def test_a_t5_finds_its_sentinel_in_place_of_the_blank(t5):
    net, model = t5
    tokens = models.tokenizer("t5")
    before, text, after = (x.tolist() for x in tokens.encode_batch(["the cat", "sat", "on a mat"]))
    first, end = tokens.sentinel_ids[0], tokens.eos_id
    (found,) = model.likelihoods([Piece("the cat ", "sat", " on a mat")])
    source = torch.tensor([[*before, first, *after, end]])
    target = torch.tensor([[tokens.pad_id, first, *text[:-1]]])
    with torch.no_grad():
        logits = net(input_ids=source, decoder_input_ids=target).logits[0, 1:]
    rows = torch.log_softmax(logits.double(), -1).numpy()
    np.testing.assert_allclose(found.logprobs, rows[np.arange(len(text)), text], atol=1e-4)


def test_the_perplexity_of_a_text_is_that_of_transformers(gpt, tmp_path):
    net, model = gpt
    text = " ".join(models.TEXTS[:4])
    path = tmp_path / "text.txt"
    path.write_text(text)
    ids = models.tokenizer("gpt2").encode_batch([text])[0].tolist()
    assert len(ids) > 2 * models.CONTEXT  # several windows
    begin = models.tokenizer("gpt2").eod_id
    for stride in (0, 50):
        total = 0.0
        for first in [0, *range(models.CONTEXT, len(ids), stride or models.CONTEXT)]:
            end = min(first + (stride or models.CONTEXT), len(ids)) if first else models.CONTEXT
            read = [begin, *ids][max(end - models.CONTEXT, 0) : end]
            with torch.no_grad():
                rows = torch.log_softmax(net(torch.tensor([read])).logits[0].double(), -1)
            scored = ids[first:end]
            total += float(rows[-len(scored) :][range(len(scored)), scored].sum())
        said = []
        rows, _ = evaluating.text_perplexity(model, str(path), stride, said.append)
        found = {row.metric: row.value for row in rows}
        per = {"token": len(ids), "word": len(text.split()), "byte": len(text.encode())}
        for name, count in per.items():
            assert found[f"perplexity per {name}"] == pytest.approx(
                math.exp(-total / count), rel=1e-3
            )
        assert f"windows of {models.CONTEXT} tokens, {stride or models.CONTEXT} scored" in said[0]


def test_prompts_that_are_too_long_are_cut_and_said_or_refused(gpt, tmp_path):
    _, model = gpt
    data = write(tmp_path / "d.jsonl", [{"query": "the cat " * n, **_AB} for n in (1, 200)])
    task = find_task("query_choices")
    _, _, said = run(model, task, data=data)
    assert said == [
        "query_choices, 0 shots: 1 of 2 prompts were longer than the model's 128 tokens and were"
        " cut from the left"
    ]
    with pytest.raises(UserError, match=r"the prompt of line 2, by .* give fewer --shots"):
        run(model, task, data=data, refuse_long=True)


_AB = {"choices": ["a", "b"], "gold": 0}


def test_more_examples_than_there_are_and_none_are_refused(gpt, tmp_path):
    _, model = gpt
    data = write(tmp_path / "d.jsonl", [{"query": "q", **_AB}] * 3)
    train = write(tmp_path / "t.jsonl", [{"query": "q", **_AB}] * 3)
    task = find_task("query_choices")
    with pytest.raises(UserError, match="--shots=1: the task query_choices has no train split"):
        run(model, task, (0, 1), data=data)
    with pytest.raises(UserError, match=r"--shots=4 is more than the 3 examples of .*t\.jsonl"):
        run(model, task, (4,), data=data, train=train)
    with pytest.raises(UserError, match="--shots=3 is more than the 2 examples"):
        run(model, task, (3,), data=data, train=data)
    with pytest.raises(UserError, match="has no data of its own; name it by --data=FILE"):
        run(model, task)


def test_a_model_that_fills_in_blanks_neither_writes_nor_has_a_perplexity(bert, tmp_path):
    _, model = bert
    with pytest.raises(UserError, match="fills in blanks and does not write; take a task of kind"):
        run(model, find_task("2D+"), limit=1)
    path = tmp_path / "t.txt"
    path.write_text("the cat")
    with pytest.raises(UserError, match="is no decoder, and has no perplexity"):
        evaluating.text_perplexity(model, str(path), 0, print)
    path.write_text(" \n")
    with pytest.raises(UserError, match=r"t\.txt is empty; name a file with text in it"):
        evaluating.text_perplexity(model, str(path), 0, print)


def test_chinese_with_the_label_in_the_prompt(gpt, tmp_path):
    net, model = gpt
    data = write(tmp_path / "d.jsonl", [{"sentence": "猫坐在垫子上。", "label": "103"}])
    task = find_task("tnews")
    (rows,), (records,), _ = run(model, task, data=data)
    assert len(records[0]["options"]) == 4 and rows[0].chance == 0.25
    tokens = models.tokenizer("gpt2")
    means = []
    for option in records[0]["options"]:
        context, text = (
            x.tolist() for x in tokens.encode_batch([f"这是关于{option}的文章：", "猫坐在垫子上。"])
        )
        ids = [*context, *text]
        with torch.no_grad():
            logits = net(torch.tensor([ids])).logits[0, len(context) - 1 : -1].double()
        means.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(text))))
    assert records[0]["chosen"]["token"] == int(np.argmin(means))
    assert -records[0]["logprobs"][0] / records[0]["tokens"][0] == pytest.approx(means[0], abs=1e-4)
