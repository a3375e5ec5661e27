"""Yuefu against BertLMHeadModel as a decoder, which is BERT's code with a mask of what follows."""

import dataclasses
import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.huggingface.yuefu import table
from plmjax.models.gpt import Config, Gpt
from plmjax.models.yuefu import PRESETS
from plmjax.objectives.causal_lm import CausalLM
from tests.compare import deviations, gradient_deviations, leaves
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)

TOLERANCE = 1e-4
# An epsilon that can be seen in the results: one in the wrong place must not pass.
_SMALL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "max_positions": 24, "num_layers": 3}
_SMALL |= {"layer_norm_epsilon": 1e-2}
CASES = {
    "tiny": _SMALL | {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 64},
    "deep": _SMALL
    | {"vocab_size": 90, "hidden_size": 24, "num_heads": 4, "mlp_size": 96, "num_layers": 6},
    "odd": _SMALL | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 100},
}


def config_of(name: str) -> Config:
    return dataclasses.replace(PRESETS["base"], **CASES[name])


def batch_of(config: Config) -> dict[str, np.ndarray]:
    """Rows of different lengths, each token's target the next one."""
    rng = np.random.default_rng(3)
    lengths = np.array([24, 13, 19, 7])[:, None]
    mask = (np.arange(24) < lengths).astype(np.int32)
    tokens = rng.integers(0, config.vocab_size, (4, 24)).astype(np.int32) * mask
    targets = np.roll(tokens, -1, 1)
    weights = (np.arange(24) < lengths - 1).astype(np.float32)
    return {"tokens": tokens, "attention_mask": mask, "targets": targets, "weights": weights}


@functools.cache
def theirs(name: str):
    config = config_of(name)
    settings = transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_size,
        max_position_embeddings=config.max_positions,
        layer_norm_eps=config.layer_norm_epsilon,
        hidden_act="gelu_new",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        type_vocab_size=1,
        is_decoder=True,
        attn_implementation="eager",
    )
    model = transformers.BertLMHeadModel(settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if "embeddings" in path else noise.shape[-1] ** -0.5
            if parameter.ndim == 1:
                scale = 0.3
            parameter.copy_(scale * noise + ("LayerNorm.weight" in path))
        model.bert.embeddings.token_type_embeddings.weight.zero_()
    batch = batch_of(config)
    tokens = torch.from_numpy(batch["tokens"]).long()
    mask = torch.from_numpy(batch["attention_mask"]).long()
    output = model(tokens, attention_mask=mask, use_cache=False)
    losses = torch.nn.functional.cross_entropy(
        output.logits.transpose(1, 2), torch.from_numpy(batch["targets"]).long(), reduction="none"
    )
    weights = torch.from_numpy(batch["weights"])
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    own = {path: p for path, p in model.named_parameters() if "token_type" not in path}
    arrays = {path: p.detach().numpy().copy() for path, p in own.items()}
    grads = {path: p.grad.numpy() for path, p in own.items()}
    return arrays, grads, {"logits": output.logits.detach().numpy(), "loss": loss.item()}


@functools.cache
def ours(name: str):
    config = config_of(name)
    objective, batch = CausalLM(Gpt(config)), batch_of(config)
    params = to_ours(theirs(name)[0], table(config), shape_of(config))

    def loss_of(params):
        loss = objective.apply({"params": params}, batch, train=False).terms["lm"]
        return loss.value()

    def logits_of(params):
        backbone, params = objective.backbone, {"params": params["backbone"]}
        output = backbone.apply(params, batch["tokens"], batch["attention_mask"], train=False)
        return backbone.apply(params, output.hidden_BLD, method="logits")

    loss, grads = jax.jit(jax.value_and_grad(loss_of))(params)
    logits = jax.jit(logits_of)(params)[..., : config.vocab_size]
    return {"logits": np.asarray(logits), "loss": float(loss)}, jax.device_get(grads), params


@pytest.mark.parametrize("name", CASES)
def test_values_equal_transformers(name):
    real = batch_of(config_of(name))["attention_mask"] == 1
    found, expected = ours(name)[0], theirs(name)[2]
    pairs = [{"logits": x["logits"][real], "loss": x["loss"]} for x in (found, expected)]
    off = deviations(*pairs)
    print(name, f"{max(off.values()):.1e}")
    assert max(off.values()) <= TOLERANCE, off


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_transformers(name):
    config = config_of(name)
    expected = to_ours(theirs(name)[1], table(config), shape_of(config))
    found = gradient_deviations(ours(name)[1], expected)
    print(name, f"{max(found.values()):.1e}")
    assert max(found.values()) <= TOLERANCE, max(found, key=found.get)


def test_every_parameter_was_compared():
    config = config_of("tiny")
    fresh = jax.eval_shape(
        lambda: CausalLM(Gpt(config)).init(jax.random.key(0), batch_of(config), train=False)
    )
    shapes = {path: x.shape for path, x in leaves(nn.meta.unbox(fresh["params"])).items()}
    assert {path: x.shape for path, x in leaves(ours("tiny")[2]).items()} == shapes


def test_what_follows_changes_nothing_before_it():
    config, params = config_of("tiny"), ours("tiny")[2]["backbone"]
    batch, module = batch_of(config), Gpt(config)
    changed = batch["tokens"].copy()
    changed[0, 12:] = (changed[0, 12:] + 1) % config.vocab_size
    before, after = (
        module.apply({"params": params}, t, batch["attention_mask"], train=False).hidden_BLD
        for t in (batch["tokens"], changed)
    )
    np.testing.assert_array_equal(before[0, :12], after[0, :12])
    assert np.abs(before[0, 12:] - after[0, 12:]).max() > 1e-3


def test_the_published_size_has_berts_parameters():
    """BertLMHeadModel's, without its one row of token types."""
    tree = jax.eval_shape(
        lambda: CausalLM(Gpt(PRESETS["base"])).init(
            jax.random.key(0),
            {key: np.zeros((1, 8), kind) for key, kind in _KEYS.items()},
            train=False,
        )
    )
    count = sum(x.size for x in jax.tree.leaves(nn.meta.unbox(tree["params"])))
    padding = -PRESETS["base"].vocab_size % PRESETS["base"].vocab_multiple
    with torch.device("meta"):
        settings = transformers.BertConfig(vocab_size=21_128, type_vocab_size=1, is_decoder=True)
        model = transformers.BertLMHeadModel(settings)
    rows = {id(p): p for p in model.parameters()}.values()
    assert count - padding * (768 + 1) == sum(p.numel() for p in rows) - 768


_KEYS = {"tokens": np.int32, "attention_mask": np.int32, "targets": np.int32, "weights": np.float32}
