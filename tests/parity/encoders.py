"""Hugging Face's encoders as oracles: each with random weights, and a batch that it takes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from plmjax.huggingface import encoders
from plmjax.huggingface.families import FAMILIES
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.base import TransformerConfig
from plmjax.models.bert import Config
from plmjax.objectives.bert_pretraining import BertPretraining
from tests.batches import bert_batch
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)

PAD = 1
"""The id of padding: RoBERTa counts positions by it, so it stands nowhere else."""

_KINDS = {
    "longformer": lambda c: {"attention_window": [c.attention.window] * c.num_layers},
    "bigbird": lambda c: {
        "attention_type": "block_sparse",
        "block_size": c.attention.block,
        "num_random_blocks": c.attention.random_blocks,
    },
}
"""What their config.json has of the kind of attention, beside what RoBERTa's and BERT's have."""


class Oracle(NamedTuple):
    """A family of transformers.

    model: the class. pair_key: the argument for the label of sentence pairs; empty without.
    """

    model: str
    pair_key: str = ""


ORACLES = {
    "bert": Oracle("BertForPreTraining", "next_sentence_label"),
    "roberta": Oracle("RobertaForMaskedLM"),
    "ernie": Oracle("ErnieForPreTraining", "next_sentence_label"),
    "albert": Oracle("AlbertForPreTraining", "sentence_order_label"),
    "electra": Oracle("ElectraForMaskedLM"),
    "distilbert": Oracle("DistilBertForMaskedLM"),
    "roformer": Oracle("RoFormerForMaskedLM"),
    "longformer": Oracle("LongformerForMaskedLM"),
    "bigbird": Oracle("BigBirdForMaskedLM"),
}


def their_config(family: str, config: Config) -> Any:
    """The config of the oracle, from what we write into config.json."""
    like = {"longformer": "roberta", "bigbird": "bert"}.get(family, family)
    said = FAMILIES[like][0].to_settings(config)
    said |= _KINDS[family](config) if family in _KINDS else {}
    # Not ours to say: ALBERT's dropout before the label of pairs.
    ours = {"pad_token_id": PAD, "attn_implementation": "eager", "classifier_dropout_prob": 0.0}
    return getattr(transformers, ORACLES[family].model).config_class(**(said | ours))


def build(family: str, config: Config) -> Any:
    """The model with weights that all matter, biases and norms too."""
    torch.manual_seed(0)
    model = getattr(transformers, ORACLES[family].model)(their_config(family, config))
    return randomized(model.train())


def trainable(model: Any) -> dict[str, Any]:
    """Its parameters by name, without those that are constants (RoFormer's sines)."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def randomized(model: Any, gain: float = 1.5) -> Any:
    """The model, with new weights that all matter; a kernel makes numbers `gain` times as large."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            noise = torch.randn(parameter.shape, generator=generator)
            if "embeddings." in name and parameter.ndim == 2:
                parameter.copy_(0.3 * noise)
            elif parameter.ndim == 2:
                parameter.copy_(gain * noise / parameter.shape[1] ** 0.5)
            elif name.endswith("weight"):  # of a norm
                parameter.copy_(1.0 + 0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)
    return model.train()


def batch(
    config: TransformerConfig, size: int, length: int, predictions: int
) -> dict[str, np.ndarray]:
    """A batch with padding behind; token types where the family has some."""
    typed = Config(vocab_size=config.vocab_size, token_types=max(2, config.token_types))
    made = bert_batch(typed, size, length, predictions, seed=2)
    text = np.where(made["tokens"] == PAD, PAD + 1, made["tokens"])
    made["tokens"] = np.where(made["attention_mask"] == 1, text, PAD).astype(np.int32)
    if config.token_types < 2:
        made["token_types"][:] = 0
    return made


def inputs(family: str, config: Config, made: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The batch as the model's arguments."""
    arrays = {
        "input_ids": made["tokens"],
        "attention_mask": made["attention_mask"],
        "labels": labels(made),
    }
    if config.token_types:
        arrays["token_type_ids"] = made["token_types"]
    if pair_key := ORACLES[family].pair_key:
        arrays[pair_key] = np.where(made["label_weights"] > 0, made["label"], -100)
    return {name: torch.from_numpy(np.asarray(x, np.int64)) for name, x in arrays.items()}


def tree(family: str, tensors: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Weights or gradients by Hugging Face's names as our tree, every tensor in its place."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    names, pairs = encoders.FAMILIES[family], bool(ORACLES[family].pair_key)
    table = encoders.masked_lm_table(names, config, pairs)
    return to_ours(arrays, table, shape_of(config))


def labels(made: Mapping[str, np.ndarray]) -> np.ndarray:
    """What is to be predicted at every place: int [B, L], -100 where nothing is."""
    labels_BL = np.full(made["tokens"].shape, -100, np.int64)
    for row, slot in np.argwhere(made["masked_weights"] > 0):
        labels_BL[row, made["masked_positions"][row, slot]] = made["masked_targets"][row, slot]
    return labels_BL


def run(model: Any, arguments: Mapping[str, Any], made: Mapping[str, np.ndarray]):
    """What the model computes, at real places, and the gradients of its loss by their names."""
    output = model(**arguments, output_hidden_states=True)
    output.loss.backward()
    logits_BLV = output.prediction_logits if "prediction_logits" in output else output.logits
    rows = np.arange(len(made["tokens"]))[:, None]
    values = {"logits": logits_BLV[rows, made["masked_positions"]], "loss": output.loss}
    values |= {f"hidden_{i}": x_BLD for i, x_BLD in enumerate(output.hidden_states)}
    values = {key: value.detach().numpy() for key, value in values.items()}
    grads = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in trainable(model).items()
    }
    return at_real_places(values, made), grads


def compute(objective: BertPretraining, params: Any, made: Mapping[str, np.ndarray]):
    """What ours computes, at real places, and the tree of its loss's gradients."""
    vocab_size = objective.backbone.config.vocab_size

    def everything(module, batch):
        arguments = batch["tokens"], batch["token_types"], batch["attention_mask"]
        output = module.backbone(*arguments, train=False, all_hidden=True)
        hidden = {f"hidden_{i}": x for i, x in enumerate(output.all_hidden_NBLD)}
        return hidden | {"logits": module.masked_logits(batch)[..., :vocab_size]}

    def total(params, batch):
        loss = objective.apply({"params": params}, batch, train=False)
        return sum(term.value() for term in loss.terms.values())

    @jax.jit
    def run(params, batch):
        loss, grads = jax.value_and_grad(total)(params, batch)
        values = objective.apply({"params": params}, batch, method=everything)
        return values | {"loss": loss}, grads

    values, grads = jax.device_get(run(params, made))
    return at_real_places(values, made), grads


def at_real_places(
    values: Mapping[str, np.ndarray], made: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Hidden states without padding's and logits without unused slots', which nobody looks at."""
    real_BL, used_BM = made["attention_mask"] == 1, made["masked_weights"] > 0
    kept = {key: x[real_BL] for key, x in values.items() if key.startswith("hidden")}
    return kept | {"logits": values["logits"][used_BM], "loss": values["loss"]}
