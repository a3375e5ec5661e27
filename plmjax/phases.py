"""The parts of a run, and the batches of each."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from plmjax.data.batch_form import BatchForm, DataConfig, changed_choice, named
from plmjax.data.labelled.batches import LabelledForm, LabelledInput
from plmjax.data.labelled.sets import LabelledCorpus, LabelledSet
from plmjax.data.pipeline import Input
from plmjax.data.preparation import CorpusConfig, PreparedCorpus, foreseen_tokenizer
from plmjax.data.progress import Reporter
from plmjax.data.ramp import RampConfig, Rows, growing_rows, shape_of
from plmjax.data.similar_word_tables import corpus_table_is_read, make_corpus_table
from plmjax.data.store import SplitReader, token_counts
from plmjax.data.tasks import TaskInput, form_of, open_input
from plmjax.data.tokenizers import Tokenizer
from plmjax.errors import UserError
from plmjax.settings import from_config

Host = tuple[int | Sequence[int], int]
"""Which host reads, or which parts of each batch are read; and of how many."""


@dataclasses.dataclass(frozen=True)
class PhasePlan:
    """A part of the run: the updates from `first` to `last` done, on batches of `data`.

    `first_example`: how many examples the phases before it use up, so that none comes twice.
    `growing`: of a part of the ramp, the rows that each of the run's steps has; a batch is filled
    up to `data.batch_size` with rows of weight 0.
    """

    name: str
    first: int
    last: int
    first_example: int
    data: DataConfig
    growing: Rows | None = None

    @property
    def where(self) -> str:
        """How the user names its settings."""
        if self.growing is not None:
            return f"config.ramp, {self.name}"
        return "config.data" if self.name == "data" else f"config.phases.{self.name}"

    @property
    def rows(self) -> Rows:
        """The rows that count of each of its steps."""
        if self.growing is not None:
            return self.growing
        return Rows((self.first,), (self.data.batch_size,), (self.first_example,))


NO_RAMP = RampConfig()


def plan_phases(
    data: DataConfig, phases: Mapping[str, Any], steps: int, ramp: RampConfig = NO_RAMP
) -> tuple[PhasePlan, ...]:
    """The phases in order, covering all steps.

    Args:
      data: what holds before the first of them.
      phases: by name, `start` and the settings of `data` that it changes.
      steps: of the whole run.
      ramp: how the batch grows to that of `data`; a phase for each shape that it has until then.

    Raises:
      UserError: for an unknown key or a wrong value in a phase, a start outside of the run, or one
        before the batch is grown.
    """
    starts = [("data", 0, data)]
    known = dataclasses.asdict(data)
    for name, changes in phases.items():
        where = f"config.phases.{name}"
        if not isinstance(changes, Mapping):
            raise UserError(f"{where}={changes!r}; expected a section with start and settings")
        changes = dict(changes)
        first = _first_step(changes.pop("start", None), steps, where)
        for key in {"plan", "masking"} & changes.keys():
            changes[key] = changed_choice(known[key], changes[key], f"{where}.{key}")
        starts.append((name, first, from_config(DataConfig, known | changes, where)))
    starts.sort(key=lambda item: item[1])
    ends = [first for _, first, _ in starts[1:]] + [steps]
    plans, used = [], 0
    if ramp.rows:
        plans, grown, used = _ramp(data, ramp, steps)
        if len(starts) > 1 and starts[1][1] < grown:
            raise UserError(
                f"config.phases.{starts[1][0]} begins at step {starts[1][1]}, and by config.ramp"
                f" the batch grows until step {grown}; begin it there or later"
            )
        starts[0] = ("data", grown, data)
    for (name, first, changed), last in zip(starts, ends, strict=True):
        if last > first:
            plans.append(PhasePlan(name, first, last, used, changed))
            used += (last - first) * changed.batch_size
    return tuple(plans)


def _ramp(data: DataConfig, ramp: RampConfig, steps: int) -> tuple[list[PhasePlan], int, int]:
    """A phase for each shape of the growing batch; the step and example at which it is grown."""
    try:
        rows = growing_rows(ramp, data.batch_size, data.seq_len)
    except UserError as error:
        raise UserError(f"config.ramp.{error}") from None
    shapes = [shape_of(each, ramp, data.batch_size) for each in rows.rows[:-1]]
    grown, plans = min(rows.steps[-1], steps), []
    for shape in dict.fromkeys(shapes):
        first = rows.steps[shapes.index(shape)]
        last = min(rows.steps[len(shapes) - shapes[::-1].index(shape)], steps)
        if first < last:
            changed = dataclasses.replace(data, batch_size=shape)
            name = f"shape of {shape} rows"
            plans.append(PhasePlan(name, first, last, rows.before(first), changed, rows))
    return plans, grown, rows.before(grown)


def tokens_seen(phases: Sequence[PhasePlan]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Counts of updates, and how many tokens the run has seen by then, straight lines between.

    Every place of the rows that count is a token.
    """
    steps, tokens, seen = [], [], 0
    for phase in phases:
        borders = [step for step in phase.rows.steps if phase.first < step < phase.last]
        places = phase.data.seq_len
        for first, last in itertools.pairwise((phase.first, *borders, phase.last)):
            steps.append(first)
            tokens.append(seen)
            seen += (last - first) * phase.rows.of(first) * places
    return (*steps, phases[-1].last), (*tokens, seen)


