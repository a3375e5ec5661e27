"""A labelled task told as text and answered as text, by a run of T5: python -m plmjax.main."""

import json
import random

import pytest
from sklearn.metrics import accuracy_score

from plmjax.data.labelled.sets import LabelledSet, task_of
from plmjax.data.labelled.t5_forms import T5_FORMS
from plmjax.data.labelled.text_to_text import TextToText
from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece
from plmjax.errors import UserError
from plmjax.experiment import Settings, default_config
from plmjax.exporting import export
from plmjax.importing import import_model
from plmjax.settings import from_config
from plmjax.tuned import submitted
from tests.huggingface.writers import saved
from tests.requires import need
from tests.run import verb
from tests.test_configs import get_config

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
WORDS = ["def", "ghij", "klm", "nopq", "rst", "uvw"]
CONFIG = "--config=configs/finetune/own.py"
CLASSES = (
    "--config.task.source=tell: {words}",
    "--config.task.target={label}",
    "--config.task.answers=class",
    "--config.task.labels=dry,wet",
    "--config.task.words=klm,xyz",
    "--config.task.target_len=6",
)
SMALL = (
    "--config.model.dtype=float32",
    "--config.data.seq_len=24",
    "--config.data.batch_size=16",
    "--config.task.epochs=12",
    "--config.optimizer.name=adamw",
    "--config.optimizer.learning_rate=5e-3",
)


