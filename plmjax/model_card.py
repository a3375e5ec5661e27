"""The README.md of an exported model: what it is, and what it was trained on."""

import json
from typing import Any

from etils import epath

from plmjax import exported_heads
from plmjax.data import manifest
from plmjax.errors import UserError
from plmjax.evals.report import Report
from plmjax.huggingface.family import Family
from plmjax.train import metrics

_MASKED = "fill-mask", "AutoModelForMaskedLM"
_CAUSAL = "text-generation", "AutoModelForCausalLM"
_LANGUAGE_MODELS = {
    "causal_lm": _CAUSAL,
    "permutation_lm": _CAUSAL,
    "seq2seq_lm": ("text2text-generation", "AutoModelForSeq2SeqLM"),
}
"""The pipeline and the class that load a language model, by the objective it was trained with."""


def loader_of(objective: str, key: str) -> tuple[str, str]:
    """The pipeline's name and the class of transformers that load a model.

    Args:
      objective: the run's.
      key: which of its family's classes the model is.
    """
    if key == exported_heads.KEY:
        return exported_heads.LOADERS[objective]
    if key == "model":
        return "feature-extraction", "AutoModel"
    if key == "discriminator":
        return "feature-extraction", "AutoModelForPreTraining"
    if key == "pretraining":
        return "fill-mask", "AutoModelForPreTraining"
    return _LANGUAGE_MODELS.get(objective, _MASKED)


def model_card(run: Any, family: Family, key: str, name: str, note: str) -> str:
    """The text of the card.

    Args:
      run: a `plmjax.exporting.Run`.
      family: theirs.
      key: which of its classes.
      name: the folder's.
      note: what is to be said of the tokenizer; may be empty.
    """
    task, loader = loader_of(run.record["config"]["objective"]["name"], key)
    made = "fine-tuned" if run.record["config"].get("task") else "pretrained"
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            f"pipeline_tag: {task}",
            "tags:",
            "- plmjax",
            f"- {family.model_type}",
            "---",
            "",
            f"# {name}",
            "",
            f"`{family.classes[key]}`, {made} with plmjax: {run.record['parameters']:,}"
            f" parameters in training, step {run.step:,}.",
            "",
            "```python",
            f"from transformers import AutoTokenizer, {loader}",
            "",
            f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
            f'model = {loader}.from_pretrained("{name}")',
            "```",
            "",
            *([f"The tokenizer: {note}.", ""] if note else []),
            "## Training data",
            "",
            *_data(run),
            "",
            "## Training",
            "",
            *_training(run),
            "",
            "## Evaluation",
            "",
            *_evaluation(run),
            "",
            "## Made with",
            "",
            *_made_with(run),
            "",
        ]
    )


def _data(run: Any) -> list[str]:
    corpus = run.record["corpus"]
    if source := corpus.get("imported_from"):
        lines = [f"- weights imported from `{source}`"]
    else:
        lines = [f"- corpus digest `{corpus.get('digest', '')}`"]
        lines += _sources(epath.Path(corpus["path"]))
    tokenizer = run.tokenizer
    size = f"{tokenizer.vocab_size:,} tokens"
    return [*lines, f"- tokenizer `{tokenizer.kind}`, {size}, digest `{tokenizer.digest}`"]


def _sources(folder: epath.Path) -> list[str]:
    try:
        about = manifest.read_manifest(folder)
    except UserError:  # moved or removed; its digest says what it was
        return []
    lines = []
    for name, source in about["sources"].items():
        counts = source["splits"]
        train, held_out = counts["train"], counts.get("held_out", {"documents": 0})
        lines.append(
            f"- `{name}` ({source['spec']}): {train['documents']:,} documents, {train['tokens']:,}"
            f" tokens to train on, {held_out['documents']:,} documents held out"
        )
    return lines


def _training(run: Any) -> list[str]:
    config = run.record["config"]
    data, optimizer = config["data"], config["optimizer"]
    lines = [
        f"- {run.step:,} of {config['train']['steps']:,} steps of the objective"
        f" `{config['objective']['name']}`",
        f"- batches of {data['batch_size']:,} x {data['seq_len']:,} tokens, {_read(config)}",
        f"- optimizer `{optimizer['name']}`, learning rate {optimizer['learning_rate']:g}, schedule"
        f" `{optimizer['schedule']}`, weight decay {optimizer['weight_decay']:g}",
        f"- computed in {config['model']['dtype']}, seed {config['seed']}",
    ]
    for name, phase in (config.get("phases") or {}).items():
        changes = ", ".join(f"{key}={value}" for key, value in phase.items())
        lines.append(f"- phase `{name}`: {changes}")
    if config.get("init_from"):
        lines.append(f"- began with the parameters of `{config['init_from']}`")
    return lines


def _read(config: dict[str, Any]) -> str:
    """What is in the batches."""
    if task := config.get("task"):
        return f"examples of `{task['train']}`, task `{task['name']}`"
    data = config["data"]
    return f"plan `{data['plan']['name']}`, masking `{data['masking']['name']}`"


def _evaluation(run: Any) -> list[str]:
    report = Report.read(run.work.path)
    if report is not None and report.step == run.step:
        rows = [f"On {report.on}, at step {report.step:,}:", ""]
        names = list(dict.fromkeys(name for some in report.scores.values() for name in some))
        rows += [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
        for who, numbers in report.scores.items():
            cells = [f"{numbers[name]:.4f}" if name in numbers else "" for name in names]
            rows.append(f"| {who} | {' | '.join(cells)} |")
        return rows
    records = [
        x for x in metrics.read_records(run.work.path / metrics.FILE) if x["step"] <= run.step
    ]
    if not records:
        return ["None: the run has logged nothing."]
    latest: dict[str, tuple[int, Any]] = {}
    for record in records:
        for key, value in record.items():
            if key != "step" and not key.startswith("speed/"):
                latest[key] = (record["step"], value)
    return [f"- {key}: {value:.4f} (step {step:,})" for key, (step, value) in latest.items()]


def _made_with(run: Any) -> list[str]:
    start = run.record["starts"][-1] if run.record["starts"] else {}
    packages = start.get("packages", {})
    lines = [f"- plmjax, revision `{start['git']}`"] if start.get("git") else []
    lines += [f"- {start['devices']}"] if start.get("devices") else []
    versions = (f"{name} {packages[name]}" for name in ("jax", "flax", "optax") if name in packages)
    lines.append(f"- {', '.join(versions)}")
    config = json.dumps(run.record["config"]["model"], sort_keys=True)
    return [*lines, f"- the model's settings: `{config}`"]
