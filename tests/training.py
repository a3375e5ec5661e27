"""What trains each family: its objective, and batches for it."""

import dataclasses
from typing import Any

import flax.linen as nn
import numpy as np

from plmjax.data.plans.multi_task import Task
from plmjax.families import FAMILIES, OBJECTIVES
from plmjax.models import bert
from tests.batches import (
    bert_batch,
    causal_batch,
    permutation_batch,
    seq2seq_batch,
    with_sides,
    with_tasks,
)

TASKS = (
    Task("knowledge", 0, False),
    Task("document", 2, True),
    Task("reordering", 9, False),
    Task("distance", 3, False),
)
SETTINGS = {
    "electra": {"generator_fraction": 0.5},
    "multi_task": {"labels": TASKS},
    "permutation_lm": {"memory": True},
}
"""What tests set of an objective."""


def objective_of(family: str, config: Any) -> nn.Module:
    """The first objective of the family, with the label of pairs where there is a pooler.

    `family`: a name, or one with another objective that trains it, `electra by electra`.
    """
    family, _, name = family.partition(" by ")
    found, settings = FAMILIES[family], SETTINGS.get(name, {})
    if name == "clm":
        config = dataclasses.replace(config, causal=True)
    if (name or found.objective) == "bert_pretraining":
        settings = {"labels": 2 if config.pooler else 0}
    return OBJECTIVES[name or found.objective](found.module(config), **settings)


def batch_of(family: str, config: Any, size: int, length: int, targets: int, seed: int = 0):
    """A batch for it: `targets` is how many are masked, of those that are masked at all."""
    family, _, name = family.partition(" by ")
    kind = FAMILIES[family].objective
    if kind == "causal_lm":
        return causal_batch(config, size, length, seed)
    if kind == "seq2seq_lm":
        return seq2seq_batch(config, size, length, length // 2, seed)
    if kind == "permutation_lm":
        return permutation_batch(config, size, length, targets, seed)
    typed = bert.Config(vocab_size=config.vocab_size, token_types=max(2, config.token_types))
    batch = bert_batch(typed, size, length, targets, seed)
    if not config.pooler:
        del batch["label"], batch["label_weights"]
    if name == "clm":
        batch = causal_batch(config, size, length, seed)
        batch["token_types"] = np.zeros_like(batch["tokens"])
    if config.languages:
        batch["languages"] = batch["tokens"] % config.languages
    if name == "multi_task":
        return with_tasks(batch, TASKS, seed)
    return with_sides(batch, places=15, seed=seed) if name == "span_boundary" else batch


def spec_of(family: str, config: Any, size: int, length: int, targets: int) -> dict:
    """Shapes and dtypes of such a batch of any size; its rows are not made."""
    rows = batch_of(family, config, 2, length, targets)
    return {key: ((size, *x.shape[1:]), np.dtype(x.dtype)) for key, x in rows.items()}
