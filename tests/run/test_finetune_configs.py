"""The configs of published benchmarks: each task has one, and its task is the benchmark's."""

import dataclasses
import json

import pytest

from plmjax import experiment
from plmjax.data.labelled.benchmarks import BENCHMARKS
from plmjax.data.labelled.sets import task_of
from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece
from plmjax.errors import UserError
from plmjax.task_figures import metric_of
from tests.test_configs import get_config

LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh"
TASKS = {
    "glue": "cola sst2 mrpc qqp stsb mnli qnli rte wnli",
    "superglue": "boolq cb copa multirc record rte wic wsc",
    "clue": "afqmc tnews iflytek cmnli ocnli cluewsc csl cluener cmrc2018 chid c3",
    "squad": "squad1 squad2 cmrc2018 drcd",
    "ner": "conll2003 msra_ner weibo_ner resume_ner cluener",
    "choice": "race story_cloze",
    "chinese": "chnsenticorp lcqmc",
    "xnli": LANGUAGES,
    "similarity": "",
    "treebank": "pos segmentation",
}
ALL = [(file, task) for file, tasks in TASKS.items() for task in tasks.split() or [""]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a config reads of a run: its settings and its tokenizer."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = WordPiece((*SPECIAL_TOKENS, "the", "of"), True)
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")
    config = experiment.default_config("bert", "tiny").to_dict()
    record = {
        "config": config,
        "corpus": {"path": str(folder / "tokenizer"), "vocabulary": tokenizer.digest},
    }
    record |= {"parameters": 0, "starts": []}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def settings(run, file: str, argument: str):
    given = f"{argument},init_from={run}" if argument else str(run)
    return experiment.from_config(experiment.Settings, get_config(f"finetune/{file}.py")(given))


@pytest.mark.parametrize(("file", "task"), ALL)
def test_the_task_is_the_benchmarks(run, file, task):
    made = settings(run, file, task)
    asked = task_of(made.task)
    metric_of(asked)
    assert made.init_from == str(run)
    if file == "treebank":
        assert asked.kind == "tagging"
        return
    benchmark = BENCHMARKS[asked.benchmark]
    assert {asked.train, asked.dev} <= benchmark.splits.keys()
    assert (asked.text, asked.label) == (benchmark.text, benchmark.label)
    if hasattr(asked, "pair"):
        assert asked.pair == benchmark.second
    assert task in asked.benchmark or file in ("xnli", "similarity")


def test_each_file_says_what_it_takes():
    for file, tasks in TASKS.items():
        said = get_config(f"finetune/{file}.py").__globals__["__doc__"]
        assert all(task in said for task in tasks.split()), file
        assert f"--config=configs/finetune/{file}.py:" in said


def test_the_recipes_of_a_file_are_told_apart(run):
    """ELECTRA: configure_finetuning.py. RoBERTa: README.glue.md of fairseq."""
    electra = settings(run, "glue", "rte,recipe=electra")
    assert electra.transfer.layer_decay == 0.8
    assert electra.optimizer.learning_rate == 1e-4 and electra.task["epochs"] == 10
    roberta = settings(run, "glue", "qqp,recipe=roberta")
    assert roberta.optimizer.warmup_fraction == 0.25 == 28318 / 113272
    assert roberta.data.batch_size == 32 and roberta.optimizer.b2 == 0.98
    assert settings(run, "glue", "qqp").optimizer.learning_rate == 2e-5


def test_languages_are_those_of_their_splits(run):
    asked = task_of(settings(run, "xnli", "sw").task)
    assert (asked.train, asked.dev) == ("train_sw", "dev_sw")
    assert BENCHMARKS["xnli"].splits["dev_sw"].only == {"language": "sw"}


MISTAKES = {
    ("glue", ""): "the config needs a task and a run, such as cola,init_from=RUN; there are: cola",
    ("glue", "sst,init_from=x"): "the task='sst' is unknown; did you mean 'sst2'?",
    (
        "glue",
        "sst2,recipe=bart",
    ): "recipe='bart' is unknown; there are: electra, gpt, roberta, ulmfit",
    ("clue", "chid"): "the config needs the workdir of a run, whose backbone is tuned",
    ("treebank", ""): "the config needs one of pos, segmentation, and init_from=RUN",
}


@pytest.mark.parametrize(("file", "argument"), MISTAKES)
def test_a_mistake_is_one_line(file, argument):
    with pytest.raises(UserError) as error:
        get_config(f"finetune/{file}.py")(argument)
    assert MISTAKES[file, argument] in str(error.value)


def test_every_benchmark_that_can_be_tuned_is_in_a_file(run):
    known = {task_of(settings(run, file, task).task).benchmark for file, task in ALL}
    kinds = {name: dataclasses.asdict(one) for name, one in BENCHMARKS.items()}
    for name, one in kinds.items():
        trainable = {"train", "dev"} <= one["splits"].keys() and one["kind"] != "tree"
        assert not trainable or name in known | {"snli"}, name
