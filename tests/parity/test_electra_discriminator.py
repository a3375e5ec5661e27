"""ELECTRA's discriminator with its head against transformers with the same random weights."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.huggingface.encoders import FAMILIES, discriminator_table
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.models.bert import Bert, Config
from plmjax.models.electra import PRESETS
from plmjax.nn.heads import DiscriminatorHead
from tests.compare import deviations, gradient_deviations, leaves
from tests.parity import encoders

torch, transformers = encoders.torch, encoders.transformers

TOLERANCE = 1e-4
_TINY = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2, "max_positions": 32}
_TINY |= {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 64}
_ODD = _TINY | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 100}
_DEEP = _TINY | {"num_layers": 5, "num_heads": 4, "layer_norm_epsilon": 1e-3}
CASES = {
    "tiny": dataclasses.replace(PRESETS["small"], **_TINY, embedding_size=12),
    "odd": dataclasses.replace(PRESETS["small"], **_ODD, embedding_size=23, activation="relu"),
    "deep": dataclasses.replace(PRESETS["base"], **_DEEP),
}
IN_FRONT = "odd"


class Discriminator(nn.Module):
    """The encoder and the head, as an objective has them."""

    config: Config

    def setup(self):
        c = self.config
        self.backbone = Bert(c)
        self.discriminator_head = DiscriminatorHead(c.activation, c.initializer_range, c.dtype)

    def __call__(self, made):
        arguments = made["tokens"], made["token_types"], made["attention_mask"]
        output = self.backbone(*arguments, train=False, all_hidden=True)
        hidden = {f"hidden_{i}": x for i, x in enumerate(output.all_hidden_NBLD)}
        return hidden | {"logits": self.discriminator_head(output.hidden_BLD)}


def make_batch(name: str) -> dict[str, np.ndarray]:
    """Rows of different lengths, padded behind, or in front in IN_FRONT; a third is replaced."""
    made = encoders.batch(CASES[name], 5, 21, 4)
    made["replaced"] = (np.random.default_rng(6).random((5, 21)) < 0.3).astype(np.int32)
    if name == IN_FRONT:
        for row, shift in enumerate(21 - made["attention_mask"].sum(1)):
            for key in ("tokens", "attention_mask", "token_types"):
                made[key][row] = np.roll(made[key][row], shift)
    return made


@functools.cache
def theirs(name: str):
    made = make_batch(name)
    settings = encoders.their_config("electra", CASES[name])
    torch.manual_seed(0)
    model = encoders.randomized(transformers.ElectraForPreTraining(settings).train())
    arrays = {
        "input_ids": made["tokens"],
        "attention_mask": made["attention_mask"],
        "token_type_ids": made["token_types"],
        "labels": made["replaced"],
    }
    inputs = {key: torch.from_numpy(np.asarray(x, np.int64)) for key, x in arrays.items()}
    output = model(**inputs, output_hidden_states=True)
    output.loss.backward()
    values = {"logits": output.logits, "loss": output.loss}
    values |= {f"hidden_{i}": x for i, x in enumerate(output.hidden_states)}
    tensors = {k: p.detach().numpy().copy() for k, p in model.named_parameters()}
    grads = {k: p.grad.numpy() for k, p in model.named_parameters()}
    return tensors, grads, {key: x.detach().numpy() for key, x in values.items()}


def tree(config: Config, tensors):
    return to_ours(tensors, discriminator_table(FAMILIES["electra"], config), shape_of(config))


@functools.cache
def ours(name: str):
    config, made = CASES[name], make_batch(name)
    module, weights_BL = Discriminator(config), made["attention_mask"]

    def values(params):
        found = module.apply({"params": params}, made)
        loss_BL = optax.sigmoid_binary_cross_entropy(found["logits"], made["replaced"])
        loss = (loss_BL * weights_BL).sum() / weights_BL.sum()
        return loss, found | {"loss": loss}

    run = jax.jit(jax.value_and_grad(values, has_aux=True))
    (_, found), grads = run(tree(config, theirs(name)[0]))
    return jax.device_get(found), jax.device_get(grads)


@pytest.mark.parametrize("name", CASES)
def test_values_equal_transformers(name):
    found = deviations(ours(name)[0], theirs(name)[2])
    print(name, max(found.values()))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_transformers(name):
    found = gradient_deviations(ours(name)[1], tree(CASES[name], theirs(name)[1]))
    worst = max(found, key=found.get)
    print(name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst


def parameters(config: Config):
    made = {key: jnp.asarray(x) for key, x in make_batch("tiny").items()}
    fresh = jax.eval_shape(lambda: Discriminator(config).init(jax.random.key(0), made))
    return nn.meta.unbox(fresh["params"])


@pytest.mark.parametrize("name", CASES)
def test_the_key_table_has_every_parameter_and_goes_both_ways(name):
    tensors = theirs(name)[0]
    for scan in (True, False):
        config = dataclasses.replace(CASES[name], scan=scan)
        params = tree(config, tensors)
        shapes = {path: leaf.shape for path, leaf in leaves(parameters(config)).items()}
        assert {path: leaf.shape for path, leaf in leaves(params).items()} == shapes
        table = discriminator_table(FAMILIES["electra"], config)
        back = to_theirs(params, table, shape_of(config))
        assert {k: x.tobytes() for k, x in back.items()} == {
            k: x.tobytes() for k, x in tensors.items()
        }


def test_bfloat16_runs():
    config = dataclasses.replace(CASES["tiny"], dtype="bfloat16")
    params = tree(config, theirs("tiny")[0])
    logits_BL = jax.jit(Discriminator(config).apply)({"params": params}, make_batch("tiny"))[
        "logits"
    ]
    assert logits_BL.dtype == jnp.float32
    assert deviations(logits_BL, ours("tiny")[0]["logits"])[""] < 0.1


@pytest.mark.parametrize(
    ("preset", "backbone", "whole"),
    [("small", 13.48, 13.55), ("base", 108.89, 109.48), ("large", 334.09, 335.14)],
)
def test_parameter_counts_are_the_published_ones(preset, backbone, whole):
    found = parameters(dataclasses.replace(PRESETS[preset], vocab_multiple=1))
    for tree, millions in ((found["backbone"], backbone), (found, whole)):
        assert round(sum(x.size for x in jax.tree.leaves(tree)) / 1e6, 2) == millions
