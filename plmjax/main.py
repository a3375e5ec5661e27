"""Trains what a config describes: python -m plmjax.main --config=configs/quickstart.py

--config=FILE.py[:ARGUMENT]    the config; the argument is the file's own: configs/bert.py:base
--config.SECTION.KEY=VALUE     overrides a setting, for example --config.train.steps=1000
--workdir=FOLDER               where the run lives (default: runs/ and the config's name);
                               started again with the same folder, the run resumes
--compilation_cache=FOLDER     where compiled programs are kept for the next start (default
                               ~/.cache/plmjax/compiled; none keeps none)
--compilation_cache_gib=N      how much of them (default 8); those unused the longest go first
--profile_steps=A:B            records steps A+1 to B for xprof
--print_config                 prints the config with all overrides and stops
--evaluate_only                trains nothing: reports what the parameters of config.init_from score
                               at what this config asks in its last phase, of its held-out text

A run of several processes is started once for each, with the same command but for the number:
--coordinator=HOST:PORT        where process 0 runs, and a free port there
--processes=N --process=I      how many there are, and which one this is, from 0
--connect_seconds=S            how long the others are waited for (default 300)
--silence_seconds=S            a process that gives no sign of life for so long counts as dead, and
                               the others end (default 60)
On TPU slices and under SLURM (srun) the first three are found without the flags; the variables
JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID stand for them anywhere else.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
from absl import flags

from plmjax import cli, experiment, starting
from plmjax.data.labelled.sets import LabelledCorpus
from plmjax.data.preparation import PreparedCorpus
from plmjax.data.store import token_counts
from plmjax.data.tokenizers import told_unknown
from plmjax.errors import UserError
from plmjax.evals.curves import draw_curves
from plmjax.evals.report import FILE as REPORT_FILE
from plmjax.evals.report import Report
from plmjax.experiment import Experiment, Settings
from plmjax.older_runs import defaults
from plmjax.reporting import make_report
from plmjax.task_figures import metric_of
from plmjax.task_report import leave_answers, task_report
from plmjax.train import hooks, metrics
from plmjax.train.checkpoints import check_space, complete_steps
from plmjax.train.chosen import best_step
from plmjax.train.state import TrainState
from plmjax.train.watchdog import Watchdog
from plmjax.train.workdir import Workdir, write_whole
from plmjax.training import Inputs, Training, open_checkpoints, open_inputs

CONFIG = cli.define_config_flag()
PROCESSES = cli.define_process_flags()
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; local or gs://.")
EVALUATE_ONLY = flags.DEFINE_bool("evaluate_only", False, "Train nothing and report.")
PROFILE = flags.DEFINE_string("profile_steps", "", "A:B records steps A+1 to B for xprof.")


def main(watchdog: Watchdog) -> int:
    """Runs what the flags say, with the processes that `watchdog` watches; returns the code."""
    settings = experiment.read_settings(CONFIG.value)
    if PROFILE.value:
        changed = dataclasses.replace(settings.train, profile_steps=PROFILE.value)
        settings = dataclasses.replace(settings, train=changed)
    workdir = default_workdir() if WORKDIR.value is None else WORKDIR.value
    return run(settings, workdir, watchdog)


def default_workdir() -> str:
    """`runs/quickstart` for configs/quickstart.py, `runs/bert-base` for configs/bert.py:base."""
    path, _, argument = flags.FLAGS["config"].config_filename.partition(":")
    words = [os.path.basename(path).removesuffix(".py"), *argument.replace("=", "").split(",")]
    return os.path.join("runs", "-".join(word for word in words if word))


def run(settings: Settings, workdir: str, watchdog: Watchdog) -> int:
    """Trains, evaluates and reports, from wherever the run in `workdir` stands.

    Of several processes the first prints, and writes what is written once; the checkpoints are
    written by all.

    Returns:
      The exit code: 0, or cli.PREEMPTED after a signal.

    Raises:
      UserError: for whatever the user can mend.
    """
    group, say = watchdog.group, print_now if watchdog.group.first else silent
    work = Workdir(workdir)
    check_run(settings, work)
    starting.check_same_start(group, settings, str(work.path))
    corpus = starting.open_corpus(group, settings)
    settings = experiment.resolved(settings, corpus.tokenizer.vocab_size, work.stored_config())
    plan = experiment.build(settings, corpus=corpus)
    config, about_corpus = dataclasses.asdict(settings), corpus_record(corpus)
    work.check_same_run(config, about_corpus, defaults(settings))
    starting.check_same_resolved(group, settings, corpus)

    if EVALUATE_ONLY.value:
        report_only(plan, corpus, work, watchdog, say)
        return 0
    checkpoints = open_checkpoints(settings, work, say)
    newest, complete = starting.standing(group, checkpoints, work, settings.train.steps)
    if complete:
        say(f"This run is complete: {newest:,} steps, in {work.path}.\n")
        report = Report.read(work.path)
    else:
        check_space(work.path, plan.abstract_state, settings.checkpoint)
        inputs = open_inputs(plan, corpus)
        training = Training(plan, corpus, inputs, work, watchdog, say)
        state = training.initial_state(checkpoints, newest)
        # The first thing that is written, when nothing is left to be found wrong.
        starting.begin_together(
            group, work, lambda: work.begin(config, about_corpus, plan.parameter_count())
        )
        say(opening(plan, inputs, newest or 0))
        try:
            state = training.run(checkpoints, state, newest or 0)
        except hooks.Preempted as stop:
            say(f"Stopped by signal {stop.signal_number} after step {stop.step}, which is saved;")
            say("the same command resumes.")
            return cli.PREEMPTED
        report, leave = outcome(training, state, group.first)
        if group.first:
            leave(work)
            records = metrics.read_records(work.path / metrics.FILE)
            figure = metric_of(corpus.task).main if settings.task else ""
            marked = best_step(work.path / "checkpoints") if settings.task else None
            draw_curves(records, work.path / "curves.png", str(work.path), figure, marked)
            # Last, since a run that has its report counts as complete.
            write_whole(work.path / REPORT_FILE, report.to_json())
    if group.first:
        print(f"{report.text()}\n\n{closing(work)}")
    return 0


def report_only(
    plan: Experiment,
    corpus: PreparedCorpus,
    work: Workdir,
    watchdog: Watchdog,
    say: Callable[[str], None],
) -> None:
    """Prints what the parameters of another run score here; leaves it in `work`, and no checkpoint.

    Raises:
      UserError: as `Training.begun_state`, and where a run was trained in `work`.
    """
    if (work.path / "checkpoints").exists():
        raise UserError(
            f"{work.name} holds a run with checkpoints, whose report --evaluate_only would replace;"
            " name another --workdir"
        )
    first, inputs = watchdog.group.first, open_inputs(plan, corpus)
    training = Training(plan, corpus, inputs, work, watchdog, say)
    state = training.begun_state()
    report, leave = outcome(training, state, first)
    if first:
        config, parameters = dataclasses.asdict(plan.settings), plan.parameter_count()
        work.begin(config, corpus_record(corpus), parameters)
        leave(work)
        write_whole(work.path / REPORT_FILE, report.to_json())
        print(report.text())


def outcome(
    training: Training, state: TrainState, first: bool
) -> tuple[Report, Callable[[Workdir], None]]:
    """The run's report, and what leaves in its workdir what the report is made of: of a labelled
    task what was said of each example. `first`: whether this process makes the report whole."""
    plan, corpus, inputs = training.plan, training.corpus, training.inputs
    if not isinstance(corpus, LabelledCorpus):
        return make_report(plan, corpus, inputs, state, first), lambda work: None
    source, step = inputs.held_out, int(jax.device_get(state.step))
    loss, logits = training.answered(state.params, source)
    if not first:
        return Report(step, {}, []), lambda work: None
    report = task_report(source, corpus.train["train"], step, loss, logits)
    return report, lambda work: leave_answers(source, logits, work.path)


def check_run(settings: Settings, work: Workdir) -> None:
    """Checks what can be before the corpus is prepared, which takes its time.

    Raises:
      UserError: for what does not fit together, or does not fit the run that lives in `work`.
    """
    if EVALUATE_ONLY.value and not settings.init_from:
        raise UserError(
            "--evaluate_only needs parameters: --config.init_from=RUN names the workdir of the run"
            " that has them"
        )
    hooks.profiled_range(settings.train.profile_steps, settings.train.steps)
    draft = experiment.drafted(settings, work.stored_config())
    experiment.build(draft)
    work.check_same_run(dataclasses.asdict(draft), defaults=defaults(draft))
    work.check_writable()


def corpus_record(corpus: PreparedCorpus | LabelledCorpus) -> dict[str, Any]:
    """What a run's record says of its corpus; of a labelled task, the names of its classes, too."""
    told = {"classes": list(corpus.classes)} if isinstance(corpus, LabelledCorpus) else {}
    return told | {
        "digest": corpus.digest,
        "vocabulary": corpus.tokenizer.digest,
        "path": os.path.abspath(corpus.path) if "://" not in corpus.path else corpus.path,
    }


