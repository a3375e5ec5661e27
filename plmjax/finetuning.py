"""The config of a run that learns a labelled task from another run's backbone."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from plmjax.data.batch_form import masking_config, plan_config
from plmjax.data.labelled.tasks import LABELLED_TASKS
from plmjax.data.plans import FRAMES
from plmjax.errors import UserError
from plmjax.experiment import Settings
from plmjax.families import FAMILIES, objective_config
from plmjax.methods import METHODS
from plmjax.run_tokenizer import tokenizer_of
from plmjax.settings import choose, section_of, to_config
from plmjax.train.workdir import Workdir

OBJECTIVES = {
    "classification": "sequence_classification",
    "multi_label": "sequence_classification",
    "regression": "sequence_classification",
    "tagging": "token_classification",
    "extraction": "span_extraction",
    "choice": "multiple_choice",
    "similarity": "sentence_embedding",
    "mentions": "sequence_classification",
    "verification": "sequence_classification",
    "filling": "sequence_classification",
    "blanks": "multiple_choice",
    "text_to_text": "",
}
"""What learns each task; empty for what pretrains the family."""

WRITERS = ("seq2seq_lm", "causal_lm")
"""Objectives of families that write."""

ACTIVATIONS = {"distilbert": "relu", "electra": "gelu", "roformer": "gelu", "xlm": "none"}
"""What the heads on whole texts have behind their first layer in transformers, where not tanh."""


def tuned_config(
    init_from: str, task: str, fresh: bool = False, method: str = "", **asked: Any
) -> ConfigDict:
    """A config with the model and the tokenizer of a run, and a task.

    Training is as published for BERT, where no other method is asked for (google-research/bert
    run_classifier.py): 3 epochs of batches of 32, Adam without bias correction at 2e-5, a tenth of
    it warm-up, rows of 128 tokens. Of T5 and a task that is written it is Adafactor
    at 1e-3 without warm-up (Raffel et al. 2020).

    Args:
      init_from: the workdir of the run.
      task: a name of `plmjax.data.labelled.tasks.LABELLED_TASKS`.
      fresh: whether the backbone is not taken from the run, but begins anew: what pretraining is
        worth is seen beside it.
      method: a name of `plmjax.methods.METHODS`; empty for BERT's.
      **asked: fields of the task.

    Raises:
      UserError: if there is no such run, task or method, the method is not for the run's model, or
        a task is written and the run's family does not write.
    """
    if not init_from:
        raise UserError(
            "the config needs the workdir of a run, whose backbone is tuned: configs/finetune/"
            "own.py:RUN; python -m plmjax.export --from_huggingface=FOLDER --workdir=RUN makes one"
        )
    work = Workdir(init_from, "the run that is tuned")
    run = work.stored()
    if run is None:
        raise UserError(f"{init_from} is not the workdir of a run: it has no run.json")
    model, before = run["config"]["model"], run["config"]["data"]
    tokenizer, path = tokenizer_of(work, run["corpus"])
    family = choose(model["family"], FAMILIES, "the family of the run")

    config = to_config(Settings())
    config.init_from = "" if fresh else init_from
    config.model = ConfigDict(model | {"dtype": "auto"} | ({"vocab_size": 0} if fresh else {}))
    name = choose(task, OBJECTIVES, "the task")
    if method and not name:
        raise UserError(f"recipe={method} tunes a head, and task={task} has none; leave it out")
    objective, start = (objective_config(name), {}) if name else _writer(init_from, run["config"])
    config.objective = ConfigDict(objective)
    if "activation" in config.objective:
        config.objective.activation = ACTIVATIONS.get(model["family"], "tanh")
    fields = {"tokenizer": path, **start, **asked}
    config.task = ConfigDict(section_of(LABELLED_TASKS, task, "the task", **fields))
    config.data.plan = plan_config(family.plan)
    config.data.masking = masking_config(family.masking)
    config.data.frame = frame_of(before["frame"], tokenizer)
    config.data.seq_len = 128
    config.data.batch_size = 32
    config.phases = ConfigDict()

    config.optimizer.name = "adamw_google"
    config.optimizer.learning_rate = 2e-5
    config.optimizer.warmup_fraction = 0.1
    config.train.log_every = 20
    config.evaluation.every = 0
    config.checkpoint.every = 1000
    if start.get("start") == "pad":
        _as_t5(config)
    if method:
        choose(method, METHODS, "recipe")(config, tokenizer)
    return config


def _as_t5(config: ConfigDict) -> None:
    """Trains as T5 is fine-tuned (Raffel et al. 2020, section 3.1.2)."""
    config.data.frame = "eos"
    config.optimizer.name = "adafactor"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_fraction = 0.0
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.0


def _writer(init_from: str, before: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The objective of a run that learns to write, and the fields of its task that go with it.

    Args:
      init_from: the run.
      before: its config.

    Raises:
      UserError: for a family that does not write.
    """
    name = before["model"]["family"]
    family = FAMILIES[name]
    if family.objective not in WRITERS:
        there = ", ".join(each for each, some in FAMILIES.items() if some.objective in WRITERS)
        raise UserError(
            f"task=text_to_text is answered by writing, and {init_from} is of the family {name},"
            f" which has no decoder; give a run of one of {there}"
        )
    is_same = before["objective"]["name"] == family.objective
    objective = objective_config(**(before["objective"] if is_same else {"name": family.objective}))
    if family.objective == "causal_lm":
        return objective, {"start": ""}
    return objective, {"start": "end" if family.module.begins_with_end else "pad"}


def frame_of(frame: str, tokenizer: Any) -> str:
    """What surrounds texts: as in pretraining, or where that has nothing what ends a document."""
    if frame != "none":
        return frame
    ends = (name for name in ("eod", "eos") if tokenizer.id_of(FRAMES[name].after[0]) is not None)
    return next(ends, frame)
