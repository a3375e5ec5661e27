"""XLM against transformers with the same random weights, in float32: MLM and CLM."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.errors import UserError
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.huggingface.xlm import FAMILY
from plmjax.models import bert
from plmjax.models.xlm import PRESETS
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.train.state import boxed_parameters
from tests.batches import spec
from tests.compare import deviation, deviations, gradient_deviations, leaves
from tests.parity import encoders

torch, transformers = encoders.torch, encoders.transformers

TOLERANCE = 1e-4
_SMALL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2, "max_positions": 32}
_TINY = _SMALL | {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 64}
_ODD = _SMALL | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 240}
_ODD |= {"languages": 7, "activation": "relu", "max_positions": 29}
_DEEP = _TINY | {"num_layers": 5, "num_heads": 4, "layer_norm_epsilon": 1e-3, "languages": 0}
CASES = {
    f"{name}{'-causal' * causal}": dataclasses.replace(PRESETS["15-langs"], causal=causal, **fields)
    for name, fields in (("tiny", _TINY), ("odd", _ODD), ("deep", _DEEP))
    for causal in (False, True)
}
IN_FRONT = ("odd", "deep")
"""Padded in front; a causal XLM of theirs sees what is there."""


def make_batch(name: str) -> dict[str, np.ndarray]:
    """Rows of different lengths, their tokens in different languages."""
    config = CASES[name]
    made = encoders.batch(config, 5, 21, 4)
    for key in ("token_types", "label", "label_weights"):
        del made[key]
    made["languages"] = np.random.default_rng(4).integers(0, config.languages or 9, (5, 21))
    if name in IN_FRONT:
        for row, shift in enumerate(21 - made["attention_mask"].sum(1)):
            for key in ("tokens", "attention_mask"):
                made[key][row] = np.roll(made[key][row], shift)
            made["masked_positions"][row] += shift * (made["masked_weights"][row] > 0)
    return made | {"token_types": np.zeros_like(made["tokens"])}


@functools.cache
def theirs(name: str):
    config, made = CASES[name], make_batch(name)
    settings = FAMILY.to_settings(config)
    torch.manual_seed(0)
    model = getattr(transformers, FAMILY.classes["language_model"])(
        transformers.XLMConfig(**settings, pad_token_id=encoders.PAD)
    )
    model = encoders.randomized(model.train())
    inputs = encoders.inputs("roberta", config, made)
    languages = torch.from_numpy(made["languages"])
    labels, mask = inputs.pop("labels"), inputs["attention_mask"]
    output = model(**inputs, langs=languages, output_hidden_states=True)
    if config.causal:
        labels = torch.where(mask == 1, inputs["input_ids"], -100)[:, 1:]
        logits = output.logits[:, :-1]
    else:
        logits = output.logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    loss.backward()
    values = {"logits": output.logits, "loss": loss}
    values |= {f"hidden_{i}": x for i, x in enumerate(output.hidden_states)}
    tensors = {k: p.detach().numpy().copy() for k, p in model.named_parameters()}
    grads = {k: p.grad.numpy() for k, p in model.named_parameters()}
    return tensors, grads, {key: x.detach().numpy() for key, x in values.items()}


def tree(config: bert.Config, tensors):
    return to_ours(tensors, FAMILY.table(config, "language_model"), shape_of(config))


@functools.cache
def ours(name: str):
    config, made = CASES[name], make_batch(name)
    module, params = BertPretraining(bert.Bert(config), 0), tree(config, theirs(name)[0])

    def everything(module):
        arguments = made["tokens"], made["token_types"], made["attention_mask"]
        output = module.backbone(
            *arguments, train=False, all_hidden=True, languages_BL=made["languages"]
        )
        logits = module.mlm_head(output.hidden_BLD, module.backbone.token_table)
        hidden = {f"hidden_{i}": x for i, x in enumerate(output.all_hidden_NBLD)}
        return hidden | {"logits": logits[..., : config.vocab_size]}

    def values(params):
        found = module.apply({"params": params}, method=everything)
        if config.causal:
            targets_BL, weights_BL = made["tokens"][:, 1:], made["attention_mask"][:, 1:]
            loss_BL = optax.softmax_cross_entropy_with_integer_labels(
                found["logits"][:, :-1], targets_BL
            )
            loss = (loss_BL * weights_BL).sum() / weights_BL.sum()
        else:
            loss = module.apply({"params": params}, made, train=False).terms["mlm"].value()
        return loss, found | {"loss": loss}

    (_, found), grads = jax.jit(jax.value_and_grad(values, has_aux=True))(params)
    return jax.device_get(found), jax.device_get(grads)


@pytest.mark.parametrize("name", CASES)
def test_values_equal_transformers(name):
    real = make_batch(name)["attention_mask"] == 1  # they set padded places to zero
    found, expected = (
        {key: x if key == "loss" else np.asarray(x)[real] for key, x in some.items()}
        for some in (ours(name)[0], theirs(name)[2])
    )
    deviation = deviations(found, expected)
    print(name, max(deviation.values()))
    assert max(deviation.values()) <= TOLERANCE, deviation


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_transformers(name):
    found = gradient_deviations(ours(name)[1], tree(CASES[name], theirs(name)[1]))
    worst = max(found, key=found.get)
    print(name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst


@pytest.mark.parametrize("name", ["tiny", "deep"])
def test_the_key_table_has_every_parameter_and_goes_both_ways(name):
    tensors, made = theirs(name)[0], spec(make_batch(name))
    for scan in (True, False):
        config = dataclasses.replace(CASES[name], scan=scan)
        params = tree(config, tensors)
        objective = BertPretraining(bert.Bert(config), 0)
        fresh = nn.meta.unbox(boxed_parameters(objective, made))
        shapes = {path: leaf.shape for path, leaf in leaves(fresh).items()}
        assert {path: leaf.shape for path, leaf in leaves(params).items()} == shapes
        back = to_theirs(params, FAMILY.table(config, "language_model"), shape_of(config))
        assert {k: x.tobytes() for k, x in back.items()} == {
            k: x.tobytes() for k, x in tensors.items()
        }
        backbone = {entry.ours for entry in FAMILY.table(config, "model")}
        assert backbone == {path for path in shapes if path.startswith("backbone/")}


def test_scanned_and_unscanned_are_equal():
    made, found = make_batch("deep"), []
    for scan in (True, False):
        config = dataclasses.replace(CASES["deep"], scan=scan)
        params = tree(config, theirs("deep")[0])
        module = BertPretraining(bert.Bert(config), 0)
        found.append(module.apply({"params": params}, made, train=False).terms["mlm"].value())
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_languages_count_where_there_is_a_table_and_only_there():
    def hidden(name, languages_BL):
        made, config = make_batch(name), CASES[name]
        params = tree(config, theirs(name)[0])["backbone"]
        arguments = made["tokens"], made["token_types"], made["attention_mask"]
        module = bert.Bert(config)
        return module.apply(
            {"params": params}, *arguments, train=False, languages_BL=languages_BL
        ).hidden_BLD

    assert deviation(hidden("tiny", None), hidden("tiny", make_batch("tiny")["languages"])) > 1e-2
    assert deviation(hidden("deep", None), hidden("deep", make_batch("deep")["languages"])) == 0


@pytest.mark.parametrize("name", ["tiny", "tiny-causal"])
def test_bfloat16_runs(name):
    config = dataclasses.replace(CASES[name], dtype="bfloat16")
    module, made = BertPretraining(bert.Bert(config), 0), make_batch(name)
    params = tree(config, theirs(name)[0])

    def total(params):
        return module.apply({"params": params}, made, train=False).terms["mlm"].value()

    loss, grads = jax.jit(jax.value_and_grad(total))(params)
    assert jnp.isfinite(loss) and all(jnp.isfinite(x).all() for x in jax.tree.leaves(grads))
    if not config.causal:
        assert abs(loss / ours(name)[0]["loss"] - 1) < 0.05


@pytest.mark.parametrize("config", [*PRESETS.values(), *CASES.values()])
def test_settings_go_both_ways(config):
    class_config = transformers.XLMConfig(**FAMILY.to_settings(config))
    assert FAMILY.from_settings(class_config.to_dict()) == config


def test_what_ours_cannot_be_is_said():
    settings = FAMILY.to_settings(CASES["tiny"]) | {"asm": True}
    with pytest.raises(UserError, match="asm=True"):
        FAMILY.from_settings(settings)
    with pytest.raises(UserError, match="head_transform"):
        dataclasses.replace(CASES["tiny"], embedding_size=8)


def test_their_defaults_are_the_english_model():
    assert FAMILY.from_settings(transformers.XLMConfig().to_dict()) == PRESETS["en"]


@pytest.mark.parametrize(
    ("preset", "head", "count"),
    [("15-langs", False, 248_976_384), ("15-langs", True, 249_071_384)],
)
def test_parameter_counts_are_the_published_ones(preset, head, count):
    config = dataclasses.replace(PRESETS[preset], vocab_multiple=1)
    boxed = boxed_parameters(BertPretraining(bert.Bert(config), 0), spec(make_batch("tiny")))
    part = boxed if head else boxed["backbone"]
    assert sum(leaf.size for leaf in jax.tree.leaves(part)) == count