def _first_step(start: Any, total: int, where: str) -> int:
    """The step that a phase's `start` means: a fraction of the run, or a whole number of steps."""
    if isinstance(start, float) and 0.0 <= start < 1.0:
        return round(start * total)
    if isinstance(start, int) and not isinstance(start, bool) and 0 <= start < total:
        return start
    raise UserError(
        f"{where}.start={start!r}; expected a fraction of the run, 0 <= x < 1, or a whole number of"
        f" steps below config.train.steps={total}"
    )


def batch_form(
    phase: PhasePlan,
    config: CorpusConfig,
    corpus: PreparedCorpus | LabelledCorpus | None = None,
    tokenizer: Tokenizer | None = None,
) -> BatchForm | LabelledForm:
    """What the phase's batches are.

    Args:
      phase: one of `plan_phases`.
      config: which corpus it is.
      corpus: the same, prepared; without it, what is known of its tokenizer before that.
      tokenizer: without a corpus, what stands for its tokenizer.

    Raises:
      UserError: where the vocabulary lacks a token, or settings do not fit each other.
    """
    if isinstance(corpus, LabelledCorpus):
        known = corpus.task, len(corpus.classes), corpus.tokenizer
        return _named(phase, LabelledForm.of, phase.data, *known)
    if corpus is None:
        tokenizer = foreseen_tokenizer(config) if tokenizer is None else tokenizer
        counts = np.ones(tokenizer.vocab_size, np.int64)
        return _named(phase, form_of, phase.data, tokenizer, counts)
    counts = token_counts(list(_named(phase, phase.data.pick, corpus.train).values()))
    known = corpus.tokenizer, counts, corpus.similar_words
    return _named(phase, form_of, phase.data, *known)


def with_tables(
    corpus: PreparedCorpus, phases: Sequence[PhasePlan], quiet: bool = False
) -> PreparedCorpus:
    """The corpus, with its own table of similar words where a masking of the phases reads it."""
    read = (data for phase in phases for data in (phase.data, *phase.data.of_tasks.values()))
    if any(corpus_table_is_read(data.masking_settings) for data in read):
        make_corpus_table(corpus, Reporter(quiet))
    return corpus


def train_input(
    phase: PhasePlan, corpus: PreparedCorpus | LabelledCorpus, seed: int, host: Host
) -> Input | TaskInput | LabelledInput:
    """The batches of a phase, one host's part of each.

    Args:
      phase: one of `plan_phases`.
      corpus: what to read.
      seed: of order, pairs and masks.
      host: its index, and how many there are; or the parts of the batch that it reads, ascending,
        and of how many parts the batch consists.
    """
    if isinstance(corpus, LabelledCorpus):
        return labelled_input(phase, corpus, corpus.train["train"], seed, host)
    opened = _input(phase, corpus, corpus.train, seed, host)
    return _named(phase, opened.with_rows, phase.rows)


def held_out_input(
    phase: PhasePlan, corpus: PreparedCorpus | LabelledCorpus, seed: int, host: Host
) -> Input | TaskInput | LabelledInput:
    """The held-out documents in batches like the phase's; arguments as of `train_input`.

    Sources of so few documents that none is held out are left out.
    """
    if isinstance(corpus, LabelledCorpus):
        return labelled_input(phase, corpus, corpus.held_out["dev"], seed, host)

    def with_documents(data: DataConfig) -> dict[str, Any]:
        picked = data.pick(corpus.held_out)
        named = [name for name, split in picked.items() if split.documents] or list(picked)
        return {"sources": ",".join(named), "alpha": 1.0}

    tasks = {
        name: {**phase.data.tasks[name], **_named(phase, with_documents, task)}
        for name, task in phase.data.of_tasks.items()
    }
    changes = _named(phase, with_documents, phase.data)
    data = dataclasses.replace(phase.data, tasks=tasks, **changes)
    phase = dataclasses.replace(phase, data=data)
    return _input(phase, corpus, corpus.held_out, seed, host)


def labelled_input(
    phase: PhasePlan, corpus: LabelledCorpus, examples: LabelledSet, seed: int, host: Host
) -> LabelledInput:
    """Batches of a labelled set; arguments as of `train_input`."""

    def opened() -> LabelledInput:
        known = corpus.task, len(corpus.classes), corpus.tokenizer
        form = LabelledForm.of(phase.data, *known)
        parts, count = host
        return LabelledInput(examples, form, seed, rows=phase.rows, parts=parts, part_count=count)

    return _named(phase, opened)


def _input(
    phase: PhasePlan,
    corpus: PreparedCorpus,
    splits: Mapping[str, SplitReader],
    seed: int,
    host: Host,
) -> Input | TaskInput:
    def opened() -> Input | TaskInput:
        return open_input(
            splits,
            corpus.tokenizer,
            phase.data,
            seed,
            token_counts=token_counts(list(phase.data.pick(corpus.train).values())),
            similar_words=corpus.similar_words,
            first_step=phase.first,
            first_example=phase.first_example,
            process_index=host[0],
            process_count=host[1],
        )

    return _named(phase, opened)


def _named(phase: PhasePlan, function: Callable, *arguments: Any) -> Any:
    """Calls the function; a setting that it finds wrong is named as the user writes it."""
    return named(phase.where, phase.data, function, *arguments)
