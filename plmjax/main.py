"""Trains what a config describes: python -m plmjax.main --config=configs/quickstart.py

--config=FILE.py[:ARGUMENT]    the config; the argument is the file's own: configs/bert.py:base
--config.SECTION.KEY=VALUE     overrides a setting, for example --config.train.steps=1000
--workdir=FOLDER               where the run lives (default: runs/ and the config's name);
                               started again with the same folder, the run resumes
--profile_steps=A:B            records steps A+1 to B for xprof
--print_config                 prints the config with all overrides and stops

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
import functools
import os
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from absl import flags

from plmjax import cli, experiment, starting
from plmjax.data.pipeline import Input
from plmjax.data.preparation import PreparedCorpus
from plmjax.errors import UserError
from plmjax.evals import baselines, blanks
from plmjax.evals.curves import draw_curves
from plmjax.evals.held_out import evaluate
from plmjax.evals.report import FILE as REPORT_FILE
from plmjax.evals.report import Report
from plmjax.experiment import Experiment, Settings
from plmjax.phases import held_out_input, train_input
from plmjax.train import hooks, metrics
from plmjax.train.checkpoints import Checkpoints, check_space, parameters_of
from plmjax.train.loop import Phase, train
from plmjax.train.state import TrainState
from plmjax.train.stopping import AgreedStop
from plmjax.train.watchdog import PATIENCE, Moved, Watchdog
from plmjax.train.workdir import Workdir, write_whole
from plmjax.types import Batch

CONFIG = cli.define_config_flag()
PROCESSES = cli.define_process_flags()
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; local or gs://.")
PROFILE = flags.DEFINE_string("profile_steps", "", "A:B records steps A+1 to B for xprof.")

BASELINE_TOKENS = 50_000_000
"""How much of the training text the n-gram baselines count."""

BLANKS = 5
"""How many sentences with a word left out the report shows."""


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
    work.check_same_run(config, about_corpus)
    starting.check_same_resolved(group, settings, corpus)

    checkpoints = Checkpoints(work.path / "checkpoints", settings.checkpoint, say)
    newest, complete = starting.standing(group, checkpoints, work, settings.train.steps)
    if complete:
        say(f"This run is complete: {newest:,} steps, in {work.path}.\n")
        report = Report.read(work.path)
    else:
        check_space(work.path, plan.abstract_state, settings.checkpoint)
        inputs = open_inputs(plan, corpus)
        state = initial_state(plan, corpus, checkpoints, newest, say)
        # The first thing that is written, when nothing is left to be found wrong.
        starting.begin_together(
            group, work, lambda: work.begin(config, about_corpus, plan.parameter_count())
        )
        say(opening(plan, inputs, newest or 0))
        try:
            state = train_to_end(plan, inputs, work, checkpoints, state, newest or 0, watchdog)
        except hooks.Preempted as stop:
            say(f"Stopped by signal {stop.signal_number} after step {stop.step}, which is saved;")
            say("the same command resumes.")
            return cli.PREEMPTED
        checkpoints.close()
        report = make_report(plan, corpus, inputs, state, group.first)
        if group.first:
            records = metrics.read_records(work.path / metrics.FILE)
            draw_curves(records, work.path / "curves.png", str(work.path))
            # Last, since a run that has its report counts as complete.
            write_whole(work.path / REPORT_FILE, report.to_json())
    if group.first:
        print(f"{report.text()}\n\n{closing(work)}")
    return 0


def check_run(settings: Settings, work: Workdir) -> None:
    """Checks what can be before the corpus is prepared, which takes its time.

    Raises:
      UserError: for what does not fit together, or does not fit the run that lives in `work`.
    """
    hooks.profiled_range(settings.train.profile_steps, settings.train.steps)
    draft = experiment.drafted(settings, work.stored_config())
    experiment.build(draft)
    work.check_same_run(dataclasses.asdict(draft))
    work.check_writable()


def corpus_record(corpus: PreparedCorpus) -> dict[str, str]:
    """What a run's record says of its corpus."""
    return {
        "digest": corpus.digest,
        "vocabulary": corpus.tokenizer.digest,
        "path": os.path.abspath(corpus.path) if "://" not in corpus.path else corpus.path,
    }


