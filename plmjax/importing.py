"""From a folder of Hugging Face's to the workdir of a run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
from etils import epath

from plmjax.data.preparation import user_errors_of_the_disk
from plmjax.data.tokenizers import Tokenizer
from plmjax.exporting import new_folder, replacing
from plmjax.from_huggingface import Plan, abstract_parameters, lazy_arrays, planned
from plmjax.run_tokenizer import FOLDER as TOKENIZER
from plmjax.train.parameters import nested, write_parameters
from plmjax.train.workdir import Workdir


def import_model(folder: str, workdir: str, say: Callable[[str], None] = print) -> None:
    """Makes a workdir whose step 0 has the weights of a folder of Hugging Face's.

    Args:
      folder: with config.json, weights and tokenizer; local.
      workdir: to make; local. It may exist if it is empty.
      say: takes lines about what was made.

    Raises:
      UserError: for whatever the user can mend.
    """
    target = new_folder(workdir, "--workdir")
    source = Path(folder).expanduser()
    plan = planned(source, vocab_file=str(target / TOKENIZER / "vocab.txt"))
    arrays = lazy_arrays(plan)
    remedy = "name another --workdir"
    with user_errors_of_the_disk(epath.Path(target), remedy), replacing(target) as partial:
        config = dataclasses.asdict(plan.settings)
        # No run has so few steps, so none takes the place for its own.
        config["train"]["steps"] = 0
        corpus = {
            "digest": "",
            "vocabulary": plan.tokenizer.digest,
            "path": str(target / TOKENIZER),
            "imported_from": str(source.absolute()),
        }
        Workdir(partial).begin(config, corpus, _count(plan))
        (partial / TOKENIZER).mkdir()
        plan.tokenizer.save(partial / TOKENIZER)
        write_parameters(epath.Path(partial) / "checkpoints", nested(arrays))
    for line in _what_was_made(plan, target, workdir):
        say(line)


def _count(plan: Plan) -> int:
    """How many parameters, rows that pad the vocabulary left out."""
    model = {**plan.settings.model, "vocab_multiple": 1}
    plain = dataclasses.replace(plan.settings, model=model)
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_parameters(plain)))


def _what_was_made(plan: Plan, target: Path, workdir: str) -> list[str]:
    model, tokenizer = plan.settings.model, plan.tokenizer
    lines = [f"{target}: {model['family']}, {_count(plan):,} parameters, at step 0."]
    if plan.fresh:
        parts = sorted(
            {"/".join(path.split("/")[: 1 + path.startswith("backbone")]) for path in plan.fresh}
        )
        lines.append(f"Not in the files, so fresh: {', '.join(parts)}.")
    if plan.left_out:
        lines.append(f"Left out, since a run has no use for them: {', '.join(plan.left_out)}.")
    if tokenizer.vocab_size < model["vocab_size"]:
        lines.append(
            f"The tokenizer has {tokenizer.vocab_size:,} tokens and the table"
            f" {model['vocab_size']:,} rows: all rows are kept, the last are never read."
        )
    run = (
        f"  python -m plmjax.main --config=configs/continued.py:{workdir} --workdir={workdir}-more"
    )
    lines.append("To go on training it on text of your own:")
    if tokenizer.kind == "wordpiece":
        return [*lines, f"{run} --config.corpus.source='text:/data/*.txt'"]
    return [
        *lines,
        "  python -m plmjax.prepare --out=stores/mine --source=mine='text:/data/*.txt'"
        f" --tokenizer={_kind(tokenizer)} --tokenizer_path={target / TOKENIZER}",
        f"{run} --config.corpus.store=stores/mine",
    ]


def _kind(tokenizer: Tokenizer) -> str:
    """The tokenizer in the words of `plmjax.prepare`."""
    if tokenizer.kind == "byte_bpe":
        return "roberta" if "<s>" in tokenizer.ids else "gpt2"
    if tokenizer.kind == "sentencepiece":
        return "sentencepiece" if tokenizer.style == "plain" else tokenizer.style
    return tokenizer.kind
