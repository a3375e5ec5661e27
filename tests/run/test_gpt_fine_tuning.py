"""GPT-1's fine-tuning from a run that knows none of its tokens: recipe=gpt."""

import json
import random

import numpy as np
import pytest

from plmjax.importing import import_model
from tests.huggingface.writers import saved
from tests.run import tiny, verb

WORDS = ["abc", "def", "ghij", "klm", "nopq", "rst", "uvw", "xyz"]
SMALL = (
    "--config.model.dtype=float32",
    "--config.data.seq_len=32",
    "--config.data.batch_size=16",
    "--config.optimizer.learning_rate=3e-3",
)


@pytest.fixture(scope="module", params=["openai-gpt"])
def imported(request, tmp_path_factory):
    """The workdir of an imported model, and its token table."""
    folder = tmp_path_factory.mktemp(request.param)
    model, _ = saved(request.param, folder / "theirs")
    import_model(str(folder / "theirs"), str(folder / "run"), lambda line: None)
    return folder / "run", model.get_input_embeddings().weight.detach().numpy()


def options(folder, name: str, count: int) -> str:
    """Questions of which the first two words are right answers, and the others are not."""
    rng, rows = random.Random(name), []
    for _ in range(count):
        given, label = rng.sample(WORDS[2:], k=rng.randint(2, 3)), rng.randrange(2)
        given[label] = rng.choice(WORDS[:2])
        fields = {"context": " ".join(rng.choices(WORDS, k=2)), "question": "rst", "options": given}
        rows.append(json.dumps(fields | {"label": label}))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def pairs(folder, name: str, count: int) -> str:
    rng, rows = random.Random(name), ["a\tb\tlabel"]
    for _ in range(count):
        a, b = (" ".join(rng.choices(WORDS, k=3)) for _ in range(2))
        rows.append(f"{a}\t{b}\t{int('abc' in a + b)}")
    path = folder / f"{name}.tsv"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def tune(
    run, folder, task: str, *more: str, make=options, recipe: str = "gpt", devices: int = 1
) -> verb.Ended:
    files = [
        f"--config.task.{name}={make(folder, name, count)}"
        for name, count in (("train", 160), ("dev", 40))
    ]
    return verb.forked(
        f"--config=configs/finetune/own.py:{run},task={task},recipe={recipe}",
        *(*files, f"--workdir={folder}/tuned", *SMALL, *more),
        environment={"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
    )


def table_of(workdir) -> np.ndarray:
    return tiny.last_state(workdir)["['params']['backbone']['token_table']['embedding']"]


@pytest.mark.slow
@pytest.mark.parametrize("imported", ["gpt2", "openai-gpt"], indirect=True)
def test_known_tokens_stay_and_new_ones_are_fresh(imported, tmp_path):
    run, table = imported
    done = tune(
        *(run, tmp_path, "choice", "--config.optimizer.learning_rate=0"),
        *("--config.task.epochs=0", "--config.train.steps=1"),
    )
    assert done.code == 0, done.err
    size = len(table)
    assert f"a vocabulary of {size:,}; 3 entries behind it are fresh" in done.out
    found = table_of(tmp_path / "tuned")
    np.testing.assert_array_equal(found[:size], table)
    assert found[size : size + 3].any(axis=1).all() and not found[size + 3 :].any()
    config = json.loads((tmp_path / "tuned" / "run.json").read_text())["config"]
    assert config["model"]["vocab_size"] == size + 3
    assert (config["data"]["frame"], config["objective"]["lm_weight"]) == ("gpt1", 0.5)
    assert config["optimizer"]["schedule"] == "electra"


@pytest.mark.slow
def test_options_are_learned_and_measured_again(imported, tmp_path):
    run, _ = imported
    done = tune(
        run, tmp_path, "choice", "--config.task.epochs=25", "--config.optimizer.learning_rate=1e-2"
    )
    assert done.code == 0, done.err
    scores = json.loads((tmp_path / "tuned" / "evaluation.json").read_text())["scores"]
    assert scores["this model"]["accuracy"] > scores["the usual answer"]["accuracy"] + 0.2, scores
    records = [json.loads(line) for line in (tmp_path / "tuned" / "metrics.jsonl").open()]
    losses = [line for line in records if "train/lm_loss" in line]
    assert losses[-1]["train/lm_loss"] < losses[0]["train/lm_loss"]
    for line in losses:
        total = line["train/task_loss"] + 0.5 * line["train/lm_loss"]
        assert line["train/loss"] == pytest.approx(total, rel=1e-3)
    again = verb.forked(
        *(f"--model={tmp_path}/tuned", f"--data={tmp_path}/dev.jsonl", "--json"), verb="evaluate"
    )
    assert again.code == 0, again.err
    assert json.loads(again.out)["accuracy"] == pytest.approx(scores["this model"]["accuracy"])


@pytest.mark.slow
def test_four_devices_learn_what_one_does(imported, tmp_path):
    """The table, its new entries and the next tokens' loss split by the vocabulary."""
    found, meshes = {}, {1: (), 4: ("--config.mesh.data=2", "--config.mesh.tensor=2")}
    for count, mesh in meshes.items():
        (folder := tmp_path / str(count)).mkdir()
        done = tune(imported[0], folder, "choice", *mesh, "--config.task.epochs=1", devices=count)
        assert done.code == 0, done.err
        records = [json.loads(line) for line in (folder / "tuned" / "metrics.jsonl").open()]
        found[count] = [line["train/loss"] for line in records if "train/loss" in line]
        scores = json.loads((folder / "tuned" / "evaluation.json").read_text())["scores"]
        found[count].append(scores["this model"]["task_loss"])
    assert found[4] == pytest.approx(found[1], rel=1e-4)


FIELDS = ("--config.task.text=a", "--config.task.pair=b")


@pytest.mark.slow
def test_pairs_are_read_in_both_orders(imported, tmp_path):
    run, _ = imported
    given = (*FIELDS, "--config.task.both_orders=true")
    done = tune(run, tmp_path, "classification", *given, "--config.task.epochs=4", make=pairs)
    assert done.code == 0, done.err
    scores = json.loads((tmp_path / "tuned" / "evaluation.json").read_text())["scores"]
    # The other way round they are the same to it.
    lines = [line.split("\t") for line in (tmp_path / "dev.tsv").read_text().splitlines()]
    turned = [f"{b}\t{a}\t{label}" for a, b, label in lines[1:]]
    (tmp_path / "turned.tsv").write_text("\n".join(["a\tb\tlabel", *turned]) + "\n")
    again = verb.forked(
        *(f"--model={tmp_path}/tuned", f"--data={tmp_path}/turned.tsv", "--json"), verb="evaluate"
    )
    assert again.code == 0, again.err
    loss = scores["this model"]["task_loss"]
    assert json.loads(again.out)["task_loss"] == pytest.approx(loss, rel=1e-4)
    shown = verb.forked(
        f"--config=configs/finetune/own.py:{run},recipe=gpt",
        *(f"--config.task.{name}={tmp_path}/{name}.tsv" for name in ("train", "dev")),
        *(*given, *SMALL, "--json"),
        verb="preview",
    )
    assert shown.code == 0, shown.err
    first, second = json.loads(shown.out.splitlines()[0])["read"]
    a, b = first.removeprefix("<start> ").removesuffix(" <extract>").split(" <delim> ")
    assert second == f"<start> {b} <delim> {a} <extract>"


@pytest.mark.slow
@pytest.mark.parametrize("imported", ["gpt2"], indirect=True)
def test_texts_are_learned_as_berts_are(imported, tmp_path):
    """GPT-2's vocabulary has no padding, which nothing reads."""
    run, _ = imported
    more = (*FIELDS, "--config.task.epochs=1")
    done = tune(run, tmp_path, "classification", *more, make=pairs, recipe="")
    assert done.code == 0, done.err
    assert "fresh" not in done.out.replace("task_head is fresh", "")


MISTAKES = {
    "a recipe that is not there": (
        {"recipe": "gtp"},
        "recipe='gtp' is unknown; did you mean 'gpt'",
    ),
    "a vocabulary without the new tokens": (
        {"more": ("--config.model.vocab_size=270",)},
        "config.model.vocab_size=270, but the tokenizer has",
    ),
    "a negative weight": (
        {"more": ("--config.objective.lm_weight=-1.0",)},
        "config.objective.lm_weight=-1.0; give a factor above 0, or 0 for none",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(imported, tmp_path, name):
    given, said = MISTAKES[name]
    more, recipe = given.get("more", ()), given.get("recipe", "gpt")
    done = tune(imported[0], tmp_path, "choice", *more, recipe=recipe)
    assert done.code == 2, done.out
    (line,) = done.err.splitlines()
    assert said in line


def test_an_encoder_has_no_next_tokens(reference, tmp_path):
    done = tune(reference.workdir, tmp_path, "choice")
    assert done.code == 2
    assert "recipe=gpt tunes decoders, and the run is of the family bert" in done.err
    more = ("--config.objective.lm_weight=0.5",)
    done = tune(reference.workdir, tmp_path, "choice", *more, recipe="")
    assert done.code == 2
    assert "config.objective.lm_weight=0.5 is of decoders, which tell the next token" in done.err