def opening(plan: Experiment, inputs: Inputs, done: int) -> str:
    """What is about to happen, in three lines."""
    settings, devices, model = plan.settings, jax.devices(), plan.settings.model
    begin = f"Resuming at step {done:,} of" if done else "Training for"
    start = f", from the parameters of {settings.init_from}" if settings.init_from else ""
    return (
        f"{of_task(plan, inputs) if settings.task else of_text(inputs)}\n"
        f"Model: {model['family']}, {plan.parameter_count():,} parameters, computing in"
        f" {model['dtype']} on {len(devices)} x {devices[0].device_kind}.\n"
        f"{begin} {settings.train.steps:,} steps with {settings.optimizer.name}{start}."
    )


def of_text(inputs: Inputs) -> str:
    """How much text there is, and how much of it the vocabulary cannot spell."""
    sources = {name: split for phase in inputs.phases for name, split in phase.splits.items()}
    trained, held_out = list(sources.values()), inputs.held_out.splits.values()
    unknown = told_unknown(token_counts(trained), inputs.tokenizer)
    and_unknown = f" {unknown}." if unknown else ""
    return (
        f"Corpus: {sum(split.documents for split in trained):,} documents,"
        f" {sum(split.tokens for split in trained):,} tokens to train on;"
        f" {sum(split.documents for split in held_out):,} documents held out.{and_unknown}"
    )


