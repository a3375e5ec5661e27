"""Hugging Face's BERT as an oracle: random weights, and its tensors in our parameters' tree."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from plmjax.huggingface.bert import BERT
from plmjax.huggingface.encoders import FAMILIES, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.bert import Config
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)  # small shapes, and pytest-xdist has the other cores


def hf_config(config: Config, **overrides) -> Any:
    """The BertConfig that computes what `config` does, as Google's code rather than HF's does."""
    said = BERT.to_settings(config)
    return transformers.BertConfig(**said, attn_implementation="eager", **overrides)


def build(config: Config, seed: int) -> Any:
    """BertForPreTraining as it is initialised: biases 0, norms 1."""
    torch.manual_seed(seed)
    return transformers.BertForPreTraining(hf_config(config)).train()


def randomize(model: Any, seed: int) -> None:
    """Gives every parameter, biases and norms too, values that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "embeddings" in name and parameter.ndim == 2:
                parameter.copy_(0.3 * noise)
            elif parameter.ndim == 2:
                parameter.copy_(1.5 * noise / parameter.shape[1] ** 0.5)
            elif "LayerNorm.weight" in name:
                parameter.copy_(1.0 + 0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)


def tree(tensors: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """HF's tensors (weights or gradients, by the names of `named_parameters`) as our tree.

    Every tensor has to find a place; the vocabulary's extra rows are zeros.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    table = masked_lm_table(FAMILIES["bert"], config, pairs=True)
    return to_ours(arrays, table, shape_of(config))


def weights(model: Any, config: Config) -> dict[str, Any]:
    """A copy of the model's weights as our tree."""
    return tree({name: p.detach().clone() for name, p in model.named_parameters()}, config)


def gradients(model: Any, config: Config) -> dict[str, Any]:
    """The model's gradients as our tree."""
    return tree({name: p.grad for name, p in model.named_parameters()}, config)


def inputs(batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Our batch as HF's arguments: labels everywhere, -100 where nothing is to be predicted."""
    labels_BL = np.full(batch["tokens"].shape, -100, np.int64)
    for row, slot in np.argwhere(batch["masked_weights"] > 0):
        labels_BL[row, batch["masked_positions"][row, slot]] = batch["masked_targets"][row, slot]
    arrays = {
        "input_ids": batch["tokens"],
        "token_type_ids": batch["token_types"],
        "attention_mask": batch["attention_mask"],
        "labels": labels_BL,
        "next_sentence_label": np.where(batch["label_weights"] > 0, batch["label"], -100),
    }
    return {name: torch.from_numpy(np.asarray(x, np.int64)) for name, x in arrays.items()}