def initial_state(
    plan: Experiment,
    corpus: PreparedCorpus,
    checkpoints: Checkpoints,
    newest: int | None,
    say: Callable[[str], None],
) -> TrainState:
    """The run's own `newest` checkpoint; without one fresh, with the parameters of `init_from`.

    Raises:
      UserError: if `init_from` names no run, or one whose parameters mean something else.
    """
    if newest is not None:
        return checkpoints.restore(newest, plan.abstract_state)
    if not plan.settings.init_from:
        return plan.fresh_state()
    other = Workdir(plan.settings.init_from, "config.init_from")
    run = other.stored()
    if run is None:
        raise UserError(f"{other.name} is not the workdir of a run: it has no run.json")
    if run["corpus"].get("vocabulary") != corpus.tokenizer.digest:
        path = run["corpus"].get("path")
        own = f"its own: --config.corpus.vocab_file={path}/vocab.txt"
        if corpus.tokenizer.kind != "wordpiece":
            own = f"prepare the corpus with the tokenizer in {path}"
        raise UserError(
            f"{other.name} was trained with another vocabulary than this corpus has; {own}"
        )
    params = parameters_of(other.path / "checkpoints", plan.abstract_state.params, say)
    return plan.fresh_state().replace(params=params)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Where batches come from: for each of the plan's phases, and for evaluation."""

    phases: tuple[Input, ...]
    held_out: Input


def open_inputs(plan: Experiment, corpus: PreparedCorpus) -> Inputs:
    """Opens the inputs of a run, this process's part of each batch.

    Raises:
      UserError: if there is too little text for a batch, to train on or held out.
    """
    seed, parts = plan.settings.seed, plan.own_parts
    phases = tuple(train_input(phase, corpus, seed, parts) for phase in plan.phases)
    for phase in phases:
        phase.epoch_sizes()
    return Inputs(phases, held_out_input(plan.phases[-1], corpus, seed, parts))


def train_to_end(
    plan: Experiment,
    inputs: Inputs,
    work: Workdir,
    checkpoints: Checkpoints,
    state: TrainState,
    done: int,
    watchdog: Watchdog,
) -> TrainState:
    """Sets up the hooks and the phases and trains; returns the last state."""
    settings, group = plan.settings, watchdog.group
    say = print_now if group.first else silent
    step = plan.compiled_train_step()
    phases = []
    for phase, source in zip(plan.phases, inputs.phases, strict=True):
        tokens = phase.data.batch_size * phase.data.seq_len
        batches = functools.partial(supervised_batches, watchdog, source)
        phases.append(Phase(phase.name, phase.first, phase.last, step, batches, tokens))

    evaluation_step = plan.compiled_evaluation_step()

    def place_to_evaluate(batch) -> Batch:
        watchdog.progress("evaluates", PATIENCE)
        return plan.place(batch)

    def evaluate_held_out(params) -> dict[str, float]:
        batches = inputs.held_out.evaluation_batches()
        return evaluate(evaluation_step, params, batches, place_to_evaluate)

    total = settings.train.steps
    waits = True
    writer = metrics.MetricsWriter(work.path, done) if group.first else metrics.NoWriter()
    log = hooks.Log(
        writer,
        every=settings.train.log_every,
        first_step=done,
        last_step=total,
        learning_rate=plan.learning_rate,
        say=say,
    )
    evaluation = hooks.Evaluate(
        evaluate_held_out,
        writer,
        every=settings.evaluation.every,
        last_step=total,
        say=say,
    )
    try:
        with (
            stop_signal(watchdog, done) as stop,
            watchdog.expecting_steps(settings.train.stall_seconds, work.path),
        ):
            save = hooks.Save(
                checkpoints,
                writer,
                log,
                evaluation,
                stop,
                every=settings.checkpoint.every,
                last_step=total,
                monitor=plan.objective.monitor,
            )
            profile = profile_hooks(settings, work, done) if group.first else []
            made = Moved(watchdog, "logs, evaluates or saves", PATIENCE)
            after = Moved(watchdog, "waits for its devices")
            every = [made, log, evaluation, save, *profile, after]
            # Gloo gives up on a process that comes to its first collective half a minute late.
            group.gather("trains", "", starting.PREPARATION_SECONDS, "the first step")
            return train(state, phases, every, plan.place)
    except hooks.Preempted:
        raise
    except BaseException as error:
        # A save in flight is for all processes to end, and the others do not come any more.
        waits = group.size == 1
        watchdog.report(error)
        raise
    finally:
        writer.close()
        if waits:
            checkpoints.wait()