def of_task(plan: Experiment, inputs: Inputs) -> str:
    """What is asked, of how many examples, and how much of them is cut or unknown."""
    parts = []
    for what, source in (("to learn from", inputs.phases[-1]), ("to measure on", inputs.held_out)):
        notes = "; ".join(source.notes())
        told = f" ({notes})" if notes else ""
        parts.append(f"{len(source.examples):,} examples {what}{told}")
    name, classes = plan.settings.task["name"].replace("_", " "), plan.form.classes
    is_told = name in ("classification", "tagging", "text to text") and classes
    tells = f" of {classes} classes" if is_told else ""
    return f"Task: {name}{tells}; {', '.join(parts)}."


def closing(work: Workdir) -> str:
    """Where everything is, and what to type next."""
    path, text = flags.FLAGS["config"].config_filename, str(work.path)
    if (work.stored_config() or {}).get("task"):
        best, hint = best_step(work.path / "checkpoints"), ""
        if best is not None and best != complete_steps(work.path / "checkpoints")[-1]:
            hint = (
                f"The best checkpoint is that of step {best:,}; --checkpoint=best reads it in place"
                " of the last.\n"
            )
        return (
            f"Metrics, curves.png, what is said of each example, checkpoints and run.json are in"
            f" {text}.\n{hint}To measure it on another file, and look at what it says:\n"
            f"  python -m plmjax.evaluate --model={text} --data=FILE --show=20"
        )
    return (
        f"Metrics, curves.png, checkpoints and run.json are in {text}.\n"
        "To go on from these weights with a run of its own:\n"
        f"  python -m plmjax.main --config={path} --config.init_from={text}"
        f" --workdir={text}-more"
    )


def print_now(line: str) -> None:
    """Prints at once, also into a pipe."""
    print(line, flush=True)


def silent(line: str) -> None:
    """Says nothing, where another process says it."""


if __name__ == "__main__":
    cli.run(main, CONFIG, __doc__, PROCESSES)
