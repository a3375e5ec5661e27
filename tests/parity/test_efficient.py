"""Longformer and BigBird against transformers with the same random weights, in float32."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.huggingface.encoders import FAMILIES, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.models import bert, roberta
from plmjax.nn.efficient import bigbird
from plmjax.nn.efficient.kinds import BigBird, Longformer
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.train.state import boxed_parameters
from tests.batches import spec
from tests.compare import deviations, gradient_deviations, leaves
from tests.parity import encoders as oracle

torch = oracle.torch

TOLERANCE = 1e-4
_SMALL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2}
_SMALL |= {"max_positions": 80}
_TINY = _SMALL | {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 32}
_ODD = _SMALL | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 100}
_DEEP = _TINY | {"num_layers": 3, "num_heads": 4, "layer_norm_epsilon": 1e-3, "mlp_size": 24}


def _cases() -> dict[tuple[str, str], bert.Config]:
    longformer = dataclasses.replace(roberta.PRESETS["base"], pooler=False)
    bert_base = bert.PRESETS["base"]
    return {
        (family, name): dataclasses.replace(base, attention=kind, **fields)
        for family, base, name, fields, kind in (
            ("longformer", longformer, "tiny", _TINY, Longformer(window=8, global_tokens=1)),
            ("longformer", longformer, "odd", _ODD, Longformer(window=34, global_tokens=3)),
            ("longformer", longformer, "deep", _DEEP, Longformer(window=4, global_tokens=7)),
            ("longformer", longformer, "local", _TINY, Longformer(window=10, global_tokens=0)),
            ("bigbird", bert_base, "tiny", _TINY, BigBird(block=4, random_blocks=2)),
            ("bigbird", bert_base, "odd", _ODD, BigBird(block=5, random_blocks=1)),
            ("bigbird", bert_base, "deep", _DEEP, BigBird(block=3, random_blocks=3)),
            ("bigbird", bert_base, "short", _TINY, BigBird(block=9, random_blocks=2)),
        )
    }


CASES = _cases()
SIZES = (3, 45, 4)


def batch(config: bert.Config) -> dict[str, np.ndarray]:
    """Padded behind, 45 places at most: whole blocks or windows in no case but one."""
    return oracle.batch(config, *SIZES)


def of_interest(values: dict, config: bert.Config) -> dict[str, np.ndarray]:
    """Hidden states of real tokens alone: what padding computes is nobody's business."""
    real = batch(config)["attention_mask"] == 1
    arrays = {key: np.asarray(x) for key, x in values.items()}
    return {k: x[:, : SIZES[1]][real] if "hidden" in k else x for k, x in arrays.items()}


def without_unused(config: bert.Config, tensors: dict) -> dict:
    """Their Longformer has projections for global tokens where there are none."""
    if getattr(config.attention, "global_tokens", 1):
        return tensors
    return {name: x for name, x in tensors.items() if "_global" not in name}


def names_of(family: str, config: bert.Config):
    names = FAMILIES[family]
    if getattr(config.attention, "global_tokens", 1):
        return names
    return dataclasses.replace(
        names, parts={k: v for k, v in names.parts.items() if "global" not in k}
    )


def table_of(family: str, config: bert.Config) -> list:
    return masked_lm_table(names_of(family, config), config)


@functools.cache
def theirs(family: str, name: str):
    config = CASES[family, name]
    model, made, drawn = oracle.build(family, config), batch(CASES[family, name]), []
    inputs = oracle.inputs(family, config, made)
    if family == "longformer":
        is_global = torch.zeros_like(inputs["input_ids"])
        is_global[:, : config.attention.global_tokens] = 1
        inputs["global_attention_mask"] = is_global if is_global.any() else None
    elif name != "short":
        for layer in model.bert.encoder.layer:
            record(layer.attention.self, drawn)
    output = model(**inputs, output_hidden_states=True)
    output.loss.backward()
    rows = np.arange(len(made["tokens"]))[:, None]
    values = {"logits": output.logits[rows, made["masked_positions"]], "loss": output.loss}
    values |= {f"hidden_{i}": x for i, x in enumerate(output.hidden_states)}
    parameters = without_unused(config, dict(model.named_parameters()))
    table, shape = table_of(family, config), shape_of(config)
    arrays = {k: p.detach().numpy().copy() for k, p in parameters.items()}
    # BigBird's pooler has no gradient: nothing is predicted from it.
    grads = {
        k: np.zeros(p.shape) if p.grad is None else p.grad.numpy() for k, p in parameters.items()
    }
    values = {key: x.detach().numpy() for key, x in values.items()}
    return arrays, *(to_ours(x, table, shape) for x in (arrays, grads)), values, np.array(drawn)


def record(attention, drawn: list) -> None:
    """Keeps the blocks that each call draws."""
    draw = attention._bigbird_block_rand_mask_with_head

    def drawing(**arguments):
        drawn.append(np.stack(draw(**arguments)))
        return drawn[-1]

    attention._bigbird_block_rand_mask_with_head = drawing


@functools.cache
def ours(family: str, name: str):
    config, made = CASES[family, name], batch(CASES[family, name])
    module = BertPretraining(bert.Bert(config), 0)
    _, params, _, _, blocks_NHnR = theirs(family, name)

    def everything(module, batch):
        arguments = batch["tokens"], batch["token_types"], batch["attention_mask"]
        output = module.backbone(*arguments, train=False, all_hidden=True)
        hidden = {f"hidden_{i}": x for i, x in enumerate(output.all_hidden_NBLD)}
        return hidden | {"logits": module.masked_logits(batch)[..., : config.vocab_size]}

    def total(params, batch):
        loss = module.apply({"params": params}, batch, train=False)
        return sum(term.value() for term in loss.terms.values())

    @jax.jit
    def run(params, batch):
        loss, grads = jax.value_and_grad(total)(params, batch)
        return module.apply({"params": params}, batch, method=everything) | {"loss": loss}, grads

    def blocks(seed, layer, num_heads, blocks, count):
        table = jnp.asarray(blocks_NHnR)
        assert table.shape[1:] == (num_heads, blocks - 2, count)
        return table[layer]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigbird, "random_blocks", blocks)
        return jax.device_get(run(params, made))


@pytest.mark.parametrize(("family", "name"), CASES)
def test_hidden_states_logits_and_loss_equal_transformers(family, name):
    config = CASES[family, name]
    found = deviations(
        of_interest(ours(family, name)[0], config), of_interest(theirs(family, name)[3], config)
    )
    print(family, name, max(found.values()))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize(("family", "name"), CASES)
def test_every_gradient_equals_transformers(family, name):
    grads, expected = ours(family, name)[1], theirs(family, name)[2]
    found = gradient_deviations(grads, expected)
    worst = max(found, key=found.get)
    print(family, name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst


@pytest.mark.parametrize(("family", "name"), CASES)
def test_the_key_table_has_every_parameter_and_goes_both_ways(family, name):
    config, tensors = CASES[family, name], theirs(family, name)[0]
    for scan in (True, False):
        config = dataclasses.replace(config, scan=scan)
        tree = to_ours(tensors, table_of(family, config), shape_of(config))
        module = BertPretraining(bert.Bert(config), 0)
        fresh = nn.meta.unbox(boxed_parameters(module, spec(batch(config))))
        shapes = {path: leaf.shape for path, leaf in leaves(fresh).items()}
        assert {path: leaf.shape for path, leaf in leaves(tree).items()} == shapes
        back = to_theirs(tree, table_of(family, config), shape_of(config))
        assert all(back[name].tobytes() == x.tobytes() for name, x in tensors.items())
