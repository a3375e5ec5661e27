"""The files by which sentence-transformers makes embeddings of an exported model."""

import json
from pathlib import Path
from typing import Any

from plmjax.errors import UserError

POOLINGS = {"mean": "mean_tokens", "first": "cls_token", "last": "lasttoken"}
"""Ours to theirs, behind `pooling_mode_`."""

_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
_MODES += ("weightedmean_tokens", "lasttoken")
_MODULES = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}


def check_sentences(run: Any, bare: str) -> None:
    """Raises a UserError where sentence-transformers makes other embeddings than the run does.

    Args:
      run: a `plmjax.exporting.Run` that was tuned for `sentence_embedding`.
      bare: transformers' class of the backbone.
    """
    objective, why = run.record["config"]["objective"], ""
    if objective["layers"] != "last":
        why = f"sentence-transformers reads the last layer, and layers='{objective['layers']}'"
    elif objective["pooling"] not in POOLINGS:
        why = f"sentence-transformers has no pooling='{objective['pooling']}'"
    elif run.family_name in ("bart", "t5"):
        why = "sentence-transformers reads an encoder, and these states are the decoder's"
    if why:
        raise UserError(
            f"the embeddings of {run.work.name} cannot be exported: {why}; --architecture={bare}"
            " writes the backbone alone"
        )


def write_sentences(run: Any, folder: Path) -> None:
    """Writes how the states of a text make an embedding of length 1: modules.json and what it
    names. Source: the files of sentence-transformers 6.2."""
    config = run.record["config"]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
        for at, (path, name) in enumerate(_MODULES.items())
    ]
    chosen = POOLINGS[config["objective"]["pooling"]]
    pooling = {f"pooling_mode_{mode}": mode == chosen for mode in _MODES}
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {
            "max_seq_length": config["data"]["seq_len"],
            "do_lower_case": False,
        },
        "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
        "1_Pooling/config.json": {"word_embedding_dimension": run.config.hidden_size, **pooling},
    }
    for path in filter(None, _MODULES):
        (folder / path).mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
