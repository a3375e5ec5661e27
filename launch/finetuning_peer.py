"""Tunes Hugging Face's BERT in torch on the batches of a run of plmjax: what docs/finetuning.md
compares with. Takes the run's own --config and its overrides, and

  --theirs=FOLDER  Hugging Face's files that config.init_from was imported from
  --out=FILE       what the development set scores, as a run's evaluation.json has it
  --ours=RUN       a run whose losses are compared with theirs, update by update, in place of that:
                   its workdir, trained with --config.train.log_every=1
  --learn_padding  theirs learns the embedding of padding, as Google's BERT and ours do and
                   transformers' does not; it counts where answers are told among all places

Batches, their order, the learning rate of each update, the optimizer's settings and the head's
first parameters are the run's own; the model, its gradients, AdamW and dropout are theirs. Needs
torch and transformers: pip install torch transformers.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from plmjax import cli, experiment
from plmjax.errors import UserError
from plmjax.task_answers import in_order
from plmjax.task_report import scores_of
from plmjax.train import metrics
from plmjax.training import Inputs, Training, open_inputs

CONFIG = cli.define_config_flag()
THEIRS = flags.DEFINE_string("theirs", None, "Hugging Face's files.", required=True)
OUT = flags.DEFINE_string("out", None, "The file that is written.", required=True)
OURS = flags.DEFINE_string("ours", "", "The workdir of a run that is compared with.")
LEARN_PADDING = flags.DEFINE_bool("learn_padding", False, "Theirs learns padding's embedding.")

HEADS = {
    "classification": ("BertForSequenceClassification", "classifier"),
    "tagging": ("BertForTokenClassification", "classifier"),
    "extraction": ("BertForQuestionAnswering", "qa_outputs"),
}
"""Theirs for each task, and the name of the head's layer."""


def begun(plan: experiment.Experiment, inputs: Inputs, corpus: Any) -> Any:
    """Their model with the backbone from its files, and the head as the run's at its beginning."""
    import torch
    import transformers

    name, last = HEADS[plan.settings.task["name"]]
    state = Training(plan, corpus, inputs, None, None, _say).begun_state()
    head = jax.device_get(state.params["task_head"])
    outputs, model = head["kernel"].shape[1], plan.settings.model
    theirs = getattr(transformers, name).from_pretrained(
        THEIRS.value,
        num_labels=outputs,
        hidden_dropout_prob=model["hidden_dropout"],
        attention_probs_dropout_prob=model["attention_dropout"],
    )
    with torch.no_grad():
        layer = theirs.get_submodule(last)
        layer.weight.copy_(torch.from_numpy(np.array(head["kernel"].T)))
        layer.bias.copy_(torch.from_numpy(np.array(head["bias"])))
    if LEARN_PADDING.value:
        theirs.get_input_embeddings().padding_idx = None
    return theirs


def arguments(task: str, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A batch as theirs takes it."""
    import torch

    given = {
        "input_ids": batch["tokens"],
        "token_type_ids": batch["token_types"],
        "attention_mask": batch["attention_mask"],
    }
    if task == "tagging":
        given["labels"] = np.where(batch["tag_weights"] > 0, batch["tags"], -100)
    elif task == "extraction":
        given |= {"start_positions": batch["spans"][:, 0], "end_positions": batch["spans"][:, 1]}
    else:
        given["labels"] = batch["label"]
    return {key: torch.from_numpy(np.asarray(x, np.int64)) for key, x in given.items()}


def tuned(plan: experiment.Experiment, inputs: Inputs, model: Any) -> list[float]:
    """Trains theirs as the run is trained; returns the loss of each update."""
    import torch

    c, losses = plan.settings.optimizer, []
    if c.name != "adamw" or c.exclude_from_decay not in ("variant", ""):
        raise UserError(f"config.optimizer.name={c.name}; torch is compared by adamw alone")
    settings = {"betas": (c.b1, c.b2), "eps": c.eps, "weight_decay": c.weight_decay}
    adamw = torch.optim.AdamW(model.parameters(), lr=c.learning_rate, **settings)
    (source,) = inputs.phases
    model.train()
    for step in range(plan.settings.train.steps):
        for group in adamw.param_groups:
            group["lr"] = float(plan.learning_rate(step))
        loss = model(**arguments(plan.settings.task["name"], source.batch(step))).loss
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), c.clip_norm)
        adamw.step()
        losses.append(loss.item())
        if (step + 1) % plan.settings.train.log_every == 0:
            _say(f"step {step + 1}/{plan.settings.train.steps}  loss {loss.item():.4f}")
    return losses


def scores(plan: experiment.Experiment, inputs: Inputs, model: Any) -> dict[str, float]:
    """The task's figures of theirs on the development set."""
    import torch

    source, task = inputs.held_out, plan.settings.task["name"]
    model.eval()
    logits, losses = [], []
    with torch.no_grad():
        for batch in source.evaluation_batches():
            output = model(**arguments(task, batch))
            losses.append(output.loss.item())
            is_span = task == "extraction"
            pair = [output.start_logits, output.end_logits] if is_span else [output.logits]
            logits.append((torch.stack(pair, -1) if is_span else pair[0]).numpy())
    return scores_of(source, float(np.mean(losses)), in_order(logits, source.order))


def compared(theirs: list[float]) -> dict[str, Any]:
    """Both curves, and how far they are apart at most, as a share of the loss."""
    records = metrics.read_records(Path(OURS.value) / metrics.FILE)
    ours = [each["train/loss"] for each in records if "train/loss" in each]
    if len(ours) != len(theirs):
        raise UserError(
            f"{OURS.value} has {len(ours)} losses, expected {len(theirs)}; train it with the same"
            " config and --config.train.log_every=1"
        )
    apart = [abs(a - b) / max(abs(b), 1e-8) for a, b in zip(ours, theirs, strict=True)]
    return {"ours": ours, "theirs": theirs, "apart": max(apart)}


def main() -> int:
    """Trains theirs and writes what came out; returns the exit code."""
    settings = experiment.read_settings(CONFIG.value)
    name = settings.task.get("name", "") if settings.task else ""
    if name not in HEADS:
        raise UserError(f"config.task.name={name}; expected one of {', '.join(HEADS)}")
    import torch

    torch.manual_seed(settings.seed)
    torch.set_num_threads(max(1, len(_cores())))
    corpus = experiment.open_corpus(settings)
    settings = experiment.resolved(settings, corpus.tokenizer.vocab_size, None)
    plan = experiment.build(settings, corpus=corpus)
    inputs = open_inputs(plan, corpus)
    model = begun(plan, inputs, corpus)
    losses = tuned(plan, inputs, model)
    made = (
        compared(losses) if OURS.value else {"scores": {"this model": scores(plan, inputs, model)}}
    )
    out = Path(OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made, indent=1) + "\n")
    return 0


def _cores() -> Any:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run(main, CONFIG, __doc__)
