"""GPT-1's fine-tuning against transformers' double-heads models with the same random weights.

Of each option `[start] text [delim] option [extract]`; the head reads the last token, and half of
the loss of the next tokens is added: the mean over a row's tokens, then over rows, as in
openai/finetune-transformer-lm train.py, `model`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.huggingface import gpt as keys
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models.gpt import Gpt
from plmjax.objectives.multiple_choice import MultipleChoice
from plmjax.objectives.sequence_classification import SequenceClassification
from tests.compare import deviation, deviations, gradient_deviations
from tests.parity import test_gpt

torch, transformers = test_gpt.torch, test_gpt.transformers

TOLERANCE = 1e-4
B, OPTIONS, L, CLASSES, WEIGHT = 4, 3, 24, 3, 0.5
CLASS = {"gpt1": "OpenAIGPTDoubleHeadsModel", "gpt2": "GPT2DoubleHeadsModel"}
CONFIG = {family: test_gpt.CASES[family, "tiny"] for family in CLASS}


def rows() -> dict[str, np.ndarray]:
    """Options of different lengths, the last of the first question not there."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(4, L + 1, (B, OPTIONS, 1))
    mask = (np.arange(L) < lengths).astype(np.int32)
    there = np.ones((B, OPTIONS), np.float32)
    there[0, -1] = 0
    return {
        "tokens": rng.integers(0, 120, (B, OPTIONS, L)).astype(np.int32) * mask,
        "token_types": np.zeros((B, OPTIONS, L), np.int32),
        "attention_mask": mask,
        "option_weights": there,
        "label": np.array([0, 1, 2, 0], np.int32),
        "label_weights": np.array([1, 1, 1, 1], np.float32),
    }


def lm_by_rows(logits, tokens, mask):
    """[R]: what train.py has as `lm_losses`."""
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).reshape(len(tokens), -1)
    return (losses * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1)


@functools.cache
def theirs(family: str):
    config = CONFIG[family]
    base = test_gpt.build(family, config)
    settings = base.config
    settings.num_labels, settings.summary_first_dropout = 1, 0.0
    torch.manual_seed(0)
    model = getattr(transformers, CLASS[family])(settings)
    model.transformer.load_state_dict(base.transformer.state_dict())
    layer = model.multiple_choice_head.summary
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape) / 4)
        layer.bias.copy_(torch.full(layer.bias.shape, 0.3))
    made = rows()
    tokens, mask, there, label = (
        torch.from_numpy(made[key])
        for key in ("tokens", "attention_mask", "option_weights", "label")
    )
    last = mask.sum(-1) - 1
    # Without a mask, for which OpenAIGPT's takes no options: padding is behind what is read.
    output = model.train()(input_ids=tokens.long(), mc_token_ids=last)
    scores = torch.where(there > 0, output.mc_logits, torch.finfo(torch.float32).min)
    task = torch.nn.functional.cross_entropy(scores, label.long())
    flat = tokens.long().flatten(0, 1), mask.flatten(0, 1)
    lm = (lm_by_rows(output.logits.flatten(0, 1), *flat) * there.flatten()).sum() / there.sum()
    (task + WEIGHT * lm).backward()
    values = {"logits": output.mc_logits.detach().numpy(), "task": task.item(), "lm": lm.item()}
    trunk = {n: p for n, p in model.named_parameters() if n.startswith("transformer.")}
    arrays = {name: p.detach().numpy().copy() for name, p in trunk.items()}
    grads = {name: p.grad.numpy() for name, p in trunk.items()}
    head = {"kernel": layer.weight.detach().numpy().T, "bias": layer.bias.detach().numpy()}
    of_head = {"kernel": layer.weight.grad.numpy().T, "bias": layer.bias.grad.numpy()}

    def tree(arrays, head):
        backbone = to_ours(arrays, keys.table(config), shape_of(config))
        return {"backbone": backbone, "task_head": head}

    return tree(arrays, head), values, tree(grads, of_head)


@functools.cache
def ours(family: str):
    objective = MultipleChoice(Gpt(CONFIG[family]), classes=OPTIONS, lm_weight=WEIGHT)
    made, params = rows(), jax.tree.map(jnp.asarray, theirs(family)[0])

    def total(params):
        loss = objective.apply({"params": params}, made, train=False)
        return loss.total(objective.weights(made)), loss

    (value, loss), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    logits = objective.apply({"params": params}, made, method="logits")
    terms = {name: float(term.value()) for name, term in loss.terms.items()}
    return {"logits": np.asarray(logits), **terms}, float(value), jax.device_get(grads)


