"""XLM's CLM, MLM and TLM: batches as the input makes them, loss and gradients as transformers'."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from plmjax.data.batch_form import DataConfig, masking_config, plan_config
from plmjax.data.store import token_counts
from plmjax.data.tasks import open_input
from plmjax.errors import UserError
from plmjax.families import OBJECTIVES, make_objective
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.huggingface.xlm import FAMILY
from plmjax.models import bert
from plmjax.models.xlm import PRESETS
from plmjax.reporting import sides_apart
from tests.compare import gradient_deviations
from tests.data.stores import open_stores, write_stores
from tests.parity import encoders

torch, transformers = encoders.torch, encoders.transformers

TOLERANCE = 1e-4
BLOCKS = {"plan": plan_config("blocks"), "frame": "eos", "sources": "english,chinese"}
PAIRS = {"plan": plan_config("translation"), "frame": "xlm", "sources": "english-chinese"}
XLM = masking_config("xlm", sample_alpha=0.5, mask_rate=0.3)
DATA = {
    "clm": {"tasks": {"clm": BLOCKS | {"masking": masking_config("causal")}}},
    "clm-tlm": {"tasks": {"clm": PAIRS | {"masking": masking_config("causal")}}},
    "mlm": {"tasks": {"mlm": BLOCKS}, "masking": XLM},
    "tlm": {"tasks": {"tlm": PAIRS}, "masking": XLM},
    "mlm-and-tlm": {"tasks": {"mlm": BLOCKS, "tlm": PAIRS}, "masking": XLM},
}
"""What each kind of batch is made by; the second is the CLM of pairs that the code has, too."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    write_stores(folder)
    return open_stores(folder)


def objective_of(name: str) -> str:
    return "clm" if name.startswith("clm") else "bert_pretraining"


def config_of(name: str, vocab_size: int) -> bert.Config:
    return dataclasses.replace(
        PRESETS["15-langs"],
        **{"vocab_size": vocab_size, "num_layers": 3, "hidden_size": 24, "num_heads": 4},
        **{"mlp_size": 96, "max_positions": 64, "languages": 2, "causal": "clm" in name},
        **{"hidden_dropout": 0.0, "attention_dropout": 0.0},
    )


def batch_of(stores, name: str) -> dict[str, np.ndarray]:
    """A batch of the second task, or the only one, with rows of different lengths."""
    splits = stores.text | {"english-chinese": stores.pairs["en-zh"]}
    data = DataConfig(seq_len=40, batch_size=6, languages="chinese,english", **DATA[name])
    counts = token_counts(list(splits.values()))
    source = open_input(splits, stores.tokenizer, data, 1, token_counts=counts)
    return source.batch(len(data.tasks) - 1)


def theirs(config: bert.Config, batch: dict[str, np.ndarray], pad: int) -> tuple[Any, float]:
    """The model of transformers after a backward pass, and its loss."""
    settings = FAMILY.to_settings(config) | {"pad_token_id": pad}
    torch.manual_seed(0)
    model = transformers.XLMWithLMHeadModel(transformers.XLMConfig(**settings))
    model = encoders.randomized(model.train())
    given = {"input_ids": "tokens", "attention_mask": "attention_mask", "langs": "languages"}
    given |= {"position_ids": "positions"} if "positions" in batch else {}
    inputs = {key: torch.from_numpy(batch[name].astype(np.int64)) for key, name in given.items()}
    logits = model(**inputs).logits
    if config.causal:
        labels = np.where(batch["weights"] > 0, batch["targets"], -100).astype(np.int64)
    else:
        labels = encoders.labels(batch)
    chosen = torch.from_numpy(labels)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), chosen.flatten())
    loss.backward()
    return model, float(loss.detach())


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradients(module, params, batch):
    return jax.value_and_grad(lambda p: module.apply({"params": p}, batch, train=False).total())(
        params
    )


@pytest.mark.parametrize("name", DATA)
def test_loss_and_gradients_equal_transformers(stores, name):
    batch = batch_of(stores, name)
    assert set(np.unique(batch["languages"][batch["attention_mask"] > 0])) == {0, 1}
    if name in ("tlm", "clm-tlm", "mlm-and-tlm"):
        begins = (batch["positions"] == 0) & (batch["attention_mask"] > 0)
        assert (begins.sum(1) == 2).all()
    config = config_of(name, stores.tokenizer.vocab_size)
    model, expected = theirs(config, batch, stores.tokenizer.pad_id)
    table, shape = FAMILY.table(config, "language_model"), shape_of(config)
    tensors = {key: p.detach().numpy() for key, p in model.named_parameters()}
    grads = {key: p.grad.numpy() for key, p in model.named_parameters()}
    nothing = {"labels": 0, "task": ""}
    module = make_objective({"name": objective_of(name)}, "xlm", config, nothing)
    read = {key: x for key, x in batch.items() if key != "overflow"}
    params = to_ours(tensors, table, shape)
    loss, found = loss_and_gradients(module, params, read)
    worst = gradient_deviations(jax.device_get(found), to_ours(grads, table, shape))
    print(name, abs(loss - expected), max(worst.values()))
    assert abs(loss - expected) <= TOLERANCE * abs(expected)
    assert max(worst.values()) <= TOLERANCE, max(worst, key=worst.get)
    terms = module.apply({"params": params}, read, train=False).terms
    assert {key: float(x) for key, x in module.weights(read).items()} == {
        key: float(term.weight) for key, term in terms.items()
    }


def test_an_encoder_that_looks_both_ways_has_no_next_tokens():
    config = dataclasses.replace(config_of("clm", 50), causal=False)
    with pytest.raises(UserError, match=r"set config\.model\.causal=True"):
        OBJECTIVES["clm"](bert.Bert(config), 0)
    with pytest.raises(UserError, match=r"mlm_factor=0\.5 is of masked tokens, and 'clm' has none"):
        OBJECTIVES["clm"](bert.Bert(config_of("clm", 50)), 0, mlm_factor=0.5)


def test_with_its_sides_apart_a_text_does_not_see_its_translation(stores):
    """What the report calls `translation not seen`: the other side may say anything."""
    batch = batch_of(stores, "tlm")
    config = config_of("tlm", stores.tokenizer.vocab_size)
    module = OBJECTIVES["bert_pretraining"](bert.Bert(config), 0)
    params = nn.meta.unbox(module.init(jax.random.key(0), batch, train=False))["params"]
    is_first = batch["token_types"] == 0
    other = np.where(is_first, batch["tokens"], 7)
    apart = {"segment_ids": sides_apart(batch)}

    def of_first(more):
        found = [
            module.apply({"params": params}, batch | {"tokens": x} | more, method="masked_logits")
            for x in (batch["tokens"], other)
        ]
        places = np.take_along_axis(is_first, batch["masked_positions"], 1)
        used = places & (batch["masked_weights"] > 0)
        assert used.any()
        return np.abs(np.asarray(found[0] - found[1]))[used].max()

    assert of_first(apart) == 0
    assert of_first({}) > 1e-4
