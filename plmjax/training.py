"""From the plan of a run to its last state: inputs, hooks, and going back where the guard asks."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from plmjax import starting
from plmjax.data.pipeline import Input
from plmjax.data.preparation import PreparedCorpus
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.evals.held_out import evaluate
from plmjax.evals.text_size import TextSize, joined_rows, text_size
from plmjax.experiment import Experiment, Settings
from plmjax.phases import held_out_input, train_input
from plmjax.rewinds import Rewind, next_rewind, passed_over
from plmjax.task_answers import Answering, answering
from plmjax.task_figures import metric_of
from plmjax.task_report import scores_of
from plmjax.train import grown, hooks, metrics
from plmjax.train.carried import handing_on
from plmjax.train.checkpoints import Checkpoints
from plmjax.train.chosen import monitors
from plmjax.train.guard import BadUpdate, RewindAsked
from plmjax.train.loop import RUN_AHEAD, Phase, train
from plmjax.train.other_runs import parameters_of
from plmjax.train.state import TrainState
from plmjax.train.stopping import AgreedStop
from plmjax.train.watchdog import PATIENCE, Moved, Watchdog
from plmjax.train.workdir import Workdir
from plmjax.types import Batch


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Where batches come from: for each of the plan's phases, and for evaluation.

    whole_held_out: all parts of the batches of which `held_out` has this process's.
    objective: what reads them. tokenizer: what they are made with.
    """

    phases: tuple[Input, ...]
    held_out: Input
    whole_held_out: Input
    objective: nn.Module
    tokenizer: Tokenizer

    def with_rows_from(self, shortest: int) -> "Inputs":
        """Those of a labelled task with batches as long as their longest row; see
        `LabelledInput.with_rows_from`."""
        phases = tuple(phase.with_rows_from(shortest) for phase in self.phases)
        held_out = self.held_out.with_rows_from(shortest)
        whole = self.whole_held_out.with_rows_from(shortest)
        return dataclasses.replace(self, phases=phases, held_out=held_out, whole_held_out=whole)

    @functools.cached_property
    def text(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """The held-out text as `joined_rows` has it; None where it is not read from the left."""
        if not hasattr(self.objective, "histories"):
            return None
        return joined_rows(self.whole_held_out.evaluation_batches(), self.objective.histories)

    @functools.cached_property
    def text_size(self) -> TextSize | None:
        """How much text is predicted in an evaluation; None where `text` is."""
        if self.text is None:
            return None
        tokens, _, predicted = self.text
        return text_size(tokens, predicted, self.tokenizer.decode, self.tokenizer.special_ids)

    def text_measures(self, scores: Mapping[str, float]) -> dict[str, float]:
        """What an evaluation's loss is in bits per byte and per word; see `TextSize.measures`."""
        size = self.text_size
        return {} if size is None else size.measures(scores, self.objective.predicts)


def open_inputs(plan: Experiment, corpus: PreparedCorpus) -> Inputs:
    """Opens the inputs of a run, this process's part of each batch.

    Raises:
      UserError: if there is too little text for a batch, to train on or held out.
    """
    seed, parts = plan.settings.seed, plan.own_parts
    phases = tuple(train_input(phase, corpus, seed, parts) for phase in plan.phases)
    for phase in phases:
        phase.epoch_sizes()
    held_out = (held_out_input(plan.phases[-1], corpus, seed, of) for of in (parts, (0, 1)))
    inputs = Inputs(phases, *held_out, plan.objective, corpus.tokenizer)
    return inputs.with_rows_from(plan.shortest) if plan.settings.task else inputs


def open_checkpoints(settings: Settings, work: Workdir, say: Callable[[str], None]) -> Checkpoints:
    """The run's checkpoints."""
    return Checkpoints(work.path / "checkpoints", settings.checkpoint, say)


@dataclasses.dataclass(frozen=True)
class Training:
    """A run that trains, in one of its processes.

    plan, corpus, inputs, work: of the run. watchdog: of this process, with the group of all.
    say: prints, in the process that does.
    """

    plan: Experiment
    corpus: PreparedCorpus
    inputs: Inputs
    work: Workdir
    watchdog: Watchdog
    say: Callable[[str], None]

    @functools.cached_property
    def answered(self) -> Answering:
        """What asks the model about labelled sets, in the training and after it: compiled once."""
        return answering(self.plan)

    def initial_state(self, checkpoints: Checkpoints, newest: int | None) -> TrainState:
        """The run's own `newest` checkpoint; without one `begun_state`."""
        plan = self.plan
        missing = {"guard": plan.fresh_guard, "carried": plan.fresh_carried}
        if newest is not None:
            return checkpoints.restore(newest, plan.abstract_state, missing)
        return self.begun_state()

    def begun_state(self) -> TrainState:
        """The state at step 0: fresh, with the parameters of `init_from` if that is given.

        Heads that the other run has not are fresh, and those that this one has not are left out;
        both are said.

        Raises:
          UserError: if `init_from` names no run, or one whose parameters mean something else.
        """
        plan = self.plan
        if not plan.settings.init_from:
            return plan.fresh_state()
        other = Workdir(plan.settings.init_from, "config.init_from")
        run = other.stored()
        if run is None:
            raise UserError(f"{other.name} is not the workdir of a run: it has no run.json")
        if run["corpus"].get("vocabulary") != self.corpus.tokenizer.digest:
            path = run["corpus"].get("path")
            own = f"its own: --config.corpus.vocab_file={path}/vocab.txt"
            if self.corpus.tokenizer.kind != "wordpiece":
                own = f"prepare the corpus with the tokenizer in {path}"
            raise UserError(
                f"{other.name} was trained with another vocabulary than this corpus has; {own}"
            )
        fresh = plan.fresh_state()
        known = self._known(other, run["config"]["model"], flatten_dict(fresh.params))
        return fresh.replace(params=unflatten_dict(flatten_dict(fresh.params) | known))

    def _known(self, other: Workdir, model: Mapping[str, Any], fresh: Any) -> dict[tuple, Any]:
        """The parameters of another run by path; where its vocabulary is smaller, the entries that
        it has not are those of `fresh`, which has all parameters by path."""
        plan, checkpoints = self.plan, other.path / "checkpoints"
        like, size = plan.abstract_state.params, model["vocab_size"]
        more = plan.settings.model["vocab_size"] - size
        if more <= 0:
            return flatten_dict(parameters_of(checkpoints, like, self.say))
        like = grown.as_stored(like, plan.boxed, size, model["vocab_multiple"])
        known = flatten_dict(parameters_of(checkpoints, like, self.say))
        self.say(f"{other.name} has a vocabulary of {size:,}; {more} entries behind it are fresh")
        boxed = flatten_dict(plan.boxed)
        both = ({path: some[path] for path in known} for some in (fresh, boxed))
        return grown.grown(known, *both, size)

    def run(self, checkpoints: Checkpoints, state: TrainState, done: int) -> TrainState:
        """Trains to the end, back from the last checkpoint as often as the guard asks for it.

        Args:
          checkpoints: of the run; closed at the end.
          state: where to begin. done: the updates it has seen.

        Returns:
          The last state.
        """
        plan = self.plan
        is_asked = bool(plan.settings.task)
        evaluation = self.answered if is_asked else plan.compiled_evaluation_step()
        steps = plan.compiled_train_step(), evaluation
        rewinds = [Rewind.of(each) for each in self.work.rewinds()]
        with self._stop_signal(done) as stop:
            while True:
                try:
                    state = self._to_end(steps, checkpoints, state, done, rewinds, stop)
                    checkpoints.close()
                    return state
                except RewindAsked as asked:
                    bad = asked.bad
                # Out here no traceback holds the state that is given up.
                checkpoints.close()
                checkpoints = open_checkpoints(self.plan.settings, self.work, self.say)
                newest = self._go_back(bad, checkpoints, rewinds)
                state, done = self.initial_state(checkpoints, newest), newest or 0

    def _go_back(
        self, bad: BadUpdate, checkpoints: Checkpoints, rewinds: list[Rewind]
    ) -> int | None:
        """Adds to `rewinds`, here and in the run's record; returns the checkpoint to begin from."""
        group, settings, number = self.watchdog.group, self.plan.settings, len(rewinds)
        limit, what = starting.PREPARATION_SECONDS, "the way back to the last checkpoint"
        newest = group.decided(f"rewind/{number}", checkpoints.newest_intact, limit, what)
        rewind = next_rewind(bad, newest or 0, self.plan.phases, rewinds, settings.guard)
        rewinds.append(rewind)

        def write() -> None:
            self.work.add_rewind(dataclasses.asdict(rewind))

        group.decided(f"rewound/{number}", write, limit, what)
        self.say(
            f"{bad}; going back to step {newest or 0:,}: {rewind.passed:,} examples passed over"
        )
        return newest

    def _to_end(
        self,
        steps: tuple[Callable, Callable],
        checkpoints: Checkpoints,
        state: TrainState,
        done: int,
        rewinds: Sequence[Rewind],
        stop: hooks.StopSignal | AgreedStop,
    ) -> TrainState:
        """Sets up the hooks and the phases and trains; returns the last state.

        `steps` are the compiled train step and evaluation step, of a labelled task what answers it;
        `done` are the updates that `state` has seen.

        Raises:
          RewindAsked: where the guard asks for it; nothing is being written then.
        """
        step, evaluation_step = steps
        settings, watchdog, group = self.plan.settings, self.watchdog, self.watchdog.group
        phases = []
        for phase, source in zip(self.plan.phases, self.inputs.phases, strict=True):
            batches = _supervised(watchdog, source.passing_over(passed_over(rewinds)))
            phases.append(Phase(phase.name, phase.first, phase.last, step, batches))
        writer = metrics.MetricsWriter(self.work.path, done) if group.first else metrics.NoWriter()
        every = self._hooks(writer, evaluation_step, checkpoints, done, rewinds, stop)
        waits = True
        try:
            with watchdog.expecting_steps(settings.train.stall_seconds, self.work.path):
                # Gloo gives up on a process that comes to its first collective half a minute late.
                key = f"trains/{len(rewinds)}"
                group.gather(key, "", starting.PREPARATION_SECONDS, "the first step")
                return train(state, phases, every, self.plan.place)
        except (hooks.Preempted, RewindAsked):
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

    def _hooks(
        self,
        writer: metrics.MetricsWriter | metrics.NoWriter,
        evaluation_step: Callable,
        checkpoints: Checkpoints,
        done: int,
        rewinds: Sequence[Rewind],
        stop: hooks.StopSignal | AgreedStop,
    ) -> list[hooks.Hook]:
        """What happens beside the updates, in order."""
        settings, watchdog = self.plan.settings, self.watchdog
        total = settings.train.steps

        def moved() -> None:
            watchdog.progress("evaluates", PATIENCE)

        def place_to_evaluate(batch: Mapping[str, np.ndarray]) -> Batch:
            moved()
            return self.plan.place(batch)

        def evaluate_held_out(params) -> dict[str, float]:
            if settings.task:
                source = self.inputs.held_out
                return scores_of(source, *evaluation_step(params, source, moved))
            batches = self.inputs.held_out.evaluation_batches()
            step = handing_on(evaluation_step, self.plan.fresh_carried())
            scores = evaluate(step, params, batches, place_to_evaluate)
            return scores | self.inputs.text_measures(scores)

        watch = hooks.Watch(settings.guard, behind=RUN_AHEAD + 1)
        log = hooks.Log(
            writer,
            every=settings.train.log_every,
            first_step=done,
            last_step=total,
            learning_rate=self.plan.learning_rate,
            say=self.say,
            rewound_to=[rewind.back_to for rewind in rewinds],
        )
        evaluation = hooks.Evaluate(
            evaluate_held_out,
            writer,
            every=settings.evaluation.every,
            last_step=total,
            say=self.say,
        )
        save = hooks.Save(
            checkpoints,
            writer,
            log,
            evaluation,
            stop,
            watch=watch,
            every=settings.checkpoint.every,
            last_step=total,
            monitor=self._monitor(),
            best=self._best(done),
        )
        profile = self._profile(done) if watchdog.group.first else []
        made = Moved(watchdog, "logs, evaluates or saves", PATIENCE)
        after = Moved(watchdog, "waits for its devices")
        return [made, watch, log, evaluation, save, *profile, after]

    def _monitor(self) -> Callable[[Mapping[str, float]], float]:
        """What the best checkpoint has least of, from the scores of an evaluation."""
        if self.plan.settings.task:
            main = metric_of(self.corpus.task).main
            return lambda scores: -scores[main]
        return operator.itemgetter(self.plan.objective.monitor)

    def _best(self, done: int) -> float | None:
        """Of a labelled task, what the best checkpoint up to step `done` has least of; None where
        no best one is kept."""
        if not self.plan.settings.task or not self.plan.settings.checkpoint.keep_best:
            return None
        known = monitors(self.work.path / "checkpoints")
        return min((x for step, x in known.items() if step <= done), default=math.inf)

    def _stop_signal(self, done: int) -> hooks.StopSignal | AgreedStop:
        """What listens to signals; of several processes all stop after the same step."""
        if self.watchdog.group.size == 1:
            return hooks.StopSignal()
        stop = AgreedStop(self.watchdog.group, done)
        self.watchdog.agree_by(stop)
        return stop

    def _profile(self, done: int) -> list[hooks.Profile]:
        """The hook that `train.profile_steps` asks for, if it does and its steps are to come."""
        text, settings = self.plan.settings.train.profile_steps, self.plan.settings
        steps = hooks.profiled_range(text, settings.train.steps)
        if steps is None:
            return []
        if steps[0] <= done:
            self.say(f"--profile_steps={text} begins before step {done}: nothing is recorded.")
            return []
        return [hooks.Profile(self.work.path / "profile", *steps, self.say)]


def _supervised(
    watchdog: Watchdog, source: Input
) -> Callable[[int, int], Iterator[Mapping[str, np.ndarray]]]:
    """`source.batches`; one that takes too long is a stall."""
    return lambda first, last: watchdog.batches(source.batches(first, last))