def supervised_batches(
    watchdog: Watchdog, source: Input, first: int, last: int
) -> Iterator[Mapping[str, np.ndarray]]:
    """`source.batches(first, last)`; one that takes too long is a stall."""
    return watchdog.batches(source.batches(first, last))


def stop_signal(watchdog: Watchdog, done: int) -> hooks.StopSignal | AgreedStop:
    """What listens to signals; of several processes all stop after the same step."""
    if watchdog.group.size == 1:
        return hooks.StopSignal()
    stop = AgreedStop(watchdog.group, done)
    watchdog.agree_by(stop)
    return stop


def profile_hooks(settings: Settings, work: Workdir, done: int) -> list[hooks.Profile]:
    """The hook that `train.profile_steps` asks for, if it does and the steps are still to come."""
    steps = hooks.profiled_range(settings.train.profile_steps, settings.train.steps)
    if steps is None:
        return []
    if steps[0] <= done:
        text = settings.train.profile_steps
        print_now(f"--profile_steps={text} begins before step {done}: nothing is recorded.")
        return []
    return [hooks.Profile(work.path / "profile", *steps, print_now)]


def make_report(
    plan: Experiment, corpus: PreparedCorpus, inputs: Inputs, state: TrainState, compare: bool
) -> Report:
    """Evaluates on all held-out documents, beside baselines from the training text.

    `compare`: whether this process makes the baselines, which takes one and no device.
    """
    held_out, tokenizer = inputs.held_out, corpus.tokenizer
    step = plan.compiled_evaluation_step()
    scores = evaluate(step, state.params, held_out.evaluation_batches(), plan.place)
    objective, others = plan.objective, {}
    if compare:
        trained_on = list(inputs.phases[-1].splits.values())
        counts = baselines.count_splits(trained_on, tokenizer.vocab_size, BASELINE_TOKENS)
        # All parts of the batches, where the model has evaluated this process's.
        whole = held_out_input(plan.phases[-1], corpus, plan.settings.seed, (0, 1))
        batches, task = whole.evaluation_batches(), held_out.form.task
        others = baselines.ngram_baselines(
            counts, batches, objective.neighbours, objective.predicts, task
        )
    filled = fill_held_out_blanks(plan, corpus, inputs, state) if objective.fills_blanks else []
    return Report(int(jax.device_get(state.step)), {"this model": scores, **others}, filled)


def fill_held_out_blanks(
    plan: Experiment, corpus: PreparedCorpus, inputs: Inputs, state: TrainState
) -> list[dict]:
    """What a masked language model puts where a word of a held-out sentence is left out."""
    held_out, tokenizer = inputs.held_out, corpus.tokenizer
    masked_logits = plan.compiled_masked_logits()
    layout, each = held_out.form.layout, -(-BLANKS // len(held_out.splits))
    frame = (layout.head_first, layout.tail + layout.end)
    sentences = [
        blank
        for split in held_out.splits.values()
        for blank in blanks.pick_blanks(split, tokenizer, each, plan.settings.seed, frame)
    ]
    return blanks.fill_blanks(
        sentences,
        tokenizer,
        held_out.spec,
        lambda batch: masked_logits(state.params, plan.place_whole(batch)),
    )


def opening(plan: Experiment, inputs: Inputs, done: int) -> str:
    """What is about to happen, in three lines."""
    settings, devices = plan.settings, jax.devices()
    sources = {name: split for phase in inputs.phases for name, split in phase.splits.items()}
    trained, held_out = sources.values(), inputs.held_out.splits.values()
    model = settings.model
    begin = f"Resuming at step {done:,} of" if done else "Training for"
    start = f", from the parameters of {settings.init_from}" if settings.init_from else ""
    return (
        f"Corpus: {sum(split.documents for split in trained):,} documents,"
        f" {sum(split.tokens for split in trained):,} tokens to train on;"
        f" {sum(split.documents for split in held_out):,} documents held out.\n"
        f"Model: {model['family']}, {plan.parameter_count():,} parameters, computing in"
        f" {model['dtype']} on {len(devices)} x {devices[0].device_kind}.\n"
        f"{begin} {settings.train.steps:,} steps with {settings.optimizer.name}{start}."
    )


def closing(work: Workdir) -> str:
    """Where everything is, and what to type next."""
    path, text = flags.FLAGS["config"].config_filename, str(work.path)
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
