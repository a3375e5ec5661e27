"""MobileBERT against transformers with the same random weights, in float32."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.errors import UserError
from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.huggingface.mobilebert import FAMILY
from plmjax.models.mobilebert import PRESETS, Config, MobileBert
from plmjax.objectives.bert_pretraining import BertPretraining
from plmjax.train.state import boxed_parameters
from tests.batches import bert_batch, spec
from tests.compare import deviations, gradient_deviations, leaves
from tests.parity import encoders

torch, transformers = encoders.torch, encoders.transformers

TOLERANCE = 1e-4
_TINY = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2, "max_positions": 32}
_TINY |= {"vocab_size": 120, "hidden_size": 32, "num_heads": 2, "mlp_size": 24}
_TINY |= {"embedding_size": 8, "bottleneck_size": 16}
_ODD = _TINY | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 37}
_ODD |= {"embedding_size": 13, "bottleneck_size": 35, "num_mlps": 3, "pooled_dense": True}
_ODD |= {"norm": "layer", "layer_norm_epsilon": 1e-5, "activation": "gelu", "token_types": 3}
_LAYER = {"norm": "layer", "layer_norm_epsilon": 1e-5}  # what some of their norms have always
CASES = {
    "tiny": dataclasses.replace(PRESETS["uncased"], **_TINY),
    "odd": dataclasses.replace(PRESETS["uncased"], **_ODD),
    "deep": dataclasses.replace(PRESETS["tiny"], **_TINY | {"num_layers": 5, "num_heads": 4}),
    "plain": dataclasses.replace(
        PRESETS["uncased"], **_TINY | _LAYER | {"bottleneck_size": 0, "num_mlps": 1}
    ),
    "residual": dataclasses.replace(
        PRESETS["ib-bert-large"], **_TINY | _LAYER | {"bottleneck_size": 32}
    ),
}
IN_FRONT = "deep"


def make_batch(name: str) -> dict[str, np.ndarray]:
    """Rows of different lengths, padded behind, or in front in IN_FRONT."""
    made = bert_batch(CASES[name], 5, 21, 4, seed=2)
    if name == IN_FRONT:
        for row, shift in enumerate(21 - made["attention_mask"].sum(1)):
            for key in ("tokens", "attention_mask", "token_types"):
                made[key][row] = np.roll(made[key][row], shift)
            made["masked_positions"][row] += shift * (made["masked_weights"][row] > 0)
    return made


def tree(config: Config, tensors):
    return to_ours(tensors, FAMILY.table(config, "pretraining"), shape_of(config))


@functools.cache
def theirs(name: str):
    config, made = CASES[name], make_batch(name)
    # Without an id of padding, whose embedding theirs would not train; next to the last token it
    # counts.
    settings = transformers.MobileBertConfig(
        **FAMILY.to_settings(config), pad_token_id=None, attn_implementation="eager"
    )
    torch.manual_seed(0)
    model = getattr(transformers, FAMILY.classes["pretraining"])(settings)
    # Where nothing is normalised, numbers grow from layer to layer until nothing can be compared.
    model = encoders.randomized(model.train(), gain=0.5 if config.norm == "no_norm" else 1.5)
    inputs = encoders.inputs("ernie", config, made)
    output = model(**inputs, output_hidden_states=True)
    output.loss.backward()
    rows = np.arange(5)[:, None]
    values = {
        "logits": output.prediction_logits[rows, made["masked_positions"]],
        "pair": output.seq_relationship_logits,
        "loss": output.loss,
    }
    values |= {f"hidden_{i}": x for i, x in enumerate(output.hidden_states)}
    tensors = {k: p.detach().numpy().copy() for k, p in model.named_parameters()}
    grads = {k: p.grad.numpy() for k, p in model.named_parameters()}
    return tensors, grads, {key: x.detach().numpy() for key, x in values.items()}


@functools.cache
def ours(name: str):
    config, made = CASES[name], make_batch(name)
    module, params = BertPretraining(MobileBert(config)), tree(config, theirs(name)[0])

    def everything(module):
        arguments = made["tokens"], made["token_types"], made["attention_mask"]
        output = module.backbone(*arguments, train=False, all_hidden=True)
        hidden = {f"hidden_{i}": x for i, x in enumerate(output.all_hidden_NBLD)}
        logits = module.masked_logits(made)[..., : config.vocab_size]
        return hidden | {"logits": logits, "pair": module.nsp_head(output.pooled_BD)}

    def values(params):
        loss = module.apply({"params": params}, made, train=False)
        loss = sum(term.value() for term in loss.terms.values())
        return loss, module.apply({"params": params}, method=everything) | {"loss": loss}

    (_, found), grads = jax.jit(jax.value_and_grad(values, has_aux=True))(params)
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


@pytest.mark.parametrize("name", CASES)
def test_the_key_table_has_every_parameter_and_goes_both_ways(name):
    tensors, made = theirs(name)[0], spec(make_batch(name))
    for scan in (True, False):
        config = dataclasses.replace(CASES[name], scan=scan)
        params = tree(config, tensors)
        fresh = nn.meta.unbox(boxed_parameters(BertPretraining(MobileBert(config)), made))
        shapes = {path: leaf.shape for path, leaf in leaves(fresh).items()}
        assert {path: leaf.shape for path, leaf in leaves(params).items()} == shapes
        back = to_theirs(params, FAMILY.table(config, "pretraining"), shape_of(config))
        assert {k: x.tobytes() for k, x in back.items()} == {
            k: x.tobytes() for k, x in tensors.items()
        }


@pytest.mark.parametrize("which", ["model", "language_model"])
def test_the_key_table_of_their_other_classes(which):
    config = CASES["odd"]
    settings = transformers.MobileBertConfig(**FAMILY.to_settings(config))
    model = getattr(transformers, FAMILY.classes[which])(settings)
    prefix = FAMILY.prefix if which == "model" else ""
    names = {prefix + name for name, _ in model.named_parameters()}
    assert {name for entry in FAMILY.table(config, which) for name in entry.names} == names


@pytest.mark.parametrize("name", ["tiny", "odd"])
def test_scanned_and_unscanned_are_equal(name):
    made, found = make_batch(name), []
    for scan in (True, False):
        config = dataclasses.replace(CASES[name], scan=scan)
        module, params = BertPretraining(MobileBert(config)), tree(config, theirs(name)[0])
        loss = jax.jit(functools.partial(module.apply, train=False))({"params": params}, made)
        found.append(loss.terms["mlm"].value())
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_packed_texts_are_as_if_alone():
    config = CASES["tiny"]
    params = tree(config, theirs("tiny")[0])["backbone"]
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, 20))
    segments = np.array([[1] * 8 + [2] * 12])
    positions = np.concatenate([np.arange(8), np.arange(12)])[None]
    types, ones = np.zeros((1, 20), np.int32), np.ones((1, 20), np.int32)
    apply = jax.jit(functools.partial(MobileBert(config).apply, train=False))

    def hidden(part, **fields):
        arguments = tokens[:, part], types[:, part], ones[:, part]
        return apply({"params": params}, *arguments, **fields).hidden_BLD

    together = hidden(slice(20), positions_BL=positions, segment_ids_BL=segments)
    for part in (slice(8), slice(8, 20)):
        np.testing.assert_allclose(together[:, part], hidden(part), rtol=1e-5, atol=1e-5)


def test_bfloat16_runs():
    config = dataclasses.replace(CASES["odd"], dtype="bfloat16", attention_dropout=0.1)
    module, made = BertPretraining(MobileBert(config)), make_batch("odd")
    params = tree(config, theirs("odd")[0])

    def total(params):
        rngs = {"dropout": jax.random.key(0)}
        loss = module.apply({"params": params}, made, train=True, rngs=rngs)
        return sum(term.value() for term in loss.terms.values())

    loss, grads = jax.jit(jax.value_and_grad(total))(params)
    assert jnp.isfinite(loss) and all(jnp.isfinite(x).all() for x in jax.tree.leaves(grads))
    assert abs(loss / ours("odd")[0]["loss"] - 1) < 0.1


@pytest.mark.parametrize("config", [PRESETS["uncased"], PRESETS["tiny"], *CASES.values()])
def test_settings_go_both_ways(config):
    settings = transformers.MobileBertConfig(**FAMILY.to_settings(config))
    assert FAMILY.from_settings(settings.to_dict()) == config


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match="attention_inputs=residual"):
        FAMILY.to_settings(PRESETS["ib-bert-large"])
    settings = FAMILY.to_settings(CASES["tiny"])
    for fields in ({"trigram_input": False}, {"hidden_act": "swish"}):
        with pytest.raises(UserError, match=next(iter(fields))):
            FAMILY.from_settings(settings | fields)
    for fields in ({"bottleneck_size": 15}, {"embedding_size": 0}, {"num_mlps": 0}, {"norm": "no"}):
        with pytest.raises(UserError, match=f"config.model.{next(iter(fields))}="):
            dataclasses.replace(CASES["tiny"], **fields)


@pytest.mark.parametrize(
    "config",
    [*PRESETS.values(), dataclasses.replace(PRESETS["uncased"], bottleneck_size=0)],
    ids=[*PRESETS, "plain"],
)
def test_operations_are_those_xla_counts(config):
    # Unscanned, since XLA counts a scanned body once.
    config = dataclasses.replace(config, num_layers=2, scan=False)
    module, ones = MobileBert(config), np.ones((2, 128), np.int32)
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), ones, ones, ones, train=False))

    def forward(params):
        return module.apply(params, ones, ones, ones, train=False)

    ratio = jax.jit(forward).lower(params).cost_analysis()["flops"] / module.forward_flops(2, 128)
    print(ratio)
    assert 1 < ratio < 1.1  # XLA adds softmax, norms and activations


def test_parameter_counts_are_the_published_ones():
    def count(**fields):
        config = dataclasses.replace(PRESETS["uncased"], vocab_multiple=1, **fields)
        made = spec(make_batch("tiny"))
        backbone = boxed_parameters(BertPretraining(MobileBert(config)), made)["backbone"]
        return sum(leaf.size for leaf in jax.tree.leaves(backbone))

    # The published model has no projection of the first place, transformers' default has.
    assert count(pooled_dense=True) == 24_844_544
    assert count() == 24_844_544 - 512 * 512 - 512
