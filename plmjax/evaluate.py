"""What a model scores: python -m plmjax.evaluate --model=RUN --task=2D+ --shots=0,8

Of a run that was fine-tuned, on another file of its task:
--model=RUN --data=FILE    the file, or the name of a split of its benchmark; without
                           labels it is answered, and nothing is measured
--benchmark=NAME --folder=FOLDER   another benchmark with the same question and labels, such as
                           glue/ax of a run on glue/mnli, and where its files are
--show=N                   prints N examples with what the model says, wrong ones first
--items=FILE               writes what it says of each, a JSON object a line
--submission=FILE          writes what the benchmark's leaderboard takes
--null_threshold=X         of --submission of SQuAD 2.0: no answer where none is believed more than
                           the best one by more than X (default: best on the development set)
and --checkpoint, --batch_size, --dtype, --mesh, --json as below. Others are asked tasks that are
told in the prompt:

--model=PATH       a run's workdir, or a folder of Hugging Face's
--checkpoint=last|best|STEP   of the run, which one (default last); the best is that which scored
                   best on what is held out as it was trained
--task=NAME,...    GPT-3's arithmetic (2D+ 2D- 3D+ 3D- 4D+ 4D- 5D+ 5D- 2Dx 1DC) and scrambled words
                   (CL A1 A2 RI RW), those of configs/tasks/ (lambada, probes_en, tnews, ...), a
                   file of your own that ends in .toml, or perplexity:FILE of a text
--shots=0,1,8      numbers of examples in the prompt (default 0)
--data=FILE --train=FILE   the items and where examples are drawn from, JSON lines, in place of the
                   task's; where both are the same, an item is none of its own examples
--limit=N          the first N items of each task
--seed=N           of examples and generated items (default 0)
--words=FILE       a text whose 10,000 most frequent words are scrambled
--beams=N          of answers that are written, in place of the task's; 1 is greedy
--by_likelihood    of answers that are written: nothing is written, and a right answer is one whose
                   every token is the model's first choice after those before
--stride=N         of perplexity: tokens scored in each window, the others of it being context;
                   without, windows do not overlap
--order=left|right|random    of perplexity, by a model that fills in blanks: each token is told from
                   those before it in the order, all others masked
--orders=N         of --order=random: orders drawn for each window (default 1), by --seed
--window=N         of --order: tokens told together (default: as many as the model was trained on)
--refuse_long      stop at a prompt longer than the model; without, it is cut from the left
--batch_size=N     texts at once (default 16)
--dtype=float32|bfloat16   that the model computes in (default: as it was trained)
--mesh=AXIS=N,...  how devices split the model, such as tensor=4,fsdp=2
--compilation_cache=FOLDER, --compilation_cache_gib=N    as of plmjax.main
--items=FILE       writes what the model says of each item, a JSON object a line
--json             prints the figures as JSON, one a line, in place of a table
--list             prints the tasks there are, and stops

--lm_eval=TASK,... tasks of EleutherAI's lm-evaluation-harness in place of --task, which needs
                   pip install lm_eval; --lm_eval_path=FOLDER has more of them
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from etils import epath

from plmjax import cli
from plmjax.errors import UserError
from plmjax.parallel.mesh import MeshConfig, parsed_mesh

MODEL = flags.DEFINE_string("model", None, "A run's workdir or a folder of Hugging Face's.")
TASK = flags.DEFINE_list("task", [], "Tasks.")
SHOTS = flags.DEFINE_list("shots", ["0"], "Numbers of examples.")
DATA = flags.DEFINE_string("data", "", "The items, JSON lines.")
TRAIN = flags.DEFINE_string("train", "", "Where examples are drawn from, JSON lines.")
LIMIT = flags.DEFINE_integer("limit", 0, "Items of a task.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Of examples and generated items.", lower_bound=0)
WORDS = flags.DEFINE_string("words", "", "A text whose words are scrambled.")
BEAMS = flags.DEFINE_integer("beams", 0, "Of answers that are written.", lower_bound=0)
BY_LIKELIHOOD = flags.DEFINE_bool("by_likelihood", False, "Score answers in place of writing.")
STRIDE = flags.DEFINE_integer("stride", 0, "Tokens scored in each window.", lower_bound=0)
ORDER = flags.DEFINE_enum("order", None, ["left", "right", "random"], "Of perplexity.")
ORDERS = flags.DEFINE_integer("orders", 1, "Orders drawn for each window.", lower_bound=1)
WINDOW = flags.DEFINE_integer("window", 0, "Tokens told together.", lower_bound=0)
REFUSE = flags.DEFINE_bool("refuse_long", False, "Stop at a prompt longer than the model.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Texts at once.", lower_bound=1)
DTYPE = flags.DEFINE_string("dtype", "", "float32 or bfloat16.")
MESH = flags.DEFINE_string("mesh", "", "How devices split the model, such as tensor=4,fsdp=2.")
ITEMS = flags.DEFINE_string("items", "", "Where to write what is said of each item.")
AS_JSON = flags.DEFINE_bool("json", False, "Print JSON lines.")
LIST = flags.DEFINE_bool("list", False, "Print the tasks, and stop.")
LM_EVAL = flags.DEFINE_list("lm_eval", [], "Tasks of lm-evaluation-harness.")
LM_EVAL_PATH = flags.DEFINE_string("lm_eval_path", "", "A folder with more of its tasks.")

CHECKPOINT = flags.DEFINE_string("checkpoint", "last", "Which one: last, best or a step.")
SHOW = flags.DEFINE_integer("show", 0, "Examples that are printed.", lower_bound=0)
BENCHMARK = flags.DEFINE_string("benchmark", "", "Another benchmark with the same question.")
FOLDER = flags.DEFINE_string("folder", "", "Where the files of a benchmark are.")
SUBMISSION = flags.DEFINE_string("submission", "", "Where to write what a leaderboard takes.")
NULL_THRESHOLD = flags.DEFINE_float("null_threshold", None, "Above which there is no answer.")

cli.define_cache_flags()

_TEXT = "perplexity:"
_OF_TUNED = ("show", "benchmark", "folder", "submission", "null_threshold")
_OF_PROMPTS = (
    *("shots", "train", "limit", "seed", "words", "beams", "by_likelihood", "stride", "order"),
    *("orders", "window", "refuse_long", "lm_eval_path"),
)


def main(rest: Sequence[str]) -> int:
    """Runs what the flags say; returns the exit code."""
    if rest:
        raise UserError(f"'{rest[0]}' after -- has no meaning here; leave it out")
    from plmjax.evals.in_context import splits

    if LIST.value:
        print(splits.listed())
        return 0
    from plmjax import tuned

    if tuned.is_tuned(MODEL.value or ""):
        return _on_its_task()
    for name in _OF_TUNED:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} is of a fine-tuned run; --model names another model")
    if not TASK.value and not LM_EVAL.value:
        raise UserError("--task is missing, for example --task=2D+; --list prints what there is")
    if TASK.value and LM_EVAL.value:
        raise UserError("--task and --lm_eval exclude each other; give one of them")
    tasks = [name if name.startswith(_TEXT) else splits.find_task(name) for name in TASK.value]
    shots = _shots(SHOTS.value)
    _check_order(tasks)
    if MODEL.value is None:
        raise UserError("--model is missing, for example --model=runs/quickstart")
    mesh = parsed_mesh(MESH.value)
    _check(tasks, shots)
    if LM_EVAL.value:
        from plmjax.harness import require_lm_eval

        require_lm_eval()
    model = _model(mesh)
    if LM_EVAL.value:
        from plmjax import harness

        rows, records = harness.run(model, LM_EVAL.value, shots, LIMIT.value, LM_EVAL_PATH.value)
    else:
        rows, records = _run(model, tasks, shots)
    if ITEMS.value:
        _write(records)
    from plmjax.evals.in_context.results import table

    lines = [json.dumps(row.to_json(), ensure_ascii=False) for row in rows]
    print("\n".join(lines) if AS_JSON.value else table(rows))
    return 0


def _on_its_task() -> int:
    """Evaluates a fine-tuned run; returns the exit code."""
    from plmjax import task_examples, tuned
    from plmjax.evals import submissions

    if TASK.value or LM_EVAL.value:
        raise UserError(
            f"--model={MODEL.value} was fine-tuned and answers its own task alone; give --data=FILE"
            " in place of --task"
        )
    if not DATA.value:
        raise UserError("--data is missing: the file of examples that the run is measured on")
    for name in _OF_PROMPTS:
        if flags.FLAGS[name].present:
            raise UserError(
                f"--{name} is of tasks that are told in the prompt, and --model={MODEL.value} was"
                " fine-tuned; leave it out"
            )
    if NULL_THRESHOLD.value is not None and not SUBMISSION.value:
        raise UserError("--null_threshold does nothing without --submission; give that, too")
    for name, path in (("items", ITEMS.value), ("submission", SUBMISSION.value)):
        if path and not epath.Path(path).parent.is_dir():
            raise UserError(f"--{name}={path}: there is no such folder; make it, or give another")
    given = BATCH_SIZE.value, DTYPE.value, parsed_mesh(MESH.value)
    run = tuned.open_tuned(MODEL.value, *given, say, CHECKPOINT.value)
    examples = tuned.read(run, DATA.value, BENCHMARK.value, FOLDER.value)
    if not (examples.labelled or ITEMS.value or SUBMISSION.value or SHOW.value):
        raise UserError(
            f"{DATA.value} has no '{examples.task.label}' to measure by; give --items=FILE, which"
            " has what the model says of each example, --submission=FILE or --show=20"
        )
    if SUBMISSION.value:
        submissions.submission(examples.task.benchmark, DATA.value, examples.task.kind)
    report, records = tuned.answered(run, examples, say)
    say(f"{MODEL.value}: the checkpoint of step {run.step:,} ({run.told})")
    if SHOW.value:
        task_examples.show(examples, records, SHOW.value)
    if ITEMS.value:
        _write(records)
    if SUBMISSION.value:
        due, text = tuned.submitted(MODEL.value, examples, records, NULL_THRESHOLD.value)
        epath.Path(SUBMISSION.value).write_text(text)
        say(f"{SUBMISSION.value} has {len(records)} answers; a leaderboard takes it as {due.file}.")
    _print(report, len(records))
    return 0


def _print(report: Any, count: int) -> None:
    """Prints the figures of a fine-tuned run; without labels, how many examples were answered."""
    if report is not None:
        print(json.dumps(report.scores["this model"]) if AS_JSON.value else report.text())
    elif AS_JSON.value:
        print(json.dumps({"answered": count, "labelled": False}))
    else:
        print(f"{count} examples of {DATA.value} answered; they have no labels to measure by.")


def _options() -> Any:
    from plmjax.evals.in_context.splits import Options

    return Options(
        seed=SEED.value,
        limit=LIMIT.value,
        data=DATA.value,
        train=TRAIN.value,
        words=WORDS.value,
        beams=BEAMS.value,
        refuse_long=REFUSE.value,
    )


def _check(tasks: Sequence, shots: Sequence[int]) -> None:
    """Raises a UserError for what is wrong with the data of a task, before any is asked."""
    from plmjax.evals.in_context import splits

    for task in (task for task in tasks if not isinstance(task, str)):
        data = splits.splits(task, _options())
        for count in shots:
            splits.check_shots(task, data, count)


def _check_order(tasks: Sequence) -> None:
    """Raises a UserError for flags of an order that would do nothing."""
    found = flags.FLAGS
    if ORDER.value is None:
        given = [name for name in ("orders", "window") if found[name].present]
        if given:
            raise UserError(f"--{given[0]} does nothing without --order; give --order=random too")
        return
    if not tasks or not all(isinstance(task, str) for task in tasks):
        raise UserError(f"--order={ORDER.value} is of --task=perplexity:FILE alone; leave it out")
    if STRIDE.value:
        raise UserError("--stride with --order has no meaning; give --window=N")
    if found["orders"].present and ORDER.value != "random":
        raise UserError(f"--orders with --order={ORDER.value}, of which there is one; leave it out")


def _run(model: Any, tasks: Sequence, shots: Sequence[int]) -> tuple[list, list]:
    from plmjax import evaluating

    if BY_LIKELIHOOD.value:
        tasks = [_scored(task) for task in tasks]
    options, in_order = _options(), None
    if ORDER.value is not None:
        from plmjax.evals.in_context.perplexity import InOrder

        in_order = InOrder(ORDER.value, ORDERS.value, SEED.value, WINDOW.value)
    rows, records = [], []
    for task in tasks:
        if isinstance(task, str):
            file = task.removeprefix(_TEXT)
            found = [evaluating.text_perplexity(model, file, STRIDE.value, say, in_order)]
        else:
            found = evaluating.evaluate(model, task, shots, options, say)
        for some_rows, some_records in found:
            rows += some_rows
            records += some_records
    return rows, records


def _scored(task: Any) -> Any:
    """The task with its answers scored where they would be written."""
    is_written = not isinstance(task, str) and task.kind == "answer"
    return dataclasses.replace(task, kind="greedy") if is_written else task


def _model(mesh: MeshConfig) -> Any:
    from plmjax.asking import Model
    from plmjax.loaded import load_asked

    return Model(load_asked(MODEL.value, DTYPE.value, mesh, CHECKPOINT.value), BATCH_SIZE.value)


def _shots(given: Sequence[str]) -> list[int]:
    if not given or not all(word.isdigit() for word in given):
        raise UserError(
            f"--shots={','.join(given)}; give numbers of examples such as --shots=0,1,8"
        )
    return list(map(int, given))


def _write(records: Sequence[dict]) -> None:
    with open(ITEMS.value, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def say(line: str) -> None:
    """Prints beside the results, at once."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run_without_config(main, __doc__, computes=True)
