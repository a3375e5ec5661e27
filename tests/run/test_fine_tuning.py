"""A label for each text, learned from the backbone of another run: python -m plmjax.main."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from plmjax import experiment
from plmjax.data.labelled import read_rows
from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.data.labelled.sets import task_of
from plmjax.task_figures import metric_of
from tests.requires import need
from tests.run import verb
from tests.run.test_finetune_configs import TASKS
from tests.test_configs import CONFIGS, get_config

WORDS = ["river", "engine", "teacher", "orchard", "parliament", "violin", "glacier", "market"]
CONFIG = "--config=configs/finetune/own.py"
SMALL = (
    "--config.model.dtype=float32",
    "--config.data.seq_len=32",
    "--config.data.batch_size=16",
    "--config.task.epochs=6",
    "--config.optimizer.learning_rate=3e-3",
    "--config.optimizer.warmup_fraction=0.1",
)
LABELS = {
    "classification": lambda words: "wet" if "river" in words else "dry",
    "multi_label": lambda words: ",".join(sorted({"river", "engine"} & set(words))),
    "regression": lambda words: str(sum(word in ("river", "glacier") for word in words)),
}
"""What is asked of a text: the words of each are drawn at random, so that one has to read them."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with TRAIN and DEV of each kind of task, and one with pairs of texts."""
    folder, rng = tmp_path_factory.mktemp("labelled"), random.Random(3)
    texts = [rng.choices(WORDS, k=rng.randint(1, 6)) for _ in range(160)]
    for kind, label in LABELS.items():
        rows = [f"The {' '.join(words)} admires violin.\t{label(words)}" for words in texts]
        for name, some in (("train", rows[:128]), ("dev", rows[128:])):
            head = "sentence\tlabel"
            (folder / f"{kind}-{name}.tsv").write_text("\n".join([head, *some]) + "\n")
    return folder


def tune(reference, files, workdir, kind: str, *more: str) -> verb.Ended:
    names = [f"--config.task.{name}={files}/{kind}-{name}.tsv" for name in ("train", "dev")]
    return verb.forked(
        f"{CONFIG}:{reference.workdir},task={kind}",
        *(*names, "--config.task.text=sentence", f"--workdir={workdir}", *SMALL, *more),
    )


def scores(workdir) -> dict:
    return json.loads((workdir / "evaluation.json").read_text())["scores"]


def answers(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "predictions-dev.jsonl").open()]


@pytest.fixture(scope="module")
def tuned(reference, files, tmp_path_factory):
    """The run that classifies, and what it said."""
    workdir = tmp_path_factory.mktemp("tuned") / "run"
    done = tune(reference, files, workdir, "classification", "--config.evaluation.every=16")
    assert done.code == 0, done.err
    return workdir, done


def test_it_learns_and_says_what_it_did(tuned):
    workdir, done = tuned
    assert "Task: classification of 2 classes; 128 examples to learn from, 32 ex" in done.out
    # Six epochs of 128 examples in batches of 16.
    assert "Training for 48 steps with adamw_google" in done.out
    assert "task_head is fresh" in done.out
    report = scores(workdir)
    assert report["this model"]["accuracy"] > report["the usual answer"]["accuracy"] + 0.2
    assert report["TF-IDF, linear"]["accuracy"] > report["the usual answer"]["accuracy"]