def rows(count: int, seed: int) -> str:
    """Lists of words; the ones with `abc` among them are wet."""
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        words = rng.choices(WORDS, k=rng.randint(1, 4))
        wet = rng.random() < 0.5
        if wet:
            words[rng.randrange(len(words))] = "abc"
        lines.append(json.dumps({"words": " ".join(words), "label": "wet" if wet else "dry"}))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with TRAIN and DEV, and the run of a small T5 that was imported."""
    folder = tmp_path_factory.mktemp("text-to-text")
    saved("t5", folder / "hf", decoder_start_token_id=0)
    import_model(str(folder / "hf"), str(folder / "t5"), lambda line: None)
    for name, count in (("train", 256), ("dev", 40)):
        (folder / f"{name}.jsonl").write_text(rows(count, seed=count))
    return folder


def tune(folder, workdir, *more: str, task: tuple[str, ...] = CLASSES) -> verb.Ended:
    files = [f"--config.task.{name}={folder}/{name}.jsonl" for name in ("train", "dev")]
    return verb.forked(
        f"{CONFIG}:{folder}/t5,task=text_to_text",
        *(*files, f"--workdir={workdir}", *SMALL, *task, *more),
    )


def scores(workdir) -> dict:
    return json.loads((workdir / "evaluation.json").read_text())["scores"]


@pytest.fixture(scope="module")
def tuned(folder):
    """The run that classifies in words, and what it said."""
    done = tune(folder, folder / "tuned", "--config.evaluation.every=64")
    assert done.code == 0, done.err
    return folder / "tuned", done


def answers(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "predictions-dev.jsonl").open()]


@pytest.mark.slow
def test_it_learns_to_answer_in_words(tuned):
    workdir, done = tuned
    assert "Task: text to text of 2 classes; 256 examples to learn from (19 of them cut" in done.out
    report = scores(workdir)
    assert report["this model"]["accuracy"] > report["the usual answer"]["accuracy"] + 0.2
    assert report["TF-IDF, linear"]["accuracy"] > report["the usual answer"]["accuracy"]
    metrics = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    counts = [line["held_out/not_an_answer"] for line in metrics if "held_out/task_loss" in line]
    # At first it writes anything, in the end one of the two words.
    assert counts[0] > 20 > 5 > counts[-1] and len(counts) == 3
    assert report["this model"]["not_an_answer"] == counts[-1]


@pytest.mark.slow
def test_figures_are_those_of_the_answers_it_leaves(tuned, folder):
    said = answers(tuned[0])
    truth = [json.loads(line)["label"] for line in (folder / "dev.jsonl").open()]
    assert [line["label"] for line in said] == truth
    words = {"klm": "dry", "xyz": "wet"}
    assert [line["predicted"] for line in said] == [words.get(line["written"]) for line in said]
    expected = accuracy_score(truth, [str(line["predicted"]) for line in said])
    assert scores(tuned[0])["this model"]["accuracy"] == pytest.approx(expected)
    assert (tuned[0] / "confusion-dev.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_exported_it_writes_the_same_in_transformers(tuned, tmp_path):
    export(str(tuned[0]), str(tmp_path / "hf"), "", "5GB", "float32", lambda line: None)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    for line in answers(tuned[0])[:12]:
        given = tokenizer(
            f"tell: {line['words']}", truncation=True, max_length=24, return_tensors="pt"
        )
        tokens = model.generate(**given, do_sample=False, num_beams=1, max_new_tokens=6)
        assert tokenizer.decode(tokens[0], skip_special_tokens=True) == line["written"]


# ----------------------------------------------------------------------- measured on another file


def evaluated(workdir, *words: str) -> verb.Ended:
    return verb.forked(f"--model={workdir}", *words, verb="evaluate")


@pytest.mark.slow
def test_a_tuned_run_is_measured_on_another_file(tuned, folder, tmp_path):
    data, items = f"--data={folder}/dev.jsonl", tmp_path / "items.jsonl"
    done = evaluated(tuned[0], data, "--json", f"--items={items}", "--batch_size=7")
    assert done.code == 0, done.err
    found, before = json.loads(done.out), scores(tuned[0])["this model"]
    assert found["accuracy"] == before["accuracy"]
    assert found["not_an_answer"] == before["not_an_answer"]
    assert found["task_loss"] == pytest.approx(before["task_loss"], rel=1e-4)
    said = [json.loads(line) for line in items.open()]
    assert [line["written"] for line in said] == [line["written"] for line in answers(tuned[0])]


@pytest.mark.slow
def test_examples_are_shown_wrong_ones_first(tuned, folder, tmp_path):
    given = answers(tuned[0])
    given = [
        {key: line[key] for key in ("words", "label")}
        for line in given
        if line["predicted"] == line["label"]
    ][:8]
    for line in given[:3]:  # labels that are wrong make answers wrong
        line["label"] = {"wet": "dry", "dry": "wet"}[line["label"]]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in given[::-1]))
    done = evaluated(tuned[0], f"--data={path}", "--show=5")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    shown = [line for line in lines if "odd.jsonl, line" in line]
    assert ["it is" in line for line in shown] == [True, True, True, False, False]
    for line in shown[:3]:
        at = int(line.rpartition("line ")[2].strip(") "))
        truth = {"dry": "klm", "wet": "xyz"}
        label = given[::-1][at - 1]["label"]
        assert f"it is {truth[label]}" in line
    assert f"  tell: {given[2]['words']}" in lines
    assert "the usual answer" in done.out


def test_an_answer_that_is_none_is_not_submitted():
    task = TextToText(benchmark="glue/sst2", **T5_FORMS["glue/sst2"])
    examples = LabelledSet("data", "test", (), task, ("0", "1"), None, labelled=False)
    said = [
        {"where": "test.tsv, line 2", "index": "0", "predicted": "1", "written": "positive"},
        {"where": "test.tsv, line 3", "index": "1", "predicted": None, "written": "posit"},
    ]
    submission, text = submitted("run", examples, said[:1], None)
    assert (submission.file, text) == ("SST-2.tsv", "index\tprediction\n0\t1\n")
    with pytest.raises(
        UserError, match="line 3 was answered 'posit', which is none of the classes"
    ):
        submitted("run", examples, said, None)


# ------------------------------------------------------------------------ other kinds of answers

KINDS = {
    "words by bleu": (
        ("--config.task.target={words}", "--config.task.metric=bleu"),
        {"task_loss", "bleu"},
    ),
    "words by exact match": (("--config.task.target=it is {label}",), {"task_loss", "em", "f1"}),
    "numbers": (
        ("--config.task.target={number}", "--config.task.answers=number", "--config.task.step=0.2"),
        {"task_loss", "not_an_answer", "pearson", "spearman", "pearson_spearman"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_other_answers_are_written_and_measured(folder, tmp_path, name):
    task, figures = KINDS[name]
    if name == "words by bleu":
        need("sacrebleu", "pip install sacrebleu")
    for file in ("train", "dev"):
        lines = [json.loads(line) for line in (folder / f"{file}.jsonl").open()][:32]
        some = [line | {"number": len(line["words"]) / 3} for line in lines]
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in some))
    files = [f"--config.task.{part}={tmp_path}/{part}.jsonl" for part in ("train", "dev")]
    steps = ("--config.task.epochs=0", "--config.train.steps=2")
    given = ("--config.task.source=tell: {words}", *task, *files, *steps)
    done = tune(folder, tmp_path / "run", task=given)
    assert done.code == 0, done.err
    assert scores(tmp_path / "run")["this model"].keys() == figures
    assert len(answers(tmp_path / "run")) == 32


def test_preview_shows_source_and_target(folder):
    files = [f"--config.task.{name}={folder}/{name}.jsonl" for name in ("train", "dev")]
    config = f"{CONFIG}:{folder}/t5,task=text_to_text"
    done = verb.forked(config, *files, *SMALL, *CLASSES, "--json", verb="preview")
    assert done.code == 0, done.err
    shown = [json.loads(line) for line in done.out.splitlines()]
    assert len(shown) == 16
    train = [json.loads(line) for line in (folder / "train.jsonl").open()]
    for line in shown:
        row = train[int(line["where"].rpartition(" ")[2]) - 1]
        assert line["read"][0].startswith("tell") and row["words"][:8] in line["read"][0]
        assert line["target"].startswith({"dry": "klm", "wet": "xyz"}[row["label"]])


# ------------------------------------------------------------------------ benchmarks in T5's form


@pytest.mark.parametrize("name", T5_FORMS)
def test_every_form_has_a_config(folder, name):
    config = get_config("finetune/t5.py")(f"{name},init_from={folder}/t5")
    settings = from_config(Settings, config)
    task = task_of(settings.task)
    assert (task.benchmark, task.start, task.source) == (name, "pad", T5_FORMS[name]["source"])
    assert settings.objective["name"] == "seq2seq_lm" and settings.data.frame == "eos"
    # Raffel et al. 2020, section 3.1.2.
    assert (settings.data.batch_size, settings.data.seq_len) == (128, 512)
    assert (settings.optimizer.name, settings.optimizer.learning_rate) == ("adafactor", 1e-3)


@pytest.mark.slow
def test_a_benchmark_is_learned_from_its_folder(folder, tmp_path):
    lines = ["sentence\tlabel", "abc def .\t1", "klm rst .\t0", "xyz .\t1"]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    done = verb.forked(
        f"--config=configs/finetune/t5.py:sst2,init_from={folder}/t5",
        *(f"--config.task.folder={tmp_path}", f"--workdir={tmp_path}/run", *SMALL[:2]),
        *("--config.task.epochs=0", "--config.train.steps=2", "--config.data.batch_size=2"),
        "--config.task.words=klm,xyz",
    )
    assert done.code == 0, done.err
    assert scores(tmp_path / "run")["this model"].keys() >= {"accuracy", "not_an_answer"}


ARGUMENTS = {
    "no task": ("", "the config needs a task and a run: configs/finetune/t5.py:TASK,init_from=RUN"),
    "an unknown task": ("sst3,init_from=RUN", "the task='sst3' is unknown; did you mean"),
    "no run": ("sst2", "the config needs the workdir of a run, whose backbone is tuned"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_that_is_wrong(name):
    argument, said = ARGUMENTS[name]
    with pytest.raises(UserError) as error:
        get_config("finetune/t5.py")(argument)
    assert said in str(error.value)


# ---------------------------------------------------------------------------------- bad input

MISTAKES = {
    "a field that is not there": (
        ("--config.task.source=tell: {wrods}",),
        "train.jsonl, line 1 has no field 'wrods', which config.task.source names; did you mean",
    ),
    "a template without a field": (
        ("--config.task.source=tell it",),
        "config.task.source='tell it' is no text with fields such as {sentence} in it",
    ),
    "fewer words than labels": (
        ("--config.task.words=klm",),
        "words=klm are 1 and config.task.labels=dry,wet are 2; give as many",
    ),
    "words that the tokenizer writes alike": (
        ("--config.task.words=KLM,XYZ",),
        "dry and wet, which a model cannot tell apart; give config.task.words that it knows",
    ),
    "a metric of another kind": (
        ("--config.task.metric=bleu",),
        "config.task.metric of classification='bleu' is unknown; there are: accuracy",
    ),
    "no end": (
        ("--config.data.frame=none",),
        "config.data.frame ends no text, by which a model says that its answer is complete",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(folder, name):
    given, said = MISTAKES[name]
    done = tune(folder, folder / "never", *given)
    assert done.code == 2, done.out
    assert not (folder / "never").exists()
    (line,) = done.err.splitlines()
    assert said in line


def test_an_empty_field(folder):
    path = folder / "empty.jsonl"
    path.write_text('{"words": "abc", "label": "wet"}\n{"words": " ", "label": "dry"}\n')
    done = tune(folder, folder / "never", f"--config.task.dev={path}")
    assert done.code == 2, done.out
    (line,) = done.err.splitlines()
    assert "empty.jsonl, line 2: the field 'words', which config.task.source names, is ' '" in line


def test_a_family_that_does_not_write(tmp_path):
    tokenizer = WordPiece((*SPECIAL_TOKENS, "the", "of"), True)
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(tmp_path / "tokenizer")
    corpus = {"path": str(tmp_path / "tokenizer"), "vocabulary": tokenizer.digest}
    record = {"config": default_config("bert", "tiny").to_dict(), "corpus": corpus}
    (tmp_path / "run.json").write_text(json.dumps(record | {"parameters": 0, "starts": []}))
    with pytest.raises(UserError) as error:
        get_config("finetune/own.py")(f"{tmp_path},task=text_to_text")
    assert "is of the family bert, which has no decoder; give a run of one of" in str(error.value)
    assert {"t5", "bart", "gpt"} <= set(str(error.value).rpartition("of one of ")[2].split(", "))