@pytest.mark.parametrize("family", CLASS)
def test_numbers_and_both_losses_equal_transformers(family):
    (found, value, _), (_, expected, _) = ours(family), theirs(family)
    there = rows()["option_weights"] > 0
    kept = [{**some, "logits": some["logits"][there]} for some in (found, expected)]
    off = deviations(*kept)
    assert max(off.values()) <= TOLERANCE, off
    assert value == pytest.approx(expected["task"] + WEIGHT * expected["lm"], rel=TOLERANCE)


@pytest.mark.parametrize("family", CLASS)
def test_gradients_of_both_losses_equal_transformers(family):
    both = [
        {**some, "task_head": {**some["task_head"]}}
        for some in (ours(family)[2], theirs(family)[2])
    ]
    for some in both:  # what all options share, softmax does not see
        assert abs(some["task_head"].pop("bias")) < 1e-6
    off = gradient_deviations(*both)
    worst = max(off, key=off.get)
    assert off[worst] <= TOLERANCE, (worst, off[worst])


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_both_orders_are_summed_before_the_head(kind):
    """The states of the last tokens by transformers, the sum and the head in NumPy."""
    rng, made = np.random.default_rng(4), rows()
    pairs = {key: made[key][:, :2] for key in ("tokens", "token_types", "attention_mask")}
    label = {"classification": made["label"], "regression": rng.normal(size=B)}[kind]
    pairs |= {"label": label.astype(made["label"].dtype if kind == "classification" else "f4")}
    pairs |= {"label_weights": made["label_weights"]}
    outputs = CLASSES if kind == "classification" else 1
    head = {"kernel": rng.normal(size=(16, outputs)), "bias": rng.normal(size=outputs)}
    params = {"backbone": theirs("gpt1")[0]["backbone"], "task_head": head}
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    objective = SequenceClassification(Gpt(CONFIG["gpt1"]), classes=CLASSES, kind=kind)
    found = objective.apply({"params": params}, pairs, method="logits")
    model = test_gpt.build("gpt1", CONFIG["gpt1"]).transformer
    tokens, mask = (pairs[key].reshape(-1, L) for key in ("tokens", "attention_mask"))
    given = torch.from_numpy(tokens).long(), torch.from_numpy(mask)
    hidden = model(given[0], attention_mask=given[1])[0].detach().numpy()
    last = hidden[np.arange(len(tokens)), mask.sum(1) - 1].reshape(B, 2, -1).sum(1)
    assert deviation(found, last @ head["kernel"] + head["bias"]) <= TOLERANCE
    with_lm = objective.clone(lm_weight=WEIGHT)
    loss = with_lm.apply({"params": params}, pairs, train=False)
    logits = model(given[0], attention_mask=given[1])[0] @ model.tokens_embed.weight.T
    expected = lm_by_rows(logits, *given).mean().item()
    assert float(loss.terms["lm"].value()) == pytest.approx(expected, rel=TOLERANCE)


def test_parts_of_a_batch_add_up():
    made, params = rows(), theirs("gpt2")[0]
    made["label_weights"] = np.array([1, 1, 1, 0], np.float32)
    objective = MultipleChoice(Gpt(CONFIG["gpt2"]), classes=OPTIONS, lm_weight=WEIGHT)
    params = jax.tree.map(jnp.asarray, params)
    parts = [
        objective.apply(
            {"params": params}, {key: x[at : at + 2] for key, x in made.items()}, train=False
        )
        for at in (0, 2)
    ]
    whole = objective.apply({"params": params}, made, train=False)
    total = float((parts[0] + parts[1]).total())
    assert total == pytest.approx(float(whole.total()), rel=1e-5)
    assert float(objective.weights(made)["lm"]) == 8 == float(whole.terms["lm"].weight)
    # What fills the batch up is not learned from.
    other = {**made, "tokens": np.where(made["label_weights"][:, None, None], made["tokens"], 7)}
    again = objective.apply({"params": params}, other, train=False)
    assert float(again.total()) == pytest.approx(float(whole.total()), rel=1e-6)


def test_a_weighted_sum_of_layers_leaves_the_language_model_alone():
    made = rows()
    objective = MultipleChoice(Gpt(CONFIG["gpt2"]), classes=OPTIONS, lm_weight=WEIGHT)
    mixed = dataclasses.replace(objective, layers="weighted")
    params = theirs("gpt2")[0]
    more = {"task_mix": jnp.zeros(3), "task_factor": jnp.ones(())}
    params = jax.tree.map(jnp.asarray, params | more)
    found = mixed.apply({"params": params}, made, train=False).terms["lm"].value()
    assert float(found) == pytest.approx(theirs("gpt2")[1]["lm"], rel=TOLERANCE)