def test_figures_are_those_of_the_answers_it_leaves(tuned, files):
    workdir, _ = tuned
    said = answers(workdir)
    truth = [row.fields["label"] for row in read_rows(f"{files}/classification-dev.tsv")]
    assert [line["label"] for line in said] == truth
    assert all(0.5 <= line["score"] <= 1 for line in said)
    expected = accuracy_score(truth, [line["predicted"] for line in said])
    assert scores(workdir)["this model"]["accuracy"] == pytest.approx(expected)
    assert (workdir / "confusion-dev.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_checkpoint_is_known(tuned):
    workdir, _ = tuned
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    measured = [record for record in records if "held_out/accuracy" in record]
    assert [record["step"] for record in measured] == [16, 32, 48]


@pytest.mark.slow
def test_what_was_tuned_is_measured_again(reference, files, tuned, tmp_path):
    workdir, _ = tuned
    again = ("--evaluate_only", f"--config.init_from={workdir}")
    done = tune(reference, files, tmp_path / "again", "classification", *again)
    assert done.code == 0, done.err
    reports = [
        json.loads((at / "evaluation.json").read_text()) for at in (workdir, tmp_path / "again")
    ]
    ours, theirs = (report["scores"]["this model"] for report in reports)
    assert ours["accuracy"] == theirs["accuracy"]
    assert ours["task_loss"] == pytest.approx(theirs["task_loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "figure", "epochs"), [("multi_label", "micro_f1", 10), ("regression", "pearson", 25)]
)
def test_several_classes_and_numbers_are_learned(reference, files, tmp_path, kind, figure, epochs):
    done = tune(reference, files, tmp_path / "run", kind, f"--config.task.epochs={epochs}")
    assert done.code == 0, done.err
    report = scores(tmp_path / "run")
    assert report["this model"][figure] > report["the usual answer"][figure] + 0.2
    said = answers(tmp_path / "run")
    if kind == "multi_label":
        truth, found = (
            [[name in each for name in ("engine", "river")] for each in some]
            for some in (
                [line["label"].split(",") for line in said],
                [line["predicted"] for line in said],
            )
        )
        assert report["this model"][figure] == pytest.approx(
            f1_score(truth, found, average="micro")
        )
    else:
        truth, found = np.array([[float(line["label"]), line["predicted"]] for line in said]).T
        correlation = np.corrcoef(truth, found)[0, 1]
        assert report["this model"][figure] == pytest.approx(correlation, abs=1e-3)


@pytest.mark.slow
def test_a_backbone_that_begins_anew_is_not_read(reference, files, tmp_path):
    names = [f"--config.task.{name}={files}/classification-{name}.tsv" for name in ("train", "dev")]
    done = verb.forked(
        f"{CONFIG}:{reference.workdir},fresh=true",
        *(*names, "--config.task.text=sentence", f"--workdir={tmp_path}/run", *SMALL),
        "--config.task.epochs=1",
    )
    assert done.code == 0, done.err
    assert "from the parameters" not in done.out
    stored = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert stored["init_from"] == ""


def error(reference, files, *more: str) -> str:
    done = tune(reference, files, files / "never", "classification", *more)
    assert done.code == 2, done.out
    assert not (files / "never").exists()
    (line,) = done.err.splitlines()
    return line


MISTAKES = {
    "a field that is not there": (
        ("--config.task.text=sentense",),
        "train.tsv, line 2 has no field 'sentense', which config.task.text names; did you mean",
    ),
    "a file that is not there": (("--config.task.dev=dve.tsv",), "there is no file dve.tsv"),
    "no file": (("--config.task.dev=",), "config.task.dev is empty; give the file of examples"),
    "a metric of another kind": (
        ("--config.task.metric=pearson",),
        "config.task.metric of classification='pearson' is unknown; there are: accuracy",
    ),
    "a setting of text": (
        ("--config.data.masking.mask_rate=0.3",),
        "config.data.masking is of text, and config.task.name='classification' reads labelled",
    ),
    "a pooling that is not there": (
        ("--config.objective.pooling=maximum",),
        "config.objective.pooling='maximum' is unknown; there are: auto, concat, first, last, mean",
    ),
    "a label that was not trained": (
        ("--config.task.labels=wet,cold",),
        "line 2: the label 'dry' is not one that was trained: wet, cold",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(reference, files, name):
    given, said = MISTAKES[name]
    assert said in error(reference, files, *given)


def test_a_label_of_the_dev_set_that_training_has_not(reference, files):
    path = files / "strange.tsv"
    path.write_text("sentence\tlabel\nThe river.\twet\nThe market.\tlukewarm\n")
    line = error(reference, files, f"--config.task.dev={path}")
    assert "strange.tsv, line 3: the label 'lukewarm' is not one that was trained: dry, wet" in line


def test_an_empty_text(reference, files):
    path = files / "empty.tsv"
    path.write_text("sentence\tlabel\nThe river.\twet\n \tdry\n")
    line = error(reference, files, f"--config.task.dev={path}")
    assert "empty.tsv, line 3: the field 'sentence' is ' '; expected a text" in line


# ----------------------------------------------------------------------- measured on another file


def evaluated(workdir, *words: str) -> verb.Ended:
    return verb.forked(f"--model={workdir}", *words, verb="evaluate")


def test_a_tuned_run_is_measured_on_another_file(tuned, files, tmp_path):
    workdir, _ = tuned
    data, items = f"--data={files}/classification-dev.tsv", tmp_path / "items.jsonl"
    done = evaluated(workdir, data, "--json", f"--items={items}", "--batch_size=5")
    assert done.code == 0, done.err
    found, before = json.loads(done.out), scores(workdir)["this model"]
    assert found["accuracy"] == before["accuracy"]
    assert found["task_loss"] == pytest.approx(before["task_loss"], rel=1e-5)
    said = [json.loads(line) for line in items.open()]
    assert [line["predicted"] for line in said] == [line["predicted"] for line in answers(workdir)]


def test_examples_are_shown_wrong_ones_first(tuned, files):
    workdir, _ = tuned
    done = evaluated(workdir, f"--data={files}/classification-dev.tsv", "--show=32")
    assert done.code == 0, done.err
    shown = [line for line in done.out.splitlines() if "-dev.tsv, line" in line]
    wrong = sum(line["predicted"] != line["label"] for line in answers(workdir))
    assert ["it is" in line for line in shown] == [True] * wrong + [False] * (32 - wrong)
    assert "the usual answer" in done.out


EVALUATED_WRONGLY = {
    "no file": ((), "--data is missing: the file of examples"),
    "another task": (("--task=2D+",), "was fine-tuned and answers its own task alone"),
    "a file that is not there": (("--data=nothing.tsv",), "there is no file nothing.tsv"),
    "a flag of prompts": (
        ("--data=x.tsv", "--limit=3"),
        "--limit is of tasks that are told in",
    ),
}


@pytest.mark.parametrize("name", EVALUATED_WRONGLY)
def test_a_mistake_at_measuring_is_one_line(tuned, name):
    words, said = EVALUATED_WRONGLY[name]
    done = evaluated(tuned[0], *words)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert said in line


# ---------------------------------------------------------------------------- published benchmarks

SENTENCES = "sentence\tlabel\nThe river is wide .\t1\nThe engine is old .\t0\n"
STS = (
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    "0\tn\tf\t2012\t1\ta\tb\tThe river is wide.\tThe river is broad.\t4.6\n"
    "1\tn\tf\t2012\t2\ta\tb\tThe river is wide.\tThe engine is old.\t0.4\n"
)
OCNLI = '{"sentence1": "天气好。", "sentence2": "下雨了。", "label": "contradiction"}\n' + (
    '{"sentence1": "天气好。", "sentence2": "有天气。", "label": "entailment"}\n'
)
FOLDERS = {
    "glue.py:sst2": (SENTENCES, "train.tsv", "dev.tsv", "accuracy"),
    "glue.py:stsb": (STS, "train.tsv", "dev.tsv", "pearson_spearman"),
    "own.py:similarity": (STS, "train.tsv", "dev.tsv", "spearman"),
    "clue.py:ocnli": (OCNLI, "train.50k.json", "dev.json", "accuracy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_benchmark_is_learned_from_its_folder(reference, tmp_path, name):
    text, train, dev, figure = FOLDERS[name]
    for file in (train, dev):
        (tmp_path / file).write_text(text)
    file, _, task = name.partition(":")
    given, places = f"{task},init_from={reference.workdir}", [f"--config.task.folder={tmp_path}"]
    if file == "own.py":
        given = f"{reference.workdir},task={task}"
        places = [f"--config.task.{part}={tmp_path}/{part}.tsv" for part in ("train", "dev")]
    done = verb.forked(
        f"--config=configs/finetune/{file}:{given}",
        *(*places, f"--workdir={tmp_path}/run", *SMALL),
        *("--config.task.epochs=0", "--config.train.steps=2", "--config.data.batch_size=2"),
    )
    assert done.code == 0, done.err
    assert figure in scores(tmp_path / "run")["this model"]


def test_a_benchmark_without_its_folder(reference):
    config = f"--config=configs/finetune/glue.py:sst2,init_from={reference.workdir}"
    done = verb.forked(config)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "config.task.folder is empty; give the folder with the files of glue/sst2" in line


# ----------------------------------------------------------------------- words, answers, options


def tagged(rng) -> str:
    words = rng.choices(WORDS, k=rng.randint(3, 8))
    return "\n".join(f"{w} {'B-WET' if w in ('river', 'glacier') else 'O'}" for w in words) + "\n"


def asked(rng, number: int) -> dict:
    words = rng.choices(WORDS[2:], k=rng.randint(3, 8))
    place = rng.randrange(len(words))
    words[place] = rng.choice(WORDS[:2])
    start = len(" ".join(words[:place])) + (place > 0)
    answer = {"text": words[place], "answer_start": start}
    question = {"id": f"q{number}", "question": "Which crosses?", "answers": [answer]}
    return {"context": " ".join(words), "qas": [question]}


def chosen(rng) -> str:
    options = rng.sample(WORDS[2:], k=rng.randint(2, 4))
    label = rng.randrange(len(options))
    options[label] = rng.choice(WORDS[:2])
    row = {"context": "The market is wide.", "question": "Which crosses it?"}
    return json.dumps(row | {"options": options, "label": label})


def written(folder, task: str, count: int, name: str) -> str:
    rng = random.Random(name)
    if task == "tagging":
        path = folder / f"{name}.conll"
        path.write_text("\n".join(tagged(rng) for _ in range(count)))
    elif task == "extraction":
        path = folder / f"{name}.json"
        paragraphs = [asked(rng, number) for number in range(count)]
        path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    else:
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(chosen(rng) for _ in range(count)) + "\n")
    return str(path)


OTHERS = {
    "tagging": ("f1", ("--config.task.columns=tokens,tags",), 0.5),
    "extraction": ("em", ("--config.task.format=squad",), 0.2),
    "choice": ("accuracy", (), 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", OTHERS)
def test_words_answers_and_options_are_learned(reference, tmp_path, task):
    figure, more, margin = OTHERS[task]
    files = [
        f"--config.task.{name}={written(tmp_path, task, count, name)}"
        for name, count in (("train", 160), ("dev", 24))
    ]
    done = verb.forked(
        f"--config=configs/finetune/own.py:{reference.workdir},task={task}",
        *(*files, f"--workdir={tmp_path}/run", *SMALL, *more, "--config.task.epochs=12"),
    )
    assert done.code == 0, done.err
    report = scores(tmp_path / "run")
    assert report["this model"][figure] > report["the usual answer"][figure] + margin, report
    assert len(answers(tmp_path / "run")) == 24
    again = evaluated(tmp_path / "run", files[1].replace("--config.task.dev", "--data"), "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)[figure] == pytest.approx(report["this model"][figure])


ARGUMENTS = {
    "glue": ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"),
    "clue": ("afqmc", "tnews", "iflytek", "cmnli", "ocnli", "csl", "cmrc2018", "c3", "cluener"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_task_of_a_benchmark_has_a_config(reference, name):
    for task in ARGUMENTS[name]:
        config = get_config(f"finetune/{name}.py")(f"{task},init_from={reference.workdir}")
        benchmark = BENCHMARKS[f"{name}/{task}"]
        settings = experiment.from_config(experiment.Settings, config)
        chosen = task_of(settings.task)
        assert chosen.text == benchmark.text and chosen.label == benchmark.label
        metric_of(chosen)
        assert {"train", "dev"} <= benchmark.splits.keys()


def test_every_config_of_fine_tuning_is_tried():
    files = {path.stem for path in (CONFIGS / "finetune").glob("*.py")}
    assert files == {*ARGUMENTS, *TASKS, "own", "t5"}


# ------------------------------------------------------------------------------ the other verbs


def given(reference, files) -> list[str]:
    names = [f"--config.task.{name}={files}/classification-{name}.tsv" for name in ("train", "dev")]
    return [f"{CONFIG}:{reference.workdir}", *names, "--config.task.text=sentence", *SMALL]


def test_preview_shows_what_is_read(reference, files):
    done = verb.forked(*given(reference, files), "--json", verb="preview")
    assert done.code == 0, done.err
    shown = [json.loads(line) for line in done.out.splitlines()]
    assert len(shown) == 16
    for line in shown:
        number = int(line["where"].rpartition(" ")[2]) - 2
        row = read_rows(f"{files}/classification-train.tsv")[number]
        assert line["label"] == ["dry", "wet"].index(row.fields["label"])
        assert "violin" in line["read"][0]


def benched(what: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "plmjax.bench", what, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=verb.REPOSITORY)


@pytest.mark.slow
def test_the_step_of_a_tuned_run_is_measured(reference, files):
    done = benched("step", *given(reference, files), "--repeats=2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens_per_second"] > 0
    done = benched("input", *given(reference, files))
    assert done.returncode == 2
    assert "of a labelled task there is bench step" in done.stderr


@pytest.mark.slow
def test_a_tuned_backbone_is_exported(tuned, tmp_path):
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    words = [f"--workdir={tuned[0]}", f"--to_huggingface={tmp_path}/hf"]
    words.append("--architecture=BertModel")
    done = verb.forked(*words, verb="export")
    assert done.code == 0, done.err
    assert "Left out, since BertModel has none: the head of the labelled task" in done.out
    _, said = transformers.BertModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"]


@pytest.mark.slow
def test_four_devices_say_what_one_says(reference, tmp_path):
    names = [written(tmp_path, "choice", count, name) for name, count in (("t", 32), ("d", 9))]
    found = {}
    for count, mesh in ((1, []), (4, ["--config.mesh.data=2", "--config.mesh.tensor=2"])):
        done = verb.forked(
            f"{CONFIG}:{reference.workdir},task=choice",
            *(f"--config.task.train={names[0]}", f"--config.task.dev={names[1]}"),
            *(*SMALL, *mesh, "--config.task.epochs=2", f"--workdir={tmp_path}/{count}"),
            environment={"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"},
        )
        assert done.code == 0, done.err
        found[count] = scores(tmp_path / str(count))["this model"]["task_loss"]
    assert found[4] == pytest.approx(found[1], rel=1e-4)
