"""ELECTRA's joint loss against transformers' generator and discriminator with tied embeddings."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from plmjax.huggingface.encoders import FAMILIES, discriminator_table, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.bert import Bert
from plmjax.models.electra import PRESETS
from plmjax.objectives.electra import Electra, written
from plmjax.train.state import boxed_parameters
from tests.batches import spec
from tests.compare import deviations, gradient_deviations, leaves
from tests.parity import encoders

torch, transformers = encoders.torch, encoders.transformers

TOLERANCE = 1e-4
_TINY = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2, "max_positions": 32}
_TINY |= {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 64}
_ODD = _TINY | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 100}
_DEEP = _TINY | {"num_layers": 5, "num_heads": 4, "layer_norm_epsilon": 1e-3}
CASES = {
    "tiny": (dataclasses.replace(PRESETS["small"], **_TINY, embedding_size=12), 0.5),
    "odd": (dataclasses.replace(PRESETS["small"], **_ODD, embedding_size=23), 0.25),
    "deep": (dataclasses.replace(PRESETS["base"], **_DEEP), 1.0),
}
WEIGHT = 50.0


def objective(name: str) -> Electra:
    config, fraction = CASES[name]
    return Electra(Bert(config), generator_fraction=fraction, discriminator_weight=WEIGHT)


@functools.cache
def make_batch(name: str) -> dict[str, np.ndarray]:
    """Rows of different lengths, in some of which a position is selected twice."""
    made = encoders.batch(CASES[name][0], 5, 21, 4)
    del made["label"], made["label_weights"]
    twice = made["masked_weights"][:, 1] > 0
    assert twice.sum() >= 2
    for key in ("masked_positions", "masked_targets"):
        made[key][twice, 1] = made[key][twice, 0]
    return made


@functools.cache
def their_models(name: str):
    """The generator and the discriminator, in one piece where they share."""
    config, fraction = CASES[name]
    torch.manual_seed(0)
    whole = encoders.their_config("electra", config)
    discriminator = encoders.randomized(transformers.ElectraForPreTraining(whole))
    narrow = encoders.their_config("electra", config.narrower(fraction))
    generator = transformers.ElectraForMaskedLM(narrow)
    generator = encoders.randomized(generator)
    generator.electra.embeddings = discriminator.electra.embeddings
    table = discriminator.electra.embeddings.word_embeddings.weight
    generator.generator_lm_head.weight = table
    return generator, discriminator


def tree(name: str, tensors_of):
    """What `tensors_of` a model tells, in the place of our parameters."""
    (config, fraction), names = CASES[name], FAMILIES["electra"]
    narrow = config.narrower(fraction)
    generator, discriminator = (
        {key: x.numpy().copy() for key, x in tensors_of(model).items()}
        for model in their_models(name)
    )
    theirs = to_ours(generator, masked_lm_table(names, narrow), shape_of(narrow))
    own = [key for key in theirs["backbone"] if key in ("encoder", "embedding_projection")]
    theirs["generator"] = {key: theirs["backbone"][key] for key in own}
    table = discriminator_table(names, config)
    return theirs | to_ours(discriminator, table, shape_of(config))


@functools.cache
def weights(name: str):
    return tree(name, lambda model: {k: p.detach() for k, p in model.named_parameters()})


@functools.cache
def ours(name: str):
    """The tokens drawn, the values and the gradients."""
    module, made = objective(name), make_batch(name)

    def total(params):
        loss = module.apply({"params": params}, made, train=False)
        values = {key: mean.value() for key, mean in (loss.terms | loss.metrics).items()}
        return loss.total(), values | {"loss": loss.total()}

    def drawn(module, batch):
        return module._drawn(module._generated(batch, False), batch, False)

    def run(params):
        (_, values), grads = jax.value_and_grad(total, has_aux=True)(params)
        return module.apply({"params": params}, made, method=drawn), values, grads

    return jax.device_get(jax.jit(run)(weights(name)))


@functools.cache
def theirs(name: str):
    """The values and the gradients, with the tokens that ours has drawn."""
    made, drawn_BM = make_batch(name), ours(name)[0]
    generator, discriminator = their_models(name)
    common = {
        "attention_mask": torch.from_numpy(made["attention_mask"].astype(np.int64)),
        "token_type_ids": torch.from_numpy(made["token_types"].astype(np.int64)),
    }
    tokens_BL = torch.from_numpy(made["tokens"].astype(np.int64))
    logits_BLV = generator(input_ids=tokens_BL, **common).logits
    used = made["masked_weights"] > 0
    rows = np.nonzero(used)[0]
    logits_PV = logits_BLV[rows, made["masked_positions"][used]]
    targets_P = torch.from_numpy(made["masked_targets"][used].astype(np.int64))
    mlm = torch.nn.functional.cross_entropy(logits_PV, targets_P)
    true_BL, shown_BL = made["tokens"].copy(), made["tokens"].copy()
    for row, slot in reversed(np.argwhere(used)):  # so that of two draws the first counts
        true_BL[row, made["masked_positions"][row, slot]] = made["masked_targets"][row, slot]
        shown_BL[row, made["masked_positions"][row, slot]] = drawn_BM[row, slot]
    replaced_BL = np.where(made["attention_mask"] > 0, shown_BL != true_BL, 0)
    shown_BL = np.where(made["attention_mask"] > 0, shown_BL, made["tokens"])
    output = discriminator(
        input_ids=torch.from_numpy(shown_BL.astype(np.int64)),
        labels=torch.from_numpy(replaced_BL.astype(np.int64)),
        **common,
    )
    loss = mlm + WEIGHT * output.loss
    loss.backward()
    real_BL = made["attention_mask"] > 0
    said_BL = output.logits.detach().numpy() > 0
    hits_P = logits_PV.detach().numpy().argmax(-1) == targets_P.numpy()
    values = {
        "mlm": float(mlm.detach()),
        "disc": float(output.loss.detach()),
        "loss": float(loss.detach()),
        "mlm_accuracy": hits_P.mean(),
        "disc_accuracy": (said_BL == replaced_BL)[real_BL].mean(),
        "replaced": replaced_BL[real_BL].mean(),
    }
    return values, tree(name, lambda model: {k: p.grad for k, p in model.named_parameters()})


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_transformers(name):
    found = deviations(ours(name)[1], theirs(name)[0])
    print(name, found)
    assert max(found.values()) <= TOLERANCE, found
    assert 0 < theirs(name)[0]["replaced"] < 0.3


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_transformers(name):
    found = gradient_deviations(ours(name)[2], theirs(name)[1])
    worst = max(found, key=found.get)
    print(name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst


@pytest.mark.parametrize("name", CASES)
def test_the_tables_have_every_parameter(name):
    module = objective(name)
    boxed = boxed_parameters(module, spec(make_batch(name)))
    shapes = {path: leaf.shape for path, leaf in leaves(weights(name)).items()}
    expected = jax.tree.map(lambda x: x.value, boxed, is_leaf=lambda x: hasattr(x, "names"))
    assert shapes == {path: leaf.shape for path, leaf in leaves(expected).items()}


def test_positions_that_are_drawn_twice_are_written_once():
    batch = {
        "masked_positions": np.array([[0, 2, 2, 0], [1, 3, 3, 0]], np.int32),
        "masked_weights": np.array([[1, 1, 1, 0], [0, 1, 1, 0]], np.float32),
    }
    tokens_BL = np.array([[5, 6, 7, 8], [5, 6, 7, 8]], np.int32)
    values_BM = np.array([[10, 11, 12, 13], [20, 21, 22, 23]], np.int32)
    found = written(tokens_BL, batch, values_BM)
    np.testing.assert_array_equal(found, [[10, 6, 11, 8], [5, 6, 7, 21]])
