"""Hugging Face's encoders as oracles: each with random weights, and a batch that it takes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from plmjax.huggingface.encoders import FAMILIES, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.bert import Config
from tests.batches import bert_batch
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)

PAD = 1
"""The id of padding: RoBERTa counts positions by it, so it stands nowhere else."""

_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}


@dataclasses.dataclass(frozen=True)
class Oracle:
    """A family of transformers: its model class, its config of ours, and whether it has a label.

    pair_key: the argument for the label of sentence pairs; empty without.
    """

    model: str
    config: Callable[[Config], Any]
    pair_key: str = ""


def _common(config: Config) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_size,
        "hidden_act": _ACTIVATIONS[config.activation],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.token_types,
        "layer_norm_eps": config.layer_norm_epsilon,
        "pad_token_id": PAD,
        "attn_implementation": "eager",
    }


def _ernie(config: Config) -> Any:
    tasks = {"use_task_id": config.task_types > 0, "task_type_vocab_size": config.task_types or 3}
    return transformers.ErnieConfig(**_common(config), **tasks)


def _albert(config: Config) -> Any:
    return transformers.AlbertConfig(
        **_common(config),
        embedding_size=config.embedding_width,
        num_hidden_groups=config.groups,
        classifier_dropout_prob=0.0,
    )


def _electra(config: Config) -> Any:
    return transformers.ElectraConfig(**_common(config), embedding_size=config.embedding_width)


def _distilbert(config: Config) -> Any:
    return transformers.DistilBertConfig(
        vocab_size=config.vocab_size,
        dim=config.hidden_size,
        n_layers=config.num_layers,
        n_heads=config.num_heads,
        hidden_dim=config.mlp_size,
        activation=_ACTIVATIONS[config.activation],
        dropout=0.0,
        attention_dropout=0.0,
        max_position_embeddings=config.max_positions,
        pad_token_id=PAD,
        attn_implementation="eager",
    )


def _longformer(config: Config) -> Any:
    windows = [config.attention.window] * config.num_layers
    return transformers.LongformerConfig(**_common(config), attention_window=windows)


def _bigbird(config: Config) -> Any:
    return transformers.BigBirdConfig(
        **_common(config),
        attention_type="block_sparse",
        block_size=config.attention.block,
        num_random_blocks=config.attention.random_blocks,
    )


ORACLES = {
    "roberta": Oracle("RobertaForMaskedLM", lambda c: transformers.RobertaConfig(**_common(c))),
    "ernie": Oracle("ErnieForPreTraining", _ernie, "next_sentence_label"),
    "albert": Oracle("AlbertForPreTraining", _albert, "sentence_order_label"),
    "electra": Oracle("ElectraForMaskedLM", _electra),
    "distilbert": Oracle("DistilBertForMaskedLM", _distilbert),
    "longformer": Oracle("LongformerForMaskedLM", _longformer),
    "bigbird": Oracle("BigBirdForMaskedLM", _bigbird),
}


def build(family: str, config: Config) -> Any:
    """The model with weights that all matter, biases and norms too."""
    oracle = ORACLES[family]
    torch.manual_seed(0)
    model = getattr(transformers, oracle.model)(oracle.config(config)).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "embeddings." in name and parameter.ndim == 2:
                parameter.copy_(0.3 * noise)
            elif parameter.ndim == 2:
                parameter.copy_(1.5 * noise / parameter.shape[1] ** 0.5)
            elif "norm.weight" in name.lower():
                parameter.copy_(1.0 + 0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)
    return model


def batch(config: Config, size: int, length: int, predictions: int) -> dict[str, np.ndarray]:
    """A batch with padding behind; token types where the family has some."""
    typed = dataclasses.replace(config, token_types=max(2, config.token_types))
    made = bert_batch(typed, size, length, predictions, seed=2)
    text = np.where(made["tokens"] == PAD, PAD + 1, made["tokens"])
    made["tokens"] = np.where(made["attention_mask"] == 1, text, PAD).astype(np.int32)
    if config.token_types < 2:
        made["token_types"][:] = 0
    return made


def inputs(family: str, config: Config, made: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The batch as the model's arguments."""
    labels_BL = np.full(made["tokens"].shape, -100, np.int64)
    for row, slot in np.argwhere(made["masked_weights"] > 0):
        labels_BL[row, made["masked_positions"][row, slot]] = made["masked_targets"][row, slot]
    arrays = {
        "input_ids": made["tokens"],
        "attention_mask": made["attention_mask"],
        "labels": labels_BL,
    }
    if config.token_types:
        arrays["token_type_ids"] = made["token_types"]
    if pair_key := ORACLES[family].pair_key:
        arrays[pair_key] = made["label"]
    return {name: torch.from_numpy(np.asarray(x, np.int64)) for name, x in arrays.items()}


def tree(family: str, tensors: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Weights or gradients by Hugging Face's names as our tree, every tensor in its place."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    table = masked_lm_table(FAMILIES[family], config, pairs=bool(ORACLES[family].pair_key))
    return to_ours(arrays, table, shape_of(config))
