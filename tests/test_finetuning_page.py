"""docs/finetuning.md: its tables are the records, its parts of sets are the same from any copy."""

import json
import random
from pathlib import Path

import pytest

from launch import finetuning_page as page
from launch.labelled_sets import PARTS, write
from tests.run import verb

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = {
    "sst2": {
        "sizes": {"train": 3000, "test": 872, "shared": 0},
        "rows": {
            "tuned": {"0": 0.82, "1": 0.84, "2": 0.86},
            "untrained": {"0": 0.7},
            "peer": {"0": 0.83, "1": 0.85, "2": 0.87},
            "TF-IDF, linear": {"0": 0.76},
            "the usual answer": {"0": 0.51},
        },
        "curve": {"apart": 3e-5, "ours": [1.0], "theirs": [1.0]},
    }
}


def test_the_tables_are_the_records():
    known = json.loads((DOCS / "finetuning.json").read_text())
    text = (DOCS / "finetuning.md").read_text()
    assert page.filled(text, known) == text


def test_means_and_deviations_are_told():
    _, _, row = page.scores(RECORDS, "english")
    cells = ["84.0 ± 2.0", "70.0", "TF-IDF, linear 76.0", "51.0"]
    assert row == f"| SST-2: sentiment | 3,000 / 872 | accuracy | {' | '.join(cells)} |"
    _, _, row = page.peers(RECORDS)
    assert row == "| SST-2: sentiment | 3.0e-05 | accuracy | 84.0 ± 2.0 | 85.0 ± 2.0 | -1.0 |"
    assert len(page.scores(RECORDS, "chinese")) == 2


def pairs(count: int) -> list[str]:
    """Lines of GLUE's SST-2, and their texts are all different."""
    rng = random.Random(0)
    return [f"{number} {rng.random()}\t{number % 2}" for number in range(count)]


def sst2(folder: Path, train: list[str], dev: list[str]) -> Path:
    (folder / "sst2").mkdir(parents=True)
    for name, rows in (("train", train), ("dev", dev)):
        (folder / "sst2" / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return folder


def test_the_same_examples_are_drawn_from_any_copy(tmp_path):
    lines = pairs(3200)
    dev, train = lines[:100], lines[90:]
    other = random.Random(1).sample(train, len(train))
    for name, rows in (("one", train), ("two", other)):
        sizes = write("sst2", sst2(tmp_path / name, rows, dev), tmp_path / name / "out")
        assert sizes == {"train": 3000, "test": 100, "shared": 10, "empty": 0}
    one, two = ((tmp_path / name / "out" / "train.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    shown = {json.loads(line)["text"] for line in one.splitlines()}
    assert not shown & {line.partition("\t")[0] for line in dev}


def test_articles_are_learned_from_or_measured_on(tmp_path):
    articles = []
    for number in range(20):
        text = f"Article {number} is about {number}."
        answer = {"text": str(number), "answer_start": 8}
        asked = [
            {
                "id": f"{number}-{i}",
                "question": f"Which? {i}" * (number + i > 0),
                "answers": [answer],
            }
            for i in range(3)
        ]
        articles.append({"title": f"t{number}", "paragraphs": [{"context": text, "qas": asked}]})
    (tmp_path / "xquad_en").mkdir()
    (tmp_path / "xquad_en" / "xquad.en.json").write_text(json.dumps({"data": articles}))
    sizes = write("xquad_en", tmp_path, tmp_path / "out")
    assert sizes == {"train": 47, "test": 12, "shared": 0, "empty": 1}
    titles = [
        {json.loads(line)["title"] for line in (tmp_path / "out" / name).read_text().splitlines()}
        for name in ("train.jsonl", "test.jsonl")
    ]
    assert not titles[0] & titles[1]


def test_words_become_characters_with_their_places(tmp_path):
    lines = [
        f"{n}\t{w}\t_\tX\t_\t_\t0\troot\t_\t_" for n, w in enumerate(("这", "建筑", "研究所"), 1)
    ]
    (tmp_path / "segmentation").mkdir()
    for split in ("dev", "test"):
        path = tmp_path / "segmentation" / f"zh_gsdsimp-ud-{split}.conllu"
        path.write_text("\n".join([f"# sent_id = {split}", *lines]) + "\n\n", encoding="utf-8")
    assert write("segmentation", tmp_path, tmp_path / "out")["shared"] == 1
    (row,) = (tmp_path / "out" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(row) == {"tokens": list("这建筑研究所"), "tags": list("SBEBME")}


def test_every_part_is_of_a_task_that_there_is():
    from plmjax.data.labelled.benchmarks import BENCHMARKS
    from plmjax.data.labelled.tasks import LABELLED_TASKS

    for part in PARTS.values():
        assert part.benchmark in BENCHMARKS and part.task in LABELLED_TASKS


PEERS = ("classification", "tagging", "extraction")


def example(task: str, rng: random.Random) -> dict:
    words = rng.choices(["abc", "def", "ghij", "klm", "nopq", "rst"], k=rng.randint(3, 9))
    if task == "classification":
        return {"text": " ".join(words), "label": str(int("abc" in words))}
    if task == "tagging":
        return {"tokens": words, "tags": ["B-X" if word == "abc" else "O" for word in words]}
    text = " ".join(words)
    at = text.index(words[1])
    asked = {"id": text, "context": text, "question": "def ghij", "answers": [words[1]]}
    return asked | {"starts": [at]}


@pytest.mark.slow
@pytest.mark.parametrize("task", PEERS)
def test_transformers_tunes_as_a_run_does(tmp_path, task):
    """The same losses, update by update, without dropout; with it scores that can be compared."""
    from plmjax import importing
    from tests.huggingface import small

    small.saved("bert", "model", tmp_path / "hf")
    importing.import_model(str(tmp_path / "hf"), str(tmp_path / "run"), lambda line: None)
    rng = random.Random(0)
    for name in ("train", "dev"):
        rows = (json.dumps(example(task, rng)) for _ in range(24))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    config = [
        f"--config=configs/finetune/own.py:{tmp_path}/run,task={task}",
        *(f"--config.task.{name}={tmp_path}/{name}.jsonl" for name in ("train", "dev")),
        *("--config.task.epochs=0", "--config.train.steps=6", "--config.train.log_every=1"),
        *("--config.optimizer.name=adamw", "--config.optimizer.learning_rate=1e-3"),
        *("--config.data.seq_len=32", "--config.data.batch_size=8"),
        *("--config.model.hidden_dropout=0", "--config.model.attention_dropout=0"),
    ]
    ended = verb.forked(*config, f"--workdir={tmp_path}/ours")
    assert ended.code == 0, ended.err
    theirs = [*config, f"--theirs={tmp_path}/hf", f"--out={tmp_path}/out.json"]
    ended = verb.forked(*theirs, f"--ours={tmp_path}/ours", verb="launch.finetuning_peer")
    assert ended.code == 0, ended.err
    curve = json.loads((tmp_path / "out.json").read_text())
    assert len(curve["ours"]) == 6 and curve["theirs"][-1] < curve["theirs"][0]
    assert curve["apart"] < 1e-4, curve
    if task != "extraction":  # whose answers are made of the head's numbers, which are compared
        return
    ended = verb.forked(*theirs, verb="launch.finetuning_peer")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out.json").read_text())["scores"]["this model"]
    ours = json.loads((tmp_path / "ours" / "evaluation.json").read_text())["scores"]["this model"]
    assert found.keys() == ours.keys()
    assert abs(found["task_loss"] - ours["task_loss"]) < 1e-4 * ours["task_loss"]
