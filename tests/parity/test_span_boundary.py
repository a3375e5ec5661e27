"""SpanBERT's loss and gradients against torch: transformers' encoder, and the head as published.

The oracle knows the text and which tokens are masked; spans, their sides and their targets it finds
by itself, as facebookresearch/SpanBERT's `span_masking` does. For NEZHA's Span variant the BERT of
transformers attends by NEZHA's formula, and tells pairs, too.
"""

import dataclasses
import functools
import math
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np
import pytest

from plmjax.data.counter_random import fold, key_of
from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.maskings import MaskingVocabulary, SpanMasking
from plmjax.errors import UserError
from plmjax.huggingface.encoders import FAMILIES, masked_lm_table
from plmjax.huggingface.keys import shape_of, to_ours
from plmjax.models import nezha
from plmjax.models.bert import Bert, Config
from plmjax.objectives.span_boundary import SpanBoundary
from plmjax.types import OVERFLOW
from tests.batches import spec
from tests.compare import deviation, deviations, gradient_deviations
from tests.data.maskings.helpers import run
from tests.parity import huggingface_bert as oracle

torch, transformers = oracle.torch, oracle.transformers
modeling_bert = transformers.models.bert.modeling_bert
functional = torch.nn.functional

TOLERANCE = 1e-4
PUBLISHED = Config(
    vocab_size=120,
    max_positions=40,
    num_layers=2,
    hidden_size=16,
    num_heads=2,
    mlp_size=64,
    activation="gelu",
    hidden_dropout=0.0,
    attention_dropout=0.0,
    pooler=False,
)
ODD = dataclasses.replace(
    PUBLISHED, vocab_size=301, hidden_size=60, num_heads=5, mlp_size=100, activation="gelu_tanh"
)
NEZHA = dataclasses.replace(
    PUBLISHED, max_positions=0, max_relative=6, activation="gelu_tanh", pooler=True
)
assert NEZHA.token_types == nezha.PRESETS["base-zh"].token_types


class Case(NamedTuple):
    """A model, what is set of its objective, and the places that the masking asks for."""

    config: Config
    settings: dict
    asked: int


CASES = {
    "as published": Case(PUBLISHED, {}, 15),
    "as in the paper": Case(
        ODD,
        {"per_masked_token": True, "sbo_weight": 0.7, "max_span_targets": 6, "place_width": 9},
        4,
    ),
    "NEZHA": Case(NEZHA, {"place_width": 9}, 15),
}


def objective_of(case: Case) -> SpanBoundary:
    labels = 2 if case.config.pooler else 0
    return SpanBoundary(Bert(case.config), labels=labels, **case.settings)


