"""EleutherAI's lm-evaluation-harness on our models: pip install lm_eval.

`language_model(model)` is an `lm_eval.api.model.LM`, for `lm_eval.simple_evaluate`; the verb
`plmjax.evaluate --lm_eval=TASK` is the short way. The harness is not imported before it is asked.
"""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plmjax.asking import Model
from plmjax.errors import UserError
from plmjax.evals.in_context.prompts import Piece
from plmjax.evals.in_context.results import Row
from plmjax.settings import nearest

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

_MOST_NEW = 256
"""Tokens of an answer where a task says nothing: as of the harness's own models."""


def require_lm_eval() -> None:
    """Raises a UserError that says how to install the harness where it is missing."""
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            "--lm_eval needs EleutherAI's lm-evaluation-harness, which is not installed:"
            " pip install lm_eval"
        )


def language_model(model: Model) -> "LM":
    """The model as the harness asks one.

    Raises:
      UserError: if the harness is not installed.
    """
    require_lm_eval()
    from lm_eval.api.model import LM

    class Plmjax(LM):
        """See `language_model`."""

        tokenizer_name = model.loaded.path

        def loglikelihood(self, requests: "list[Instance]", **_: Any) -> list[tuple[float, bool]]:
            pieces = [Piece(*request.args) for request in requests]
            return [(score.total, score.is_greedy) for score in model.likelihoods(pieces)]

        def loglikelihood_rolling(self, requests: "list[Instance]", **_: Any) -> list[float]:
            texts = [request.args[0] for request in requests]
            return [model.of_text(text).total if text else 0.0 for text in texts]

        def generate_until(self, requests: "list[Instance]", **_: Any) -> list[str]:
            found: dict[int, str] = {}
            asked: dict[str, list[int]] = {}
            for number, request in enumerate(requests):
                asked.setdefault(repr(request.args[1]), []).append(number)
            for numbers in asked.values():  # those that are decoded alike go together
                prompts = [requests[number].args[0] for number in numbers]
                stop, decoding = _decoding(model, requests[numbers[0]].args[1])
                texts, _ = model.written(prompts, stop, **decoding)
                found |= dict(zip(numbers, texts, strict=True))
            return [found[number] for number in range(len(requests))]

    return Plmjax()


def run(
    model: Model, tasks: Sequence[str], shots: Sequence[int], limit: int, folder: str
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The figures of the harness's tasks, and what was said of each item.

    Args:
      model: who is asked.
      tasks: names.
      shots: numbers of examples, in place of the tasks' own.
      limit: items of each task, 0 for all.
      folder: with further tasks; empty for none.

    Raises:
      UserError: for an unknown task, or where the harness is not installed.
    """
    lm = language_model(model)
    from lm_eval import simple_evaluate

    manager = _manager(tasks, folder)
    rows, records = [], []
    for count in shots:
        found = simple_evaluate(
            lm,
            tasks=list(tasks),
            num_fewshot=count,
            limit=limit or None,
            task_manager=manager,
            bootstrap_iters=1000,
        )
        for task, figures in found["results"].items():
            counts = found["n-samples"].get(task, {})
            rows += _rows(task, count, figures, counts.get("effective", 0))
        for task, samples in found.get("samples", {}).items():
            records += [_record(task, count, sample) for sample in samples]
    return rows, records


def _manager(tasks: Sequence[str], folder: str) -> Any:
    from lm_eval.tasks import TaskManager

    # Its own tasks are thousands of files, which take half a minute to be looked through.
    if folder:
        own = TaskManager(include_path=folder, include_defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    manager = TaskManager(include_path=folder or None)
    for task in tasks:
        if task not in manager.all_tasks:
            close = nearest(task, manager.all_tasks)
            hint = close if "did you mean" in close else ""
            raise UserError(f"--lm_eval={task} is no task of lm-evaluation-harness{hint}")
    return manager


def _decoding(model: Model, given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The strings that end an answer, and the fields of `DecodingConfig`."""
    until = given.get("until") or []
    stop = [until] if isinstance(until, str) else list(until)
    most = int(given.get("max_gen_toks", given.get("max_new_tokens", _MOST_NEW)))
    decoding: dict[str, Any] = {"max_new_tokens": min(most, max(model.scorer.longest // 2, 1))}
    temperature = float(given.get("temperature", 0.0))
    if given.get("do_sample", temperature > 0) and temperature > 0:
        decoding |= {"sample": True, "temperature": temperature}
        decoding |= {key: given[key] for key in ("top_p", "top_k") if key in given}
    elif int(given.get("num_beams", 1)) > 1:
        decoding["beams"] = int(given["num_beams"])
    return stop, decoding


def _rows(task: str, shots: int, figures: dict[str, Any], count: int) -> list[Row]:
    rows = []
    for key, value in figures.items():
        name, _, of = key.partition(",")
        if of and isinstance(value, int | float) and not name.endswith("_stderr"):
            error = figures.get(f"{name}_stderr,{of}")
            error = float(error) if isinstance(error, int | float) else None
            rows.append(Row(f"lm_eval {task}", shots, name, float(value), error, count))
    return rows


def _record(task: str, shots: int, sample: dict[str, Any]) -> dict[str, Any]:
    about = {"task": f"lm_eval {task}", "shots": shots, "line": sample["doc_id"]}
    return {**about, "answer": str(sample["target"]), "said": sample["filtered_resps"]}
