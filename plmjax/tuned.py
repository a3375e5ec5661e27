"""A fine-tuned run that is asked about another file of its task."""

import dataclasses
from collections.abc import Callable
from typing import Any

from plmjax import experiment
from plmjax.data.labelled.base import LabelledTask
from plmjax.data.labelled.sets import LabelledCorpus, LabelledSet, read_set, task_of
from plmjax.data.ramp import RampConfig
from plmjax.errors import UserError
from plmjax.evals.report import Report
from plmjax.evals.submissions import Submission, submission, with_none
from plmjax.experiment import Experiment, Settings
from plmjax.exporting import open_run
from plmjax.parallel.mesh import MeshConfig
from plmjax.phases import labelled_input
from plmjax.recipes import benchmark_task
from plmjax.settings import from_config
from plmjax.task_answers import answering
from plmjax.task_report import records, task_report
from plmjax.train.chosen import LAST
from plmjax.train.other_runs import read_parameters
from plmjax.train.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fine-tuned run. plan: to be computed with. corpus: its task, without examples. params: of
    the checkpoint after `step` updates, of which `told` says which one of the run's it is."""

    plan: Experiment
    corpus: LabelledCorpus
    params: Any
    step: int
    told: str


def is_tuned(path: str) -> bool:
    """Whether this is the workdir of a run that has learned a labelled task."""
    if not path:
        return False
    work = Workdir(path, "--model")
    run = work.stored() if work.run_file.exists() else None
    return bool(run and run["config"].get("task"))


def open_tuned(
    path: str,
    batch_size: int,
    dtype: str,
    mesh: MeshConfig,
    say: Callable[[str], None],
    checkpoint: str = LAST,
) -> Tuned:
    """Opens a fine-tuned run.

    Args:
      path: its workdir.
      batch_size: examples at once.
      dtype: float32 or bfloat16; empty for the run's.
      mesh: how devices split the model.
      say: hears of damaged checkpoints.
      checkpoint: last, best, or a step.

    Raises:
      UserError: where it cannot be read.
    """
    run = open_run(path, say, "--model", checkpoint)
    known = {field.name for field in dataclasses.fields(Settings)}
    stored = {key: value for key, value in run.record["config"].items() if key in known}
    settings = from_config(Settings, stored)
    model = settings.model | ({"dtype": dtype} if dtype else {})
    data = dataclasses.replace(settings.data, batch_size=batch_size)
    train = dataclasses.replace(settings.train, accumulate=1)
    settings = dataclasses.replace(
        settings,
        model=model,
        data=data,
        train=train,
        phases={},
        ramp=RampConfig(),
        mesh=mesh,
        init_from="",
    )
    about = run.record["corpus"]
    task, classes = task_of(settings.task), tuple(about["classes"])
    corpus = LabelledCorpus(task, classes, run.tokenizer, about["path"], {}, {})
    plan = experiment.build(settings, corpus=corpus)
    params = read_parameters(run.state, plan.abstract_state.params, say)
    return Tuned(plan, corpus, params, run.step, run.told)


def read(tuned: Tuned, path: str, benchmark: str = "", folder: str = "") -> LabelledSet:
    """The examples of a file, which may have no labels.

    Args:
      tuned: the run.
      path: of a file, or the name of a split of the benchmark.
      benchmark: another one that asks the same, with the same labels: GLUE's AX of a run on MNLI.
      folder: where its files are; of the run's own benchmark where they are elsewhere by now.

    Raises:
      UserError: for a file that is missing or wrong, and a benchmark that asks something else.
    """
    corpus, task = tuned.corpus, tuned.corpus.task
    if benchmark:
        if not folder:
            raise UserError(f"--folder is missing: where the files of {benchmark} are")
        task = _of_benchmark(task, benchmark, tuned.plan.settings.task["name"])
    if folder:
        if not task.benchmark:
            raise UserError(f"--folder={folder} is of a benchmark; give --benchmark, too")
        task = dataclasses.replace(task, folder=folder)
    return read_set("data", path, task, corpus.classes, corpus.tokenizer, maybe_unlabelled=True)


def _of_benchmark(task: LabelledTask, benchmark: str, name: str) -> LabelledTask:
    other, fields = benchmark_task(benchmark)
    if other != name:
        raise UserError(
            f"--benchmark={benchmark} asks for {other}, and the run has learned {name}; give one"
            " that asks the same"
        )
    for key in ("train", "dev", "labels"):
        fields.pop(key, None)
    return dataclasses.replace(task, **fields, folder="")


def answered(
    tuned: Tuned, examples: LabelledSet, say: Callable[[str], None]
) -> tuple[Report | None, list[dict[str, Any]]]:
    """The figures on a set, None where it has no labels, and what is said of each example; see
    `task_report.records`.

    Args:
      tuned: the run.
      examples: as `read` returns them.
      say: hears how many of them are cut, and how much of them is unknown to the vocabulary.
    """
    plan = tuned.plan
    source = labelled_input(plan.phases[-1], tuned.corpus, examples, 0, plan.own_parts)
    source = source.with_rows_from(plan.shortest)
    notes = "; ".join(source.notes())
    if notes:
        say(f"{examples.path}: {len(examples):,} examples ({notes})")
    loss, logits = answering(plan)(tuned.params, source)
    said = records(source, logits)
    if not examples.labelled:
        return None, said
    return task_report(source, None, tuned.step, loss, logits), said


def submitted(
    workdir: str, examples: LabelledSet, said: list[dict[str, Any]], threshold: float | None
) -> tuple[Submission, str]:
    """The file that the benchmark's leaderboard takes, and what is in it.

    Args:
      workdir: of the run; its report has the threshold that did best on the development set.
      examples, said: see `answered`.
      threshold: of questions that may have no answer, above which none is given; None for the
        report's.

    Raises:
      UserError: where no leaderboard's form is known, no threshold, or an answer is none.
    """
    task = examples.task
    due = submission(task.benchmark, examples.path, task.kind)
    for line in said:
        if line["predicted"] is None:
            raise UserError(
                f"{line['where']} was answered '{line['written']}', which is none of the classes,"
                " and a leaderboard takes no other; --items=FILE has what was written of each"
            )
    if "null_score" in said[0]:
        if threshold is None:
            report = Report.read(Workdir(workdir, "--model").path)
            threshold = (report.scores["this model"] if report else {}).get(_BEST_THRESHOLD)
        if threshold is None:
            raise UserError(
                f"{workdir} has no report on questions without an answer, which would say where"
                " none is given; give --null_threshold=0, or another number"
            )
        said = with_none(said, threshold)
    return due, due.text(said)


_BEST_THRESHOLD = "best_f1_threshold"
