"""The objective of encoder-decoders: its terms, its keys, and what `bench step` asks of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plmjax.data.maskings import Denoising, MaskingVocabulary, SpanCorruption
from plmjax.errors import UserError
from plmjax.models.t5 import PRESETS, T5
from plmjax.objectives.seq2seq_lm import Seq2SeqLM
from plmjax.types import OVERFLOW
from tests.compare import deviations

Z_LOSS = 1e-2
CONFIG = dataclasses.replace(
    PRESETS["small"], vocab_size=100, hidden_size=16, num_layers=1, num_heads=2, mlp_size=32
)
PLAIN, WITH_Z = Seq2SeqLM(T5(CONFIG)), Seq2SeqLM(T5(CONFIG), Z_LOSS)
VOCABULARY = MaskingVocabulary(
    vocab_size=100,
    special_ids=(0, 1, 2, 3, 98, 99),
    pad_id=0,
    eos_id=1,
    mask_id=2,
    sentinel_ids=tuple(range(99, 79, -1)),
)


def masked_spec(masking):
    spec = masking.bind(VOCABULARY, 24).spec
    return {key: ((4, *shape), dtype) for key, (shape, dtype) in spec.items()}


SPEC = masked_spec(SpanCorruption())


def make_batch(seed=0):
    batch = PLAIN.random_batch(SPEC, seed)
    lengths = np.array([[2], [5], [3], [SPEC["decoder_tokens"][0][1]]])
    used = np.arange(SPEC["decoder_tokens"][0][1]) < lengths
    batch["decoder_weights"] = used.astype(np.float32)
    batch["attention_mask"][1, 9:] = 0
    return {key: jnp.asarray(x) for key, x in batch.items() if key != OVERFLOW}


@pytest.fixture(scope="module")
def params():
    fresh = jax.jit(lambda batch: PLAIN.init(jax.random.key(0), batch, train=False))
    return fresh(make_batch())


def run(objective, params, batch):
    return jax.jit(lambda params, batch: objective.apply(params, batch, train=False))(params, batch)


def test_the_terms_are_the_formulas_in_float64(params):
    batch = make_batch()
    logits = WITH_Z.apply(params, batch, method="logits")
    assert logits.shape[-1] == 128
    logits = np.asarray(logits, np.float64)[..., : CONFIG.vocab_size]
    weights = np.asarray(batch["decoder_weights"], np.float64)
    log_z = np.log(np.exp(logits).sum(-1))
    targets = np.take_along_axis(logits, np.asarray(batch["decoder_targets"])[..., None], -1)
    loss = run(WITH_Z, params, batch)
    expected = {"lm": log_z - targets[..., 0], "z": Z_LOSS * log_z**2}
    assert loss.terms.keys() == expected.keys()
    for name, values in expected.items():
        mean = (values * weights).sum() / weights.sum()
        np.testing.assert_allclose(loss.terms[name].value(), mean, rtol=1e-5)
    hits = (logits.argmax(-1) == np.asarray(batch["decoder_targets"])) * weights
    np.testing.assert_allclose(loss.metrics["lm_accuracy"].sum, hits.sum())
    assert run(PLAIN, params, batch).terms.keys() == {"lm"}


def test_the_gradient_of_the_z_loss_is_the_formulas(params):
    batch = make_batch()
    weights = batch["decoder_weights"]

    def term(params):
        return WITH_Z.apply(params, batch, train=False).terms["z"].value()

    @jax.jit
    def by_hand(params):
        logits, backward = jax.vjp(lambda p: PLAIN.apply(p, batch, method="logits"), params)
        slope = 2 * Z_LOSS * jax.nn.logsumexp(logits, -1) * weights / weights.sum()
        return backward(jax.nn.softmax(logits) * slope[..., None])[0]

    found = deviations(jax.jit(jax.grad(term))(params), by_hand(params))
    assert max(found.values()) <= 1e-5, found


@pytest.mark.parametrize("objective", [PLAIN, WITH_Z], ids=["plain", "with_z"])
def test_weights_are_those_of_the_terms(params, objective):
    batch = make_batch()
    terms = run(objective, params, batch).terms
    assert objective.weights(batch) == {name: term.weight for name, term in terms.items()}


@pytest.mark.parametrize("masking", [SpanCorruption(), Denoising()], ids=["t5", "bart"])
def test_the_keys_are_those_that_maskings_make(params, masking):
    spec = masked_spec(masking)
    assert {*PLAIN.batch_keys(), OVERFLOW} == set(spec)
    batch = PLAIN.random_batch(spec, seed=0)
    assert {key: (x.shape, x.dtype) for key, x in batch.items()} == spec
    assert np.isfinite(run(PLAIN, params, batch).terms["lm"].value())
    assert not np.array_equal(batch["tokens"], PLAIN.random_batch(spec, seed=1)["tokens"])


def test_neighbours_are_where_weights_are():
    batch = {key: np.asarray(x) for key, x in make_batch().items()}
    left, targets = PLAIN.neighbours(batch)
    assert left[:2].tolist() == batch["decoder_tokens"][0, :2].tolist()
    assert len(left) == len(targets) == batch["decoder_weights"].sum()


def test_padding_behind_needs_no_mask_and_padding_in_front_does(params):
    batch = make_batch()
    mask = batch["decoder_weights"].astype(np.int32)
    loss = run(PLAIN, params, batch).terms["lm"].value()
    masked = run(PLAIN, params, batch | {"decoder_attention_mask": mask}).terms["lm"].value()
    np.testing.assert_allclose(loss, masked, rtol=1e-6)
    turned = {key: x[:, ::-1] for key, x in batch.items() if key.startswith("decoder")}
    turned["decoder_attention_mask"] = mask[:, ::-1]
    changed = dict(
        turned, decoder_tokens=jnp.where(turned["decoder_weights"] > 0, turned["decoder_tokens"], 7)
    )
    losses = [run(PLAIN, params, batch | some).terms["lm"].value() for some in (turned, changed)]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    del changed["decoder_attention_mask"]
    assert abs(run(PLAIN, params, batch | changed).terms["lm"].value() - losses[0]) > 1e-3


def test_packed_pairs_add_up(params):
    batch = {key: x[:1] for key, x in make_batch().items()}
    places = {"": (24, 10), "decoder_": (batch["decoder_tokens"].shape[1], 2)}
    parts = [dict(batch), dict(batch)]
    batch["decoder_weights"] = jnp.ones_like(batch["decoder_weights"])
    for prefix, (length, cut) in places.items():
        batch[f"{prefix}segment_ids"] = (jnp.arange(length) >= cut)[None] + 1
        batch[f"{prefix}positions"] = jnp.arange(length)[None]
        keys = [key for key in parts[0] if key.startswith("decoder_") == bool(prefix)]
        for part, piece in zip(parts, (slice(cut), slice(cut, None)), strict=True):
            part.update({key: batch[key][:, piece] for key in keys})
    alone = [run(PLAIN, params, part).terms["lm"].sum for part in parts]
    packed = run(PLAIN, params, batch).terms["lm"].sum
    np.testing.assert_allclose(packed, sum(alone), rtol=1e-5)
    open_ = {key: x for key, x in batch.items() if "segment" not in key}
    assert abs(run(PLAIN, params, open_).terms["lm"].sum - packed) > 1e-2


def test_flops_are_those_xla_counts():
    # Unscanned, since XLA counts a scanned body once; short, since it counts what is masked too.
    config = dataclasses.replace(
        PRESETS["v1.1-small"], vocab_size=1024, num_layers=2, scan=False, vocab_multiple=1
    )
    objective = Seq2SeqLM(T5(config))
    spec = {key: ((8, 32 if "decoder" in key else 64), dtype) for key, (_, dtype) in SPEC.items()}
    batch = objective.random_batch(spec, seed=0)
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0), batch, train=False))

    def forward(params, batch):
        return objective.apply(params, batch, train=False)

    counted = jax.jit(forward).lower(shapes, batch).cost_analysis()["flops"]
    ours = objective.forward_flops(spec)
    print(counted / ours)
    assert ours < counted < 1.1 * ours


def test_a_negative_z_loss_is_refused():
    with pytest.raises(UserError, match="z_loss"):
        Seq2SeqLM(T5(CONFIG), z_loss=-1e-4)
