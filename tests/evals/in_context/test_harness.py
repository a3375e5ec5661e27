"""lm-evaluation-harness on our models, with tasks over local data, against our own figures."""

import dataclasses
import json

import numpy as np
import pytest

from plmjax import evaluating, harness
from plmjax.errors import UserError
from plmjax.evals.in_context.splits import Options, find_task
from tests.evals.in_context import models
from tests.requires import need

need("lm_eval", "pip install lm_eval")
pytestmark = pytest.mark.slow  # seconds to import, more for its data sets' cache

ITEMS = [
    {
        "query": f"What is {n} plus {n}?",
        "choices": ["five", "the cat", "a mat sat on"],
        "gold": n % 3,
    }
    for n in range(8)
]
TASKS = {
    "mine_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    },
    "mine_text": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{query}}",
        "metric_list": [{"metric": "byte_perplexity"}, {"metric": "word_perplexity"}],
    },
    "mine_answer": {
        "output_type": "generate_until",
        "doc_to_text": "{{query}}\nA:",
        "doc_to_target": "five",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt")
    models.gpt(folder)
    return models.opened(folder)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    for name, fields in TASKS.items():
        source = {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")}
        whole = {"task": name, "dataset_path": "json", "dataset_kwargs": source}
        whole |= {"test_split": "test", "metadata": {"version": 1.0}, **fields}
        # JSON is YAML.
        (folder / f"{name}.yaml").write_text(json.dumps(whole))
    return folder


def figures(model, tasks, name):
    rows, records = harness.run(model, [name], [0], 0, str(tasks))
    return {row.metric: row for row in rows}, records


def test_multiple_choice_is_as_our_own(model, tasks):
    found, records = figures(model, tasks, "mine_choice")
    options = Options(data=str(tasks / "data.jsonl"))
    ((rows, ours),) = evaluating.evaluate(model, find_task("query_choices"), [0], options, print)
    own = {row.metric: row for row in rows}
    for theirs, name in (("acc", "sum"), ("acc_norm", "char"), ("acc_bytes", "byte")):
        row = own[f"accuracy ({name})"]
        assert found[theirs].value == pytest.approx(row.value)
        assert found[theirs].error == pytest.approx(row.error)
        assert found[theirs].count == row.count == 8
    logprobs = [[said[0] for said in record["said"]] for record in records]
    np.testing.assert_allclose(logprobs, [r["logprobs"] for r in ours], rtol=1e-6)


def test_perplexity_is_as_our_own(model, tasks, tmp_path):
    found, _ = figures(model, tasks, "mine_text")
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": item["query"]}) + "\n" for item in ITEMS))
    rows, _ = evaluating.text_perplexity(model, str(path), 0, lambda line: None)
    own = {row.metric: row.value for row in rows}
    assert found["byte_perplexity"].value == pytest.approx(own["perplexity per byte"], rel=1e-5)
    assert found["word_perplexity"].value == pytest.approx(own["perplexity per word"], rel=1e-4)


def test_answers_are_as_our_own(model, tasks):
    found, records = figures(model, tasks, "mine_answer")
    prompts = [f"{item['query']}\nA:" for item in ITEMS]
    texts, _ = model.written(prompts, ["\n"], max_new_tokens=4)
    assert [record["said"][0] for record in records] == texts
    assert found["exact_match"].value == np.mean([text == "five" for text in texts])


def test_every_request_is_answered_as_by_its_own_model_of_transformers(model):
    need("accelerate", "pip install accelerate")
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=model.loaded.path, device="cpu", batch_size=2, dtype="float32")
    ours = harness.language_model(model)
    pairs = [("the cat", " sat on a mat"), ("Q: what?\n", " five"), ("", " the cat")]
    pairs.append(("the cat " * 60, " mat "))  # longer than the model
    asked = [_Request(pair) for pair in pairs]
    expected, found = theirs.loglikelihood(asked), ours.loglikelihood(asked)
    np.testing.assert_allclose(
        [x for x, _ in found], [x for x, _ in expected], atol=1e-4, rtol=1e-5
    )
    assert [x for _, x in found] == [x for _, x in expected]
    texts = [_Request((text,)) for text in ("one fish", models.WORDS * 6)]
    np.testing.assert_allclose(
        ours.loglikelihood_rolling(texts), theirs.loglikelihood_rolling(texts), rtol=1e-5
    )
    asked = [_Request((text, {"until": ["\n"], "max_gen_toks": 6})) for text in ("the", "Q:\nA:")]
    assert ours.generate_until(asked) == theirs.generate_until(asked)


@dataclasses.dataclass
class _Request:
    args: tuple


def test_an_unknown_task_is_named(model, tasks):
    with pytest.raises(UserError, match=r"--lm_eval=mine_choise is no task .* 'mine_choice'"):
        harness.run(model, ["mine_choise"], [0], 0, str(tasks))


def test_without_the_harness_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install lm_eval"):
        harness.require_lm_eval()