@functools.cache
def rows(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Text of 12 to 32 tokens a row with its specials, and the batch that the masking makes."""
    config, _, asked = CASES[name]
    rng, shape = np.random.default_rng(4), (8, 32)
    place, ends_B1 = np.arange(32), np.array([32, 32, 30, 25, 25, 20, 15, 12])[:, None]
    tokens, flags = rng.integers(4, config.vocab_size, shape), np.zeros(shape, np.uint8)
    flags[rng.random(shape) < 0.6] = WORD
    for is_one, token, flag in (
        (np.broadcast_to(place == 0, shape), 1, SPECIAL),
        (place == ends_B1 - 1, 2, SPECIAL),
        (place >= ends_B1, 0, 0),
    ):
        tokens[is_one], flags[is_one] = token, flag
    features = {"tokens": tokens.astype(np.int32), "flags": flags}
    features["attention_mask"] = (place < ends_B1).astype(np.int32)
    features["seeds"] = fold(key_of(7, "rows"), np.arange(8, dtype=np.uint64))
    vocabulary = MaskingVocabulary(
        config.vocab_size,
        special_ids=(0, 1, 2, 3),
        mask_id=3,
        token_counts=np.ones(config.vocab_size, np.int64),
    )
    masking = SpanMasking(mask_rate=0.4, max_words=5, max_span_targets=asked)
    batch = run(masking.bind(vocabulary, 32), features)
    del batch[OVERFLOW]
    batch["attention_mask"] = features["attention_mask"]
    batch["token_types"] = np.zeros(shape, np.int32)
    if config.pooler:
        batch["label"], batch["label_weights"] = np.arange(8) % 3 // 2, np.ones(8, np.float32)
    return features, batch


def pairs_of(
    text: list[int], masked: list[int], places: int, asked: int
) -> list[tuple[int, int, list[int]]]:
    """Of a text without its specials: both sides of each span, and the targets, -100 for none."""
    spans: list[list[int]] = []
    for place in masked:
        if spans and spans[-1][1] + 1 == place:
            spans[-1][1] = place
        else:
            spans.append([place, place])
    found = []
    for start, end in spans:
        if start > 0 and end < len(text) - 1:
            targets = text[start : end + 1][:asked]
            found.append((start - 1, end + 1, targets + [-100] * (places - len(targets))))
    return found


class Head(torch.nn.Module):
    """The published head: every place of every pair at once."""

    def __init__(self, config: Config, places: int, width: int, table: torch.nn.Parameter):
        super().__init__()
        d, eps = config.hidden_size, config.layer_norm_epsilon
        self.position_embeddings = torch.nn.Embedding(places, width)
        self.linear1, self.linear2 = torch.nn.Linear(2 * d + width, d), torch.nn.Linear(d, d)
        self.layer_norm1 = torch.nn.LayerNorm(d, eps=eps)
        self.layer_norm2 = torch.nn.LayerNorm(d, eps=eps)
        self.bias = torch.nn.Parameter(torch.zeros(config.vocab_size))
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"
        self.table = [table]  # not a parameter of its own

    def forward(self, left_SD, right_SD):
        places_PW = self.position_embeddings.weight
        sides = torch.cat([left_SD, right_SD], -1)[:, None].expand(-1, len(places_PW), -1)
        x = torch.cat([sides, places_PW.expand(len(sides), -1, -1)], -1)
        x = self.layer_norm1(functional.gelu(self.linear1(x), approximate=self.approximate))
        x = self.layer_norm2(functional.gelu(self.linear2(x), approximate=self.approximate))
        return x @ self.table[0].T + self.bias


def attention_of_nezha(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
    """In place of BERT's: sines of clipped distances beside keys and values (Wei et al. 2019)."""
    most, length, width = NEZHA.max_relative, query.shape[2], query.shape[3]
    table = torch.zeros(2 * most + 1, width)
    for row in range(2 * most + 1):
        for k in range(width // 2):
            angle = row / 10_000 ** (2 * k / width)
            table[row, 2 * k], table[row, 2 * k + 1] = math.sin(angle), math.cos(angle)
    place = torch.arange(length)
    far = table[(place[None] - place[:, None]).clamp(-most, most) + most]
    scores = query @ key.transpose(2, 3) + torch.einsum("bhik,ijk->bhij", query, far)
    shares = torch.softmax(scores * scaling + attention_mask, -1)
    mixed = shares @ value + torch.einsum("bhij,ijk->bhik", shares, far)
    return mixed.transpose(1, 2), shares


@functools.cache
def theirs(name: str):
    """Weights, gradients and terms."""
    if not CASES[name].config.max_relative:
        return computed(name)
    with mock.patch.object(modeling_bert, "eager_attention_forward", attention_of_nezha):
        return computed(name)


def encoder_of(config: Config):
    """The model, which for NEZHA has a table of positions that is to be zero."""
    positions = config.max_positions or 40
    settings = dataclasses.replace(config, max_positions=positions, max_relative=0)
    kind = transformers.BertForPreTraining if config.pooler else transformers.BertForMaskedLM
    return kind(oracle.hf_config(settings)).train()


def computed(name: str):
    config, _, asked = CASES[name]
    objective, (features, batch) = objective_of(CASES[name]), rows(name)
    places = objective.max_span_targets
    torch.manual_seed(0)
    bert = encoder_of(config)
    table = bert.bert.embeddings.word_embeddings.weight
    model = torch.nn.ModuleDict(
        {"bert": bert, "head": Head(config, places, objective.place_width, table)}
    )
    oracle.randomize(model, seed=1)
    if not config.max_positions:
        bert.bert.embeddings.position_embeddings.weight.detach().zero_()
    batch_of_pairs = []
    for row, length in enumerate(features["attention_mask"].sum(1).tolist()):
        used = batch["masked_weights"][row] > 0
        masked = (batch["masked_positions"][row][used] - 1).tolist()
        text = features["tokens"][row, 1 : length - 1].tolist()
        # One more for each side, since [CLS] comes first.
        batch_of_pairs += [
            (row, left + 1, right + 1, targets)
            for left, right, targets in pairs_of(text, masked, places, asked)
        ]
    row_S, left_S, right_S, targets_SP = map(list, zip(*batch_of_pairs, strict=True))
    arguments = oracle.inputs({"label": np.zeros(8), "label_weights": np.zeros(8)} | batch)
    labels_B, labels_BL = arguments.pop("next_sentence_label"), arguments.pop("labels")
    output = bert(**arguments, output_hidden_states=True)
    hidden_BLD = output.hidden_states[-1]
    logits_SPV = model["head"](hidden_BLD[row_S, left_S], hidden_BLD[row_S, right_S])
    targets = torch.tensor(targets_SP)
    sums = [
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        for logits, targets in ((output[0], labels_BL), (logits_SPV, targets))
    ]
    masked, pairs = (labels_BL >= 0).sum(), (targets >= 0).sum()
    divisor = masked if objective.per_masked_token else pairs
    terms = {"mlm": sums[0] / masked, "sbo": sums[1] / divisor}
    total = terms["mlm"] + objective.sbo_weight * terms["sbo"]
    if config.pooler:
        terms["nsp"] = functional.cross_entropy(output.seq_relationship_logits, labels_B)
        total = total + terms["nsp"]
    terms["total"] = total
    total.backward()
    is_hit = (logits_SPV.argmax(-1) == targets)[targets >= 0]
    values = {key: term.item() for key, term in terms.items()}
    values["accuracy"] = is_hit.float().mean().item()
    parameters = dict(model.named_parameters())
    if not config.max_positions:
        del parameters["bert.bert.embeddings.position_embeddings.weight"]
    tensors = {key: p.detach().numpy().copy() for key, p in parameters.items()}
    grads = {key: p.grad.numpy() for key, p in parameters.items()}
    assert len(targets) > 5
    assert asked > 4 or (targets[:, asked - 1] >= 0).any(), "spans that are cut come up"
    return tensors, grads, values


def tree(config: Config, tensors: dict[str, np.ndarray]) -> dict:
    """Their tensors in ours, every one of them."""
    of_bert, of_head = (
        {key.removeprefix(part): x for key, x in tensors.items() if key.startswith(part)}
        for part in ("bert.", "head.")
    )
    if config.max_relative:
        of_bert = {key.replace("bert.", "nezha.", 1): x for key, x in of_bert.items()}
    family = FAMILIES["nezha" if config.max_relative else "bert"]
    found = to_ours(of_bert, masked_lm_table(family, config, config.pooler), shape_of(config))
    d, of = config.hidden_size, of_head.pop
    left, right, place = np.split(of("linear1.weight").T, [d, 2 * d])
    found["sbo_head"] = {
        "place_embedding": of("position_embeddings.weight"),
        "place": {"kernel": place},
        "sides": {"kernel": np.stack([left, right]), "bias": of("linear1.bias")},
        "norm_1": {"scale": of("layer_norm1.weight"), "bias": of("layer_norm1.bias")},
        "dense": {"kernel": of("linear2.weight").T, "bias": of("linear2.bias")},
        "norm_2": {"scale": of("layer_norm2.weight"), "bias": of("layer_norm2.bias")},
        "output_bias": np.pad(of("bias"), (0, -config.vocab_size % config.vocab_multiple)),
    }
    assert not of_head
    return found


@functools.cache
def ours(name: str):
    objective, batch = objective_of(CASES[name]), rows(name)[1]

    def total(params, batch):
        loss = objective.apply({"params": params}, batch, train=False)
        values = {key: term.value() for key, term in loss.terms.items()}
        values |= {"total": loss.total(), "accuracy": loss.metrics["sbo_accuracy"].value()}
        return loss.total(), values

    params = tree(CASES[name].config, theirs(name)[0])
    step = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, values), grads = step(params, batch)
    return jax.device_get(values), jax.device_get(grads)


@pytest.mark.parametrize("name", CASES)
def test_both_terms_equal_torch(name):
    found = deviations(ours(name)[0], theirs(name)[2])
    print(name, found)
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_torch(name):
    expected = tree(CASES[name].config, theirs(name)[1])
    found = gradient_deviations(ours(name)[1], expected)
    worst = max(found, key=found.get)
    print(name, worst, found[worst])
    assert found[worst] <= TOLERANCE, worst


def our_loss(batch):
    objective, params = objective_of(CASES["as published"]), theirs("as published")[0]
    params = tree(CASES["as published"].config, params)
    return jax.jit(lambda params: objective.apply({"params": params}, batch, train=False))(params)


def test_the_keys_are_those_the_masking_makes():
    objective, batch = objective_of(CASES["as published"]), rows("as published")[1]
    assert set(objective.batch_keys()) == set(batch)
    terms = our_loss(batch).terms
    assert objective.weights(batch) == {key: term.weight for key, term in terms.items()}
    made = objective.random_batch(spec(batch), seed=0)
    assert spec(made) == spec(batch)
    assert np.isfinite(our_loss(made).terms["sbo"].value())


def test_parts_of_a_batch_add_up():
    batch = rows("as published")[1]
    halves = [{key: x[part] for key, x in batch.items()} for part in (slice(4), slice(4, 8))]
    added, whole = our_loss(halves[0]) + our_loss(halves[1]), our_loss(batch)
    assert deviation(added.terms["sbo"].value(), whole.terms["sbo"].value()) < 1e-6


def test_flops_are_those_xla_counts():
    config = dataclasses.replace(PUBLISHED, scan=False, hidden_size=128, mlp_size=512)
    objective = SpanBoundary(Bert(config), labels=0)
    batch = rows("as published")[1]
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0), batch, train=False))
    forward = jax.jit(lambda params, batch: objective.apply(params, batch, train=False))
    counted = forward.lower(shapes, batch).cost_analysis()["flops"]
    assert (
        objective.forward_flops(spec(batch)) < counted < 1.2 * objective.forward_flops(spec(batch))
    )


@pytest.mark.parametrize("setting", ["sbo_weight", "max_span_targets", "place_width"])
def test_settings_that_mean_nothing_are_one_line(setting):
    with pytest.raises(UserError, match=rf"config\.objective\.{setting}=-1 "):
        SpanBoundary(Bert(PUBLISHED), **{setting: -1})
