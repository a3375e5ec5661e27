"""Shows what a model is fed: python -m plmjax.preview --config=configs/bert.py --step=1000

--config=FILE.py[:ARGUMENT]    the config, with overrides, as for plmjax.main
--step=K                       the batch of the update from K to K+1 (default 0)
--process_index=I --process_count=N   the part of it that host I of N reads
--examples=N                   how many of its examples are shown (default 4)
--digest                       prints a digest of the batch's bytes instead
--json                         prints each example as a JSON object, one a line, in batch order:
                               what N hosts print, one after the other, is what one host prints

Nothing is trained, and no accelerator is used. A batch is a pure function of config, store, seed
and step: the same command prints the same, whatever the machine, the day, and the steps before.
"""

import json
import os
import sys

from absl import flags
from rich.console import Console

from plmjax import cli, experiment
from plmjax.data import showing
from plmjax.data.labelled.batches import LabelledInput
from plmjax.data.labelled.sets import LabelledCorpus
from plmjax.data.pipeline import Input
from plmjax.data.plans import FRAMES
from plmjax.data.preparation import PreparedCorpus
from plmjax.errors import UserError
from plmjax.phases import PhasePlan, train_input

CONFIG = cli.define_config_flag()
STEP = flags.DEFINE_integer("step", 0, "Which batch.", lower_bound=0)
INDEX = flags.DEFINE_integer("process_index", 0, "Which host.", lower_bound=0)
COUNT = flags.DEFINE_integer("process_count", 1, "Of how many hosts.", lower_bound=1)
EXAMPLES = flags.DEFINE_integer("examples", 4, "How many are shown.", lower_bound=1)
DIGEST = flags.DEFINE_bool("digest", False, "Print a digest of the batch.")
JSON = flags.DEFINE_bool("json", False, "Print JSON lines.")


def main() -> int:
    """Prints what the flags say; returns the exit code."""
    if INDEX.value >= COUNT.value:
        raise UserError(
            f"--process_index={INDEX.value} with --process_count={COUNT.value}; processes are "
            f"numbered from 0 to {COUNT.value - 1}"
        )
    if DIGEST.value and JSON.value:
        raise UserError("--digest and --json exclude each other; give one of them")
    settings = experiment.read_settings(CONFIG.value)
    corpus = experiment.open_corpus(settings, quiet=True)
    phases = experiment.planned_phases(settings)
    phase = phase_of(phases, STEP.value)
    host = (INDEX.value, COUNT.value)
    source = train_input(phase, corpus, settings.seed, host)
    if settings.task and not DIGEST.value:
        show_labelled(source, corpus, STEP.value)
    elif settings.task:
        print(f"{showing.digest(source.batch(STEP.value))}  step {STEP.value:,}")
    elif DIGEST.value:
        digest = showing.digest(source.batch(STEP.value))
        print(f"{digest}  {place(source.at(STEP.value), STEP.value, host)}")
    elif JSON.value:
        print_records(source.at(STEP.value), corpus, STEP.value)
    else:
        show(source.at(STEP.value), corpus, phase, STEP.value, host)
    return 0


def show_labelled(source: LabelledInput, corpus: LabelledCorpus, step: int) -> None:
    """Labelled examples as the model reads them, one JSON object each with --json."""
    batch, features = source.batch(step), source.features
    for at, number in enumerate(source.numbers(step)[: None if JSON.value else EXAMPLES.value]):
        row = source.examples.rows[features.owners[number]]
        mask = batch["attention_mask"][at].astype(bool)
        texts = batch["tokens"][at].reshape(-1, mask.shape[-1])
        pairs = zip(texts, mask.reshape(texts.shape), strict=True)
        added = FRAMES[source.config.frame].added
        read = [showing.with_added(ids[real], corpus.tokenizer, added) for ids, real in pairs]
        truth = features.truth(batch, at, corpus.tokenizer)
        if JSON.value:
            print(json.dumps({"where": row.where, "read": read, **truth}, ensure_ascii=False))
            continue
        print(f"\n{row.where}")
        print("\n".join(f"  {text}" for text in read))
        print(f"  {', '.join(f'{key} {value}' for key, value in truth.items())}")


def phase_of(phases: tuple[PhasePlan, ...], step: int) -> PhasePlan:
    """The phase that the step belongs to; beyond the run's end, the last one."""
    return next((phase for phase in phases if step < phase.last), phases[-1])


def place(source: Input, step: int, host: tuple[int, int]) -> str:
    """Which examples of the run these are."""
    first, size = source.first_example_of(step), source.local_size
    return f"step {step:,}, host {host[0]} of {host[1]}, examples {first:,} to {first + size - 1:,}"


def print_records(source: Input, corpus: PreparedCorpus, step: int) -> None:
    """One JSON object an example."""
    batch, names = source.batch(step), list(source.splits)
    first, sources = source.first_example_of(step), source.examples(step).sources
    for number in range(source.local_size):
        row = {key: values[number] for key, values in batch.items()}
        about = {"step": step, "example": first + number, "source": names[sources[number]]}
        sys.stdout.write(showing.record(row, corpus.tokenizer, **about) + "\n")


def show(
    source: Input, corpus: PreparedCorpus, phase: PhasePlan, step: int, host: tuple[int, int]
) -> None:
    """Examples for the eye, and what holds of the whole batch."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
    console = Console(highlight=False, soft_wrap=False, width=width)
    batch, raw, names = source.batch(step), source.rows(step), list(source.splits)
    examples, config = source.examples(step), source.config
    console.print(f"{place(source, step, host)}; {phase.where}")
    console.print(
        f"plan {config.plan['name']}, masking {config.masking['name']}, frame {config.frame}, "
        f"{config.batch_size} x {config.seq_len}; sources "
        + ", ".join(f"{name} {share:.2%}" for name, share in source.shares.items()),
        markup=False,
    )
    for number in range(min(EXAMPLES.value, source.local_size)):
        row = {key: values[number] for key, values in batch.items()}
        before = {key: values[number] for key, values in raw.items()}
        label = f", {asked}" if (asked := source.form.asked(row)) else ""
        title = f"example {source.first_example_of(step) + number:,}"
        console.print(f"\n{title}, {names[examples.sources[number]]}{label}", style="bold")
        for line in showing.rendered(row, before, corpus.tokenizer):
            console.print(line)
    console.print()
    if "masked_positions" in batch:
        console.print(showing.LEGEND)
    for line in facts(source, corpus, batch, raw):
        console.print(line, markup=False)


def facts(source: Input, corpus: PreparedCorpus, batch: dict, raw: dict) -> list[str]:
    """What holds of the batch, and of the packing of the whole epoch."""
    lines = []
    if found := showing.shares([(batch, raw)], corpus.tokenizer):
        shown = ", ".join(f"{found[key]:.1%} {key}" for key in ("hidden", "kept", "replaced"))
        lines.append(f"{found['predicted']:.1%} of the text is predicted, of that {shown}.")
    used = (raw["attention_mask"] > 0).mean()
    lines.append(f"{used:.1%} of the batch's places hold a token, the rest is padding.")
    for name, share in source.packing_efficiency.items():
        lines.append(f"{name}: packing fills {share:.2%} of the places of an epoch.")
    if lost := int(batch["overflow"].sum()):
        lines.append(f"{lost} targets of this batch find no slot; raise max_predictions.")
    return lines


if __name__ == "__main__":
    cli.run(main, CONFIG, __doc__)
