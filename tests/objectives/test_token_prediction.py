"""The cross-entropy of all objectives, against PyTorch's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.nn.embeddings import NEVER
from plmjax.objectives.token_prediction import cross_entropy, log_normalizer
from tests.compare import deviation
from tests.requires import need

ROWS, PLACES, VOCABULARY, REAL = 3, 5, 128, 100


def inputs(scale: float):
    rng = np.random.default_rng(0)
    logits = (scale * rng.normal(size=(ROWS, PLACES, VOCABULARY))).astype(np.float32)
    logits[..., REAL:] = NEVER
    targets = rng.integers(0, REAL, (ROWS, PLACES)).astype(np.int32)
    # Targets that are the highest, one of them together with another.
    targets[0, 0], targets[1, 1] = logits[0, 0].argmax(), logits[1, 1].argmax()
    logits[1, 1, (targets[1, 1] + 1) % REAL] = logits[1, 1].max()
    weights = rng.random((ROWS, PLACES)).astype(np.float32)
    weights[2, 3:] = 0.0
    return logits, targets, weights


@pytest.mark.parametrize("scale", [0.1, 3.0, 1000.0])
def test_loss_and_gradient_are_those_of_pytorch_in_float64(scale):
    torch = need("torch", "pip install -r requirements-ci.txt")
    logits, targets, weights = inputs(scale)

    def ours(logits):
        loss, accuracy = cross_entropy(logits, targets, weights)
        z = (log_normalizer(logits) ** 2 * weights).sum()
        return loss.sum + 1e-3 * z, (loss, accuracy, z)

    (_, (loss, accuracy, z)), gradient = jax.jit(jax.value_and_grad(ours, has_aux=True))(logits)
    theirs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    flat, weight = theirs.reshape(-1, VOCABULARY), torch.tensor(weights).double().reshape(-1)
    losses = torch.nn.functional.cross_entropy(
        flat, torch.tensor(targets).long().reshape(-1), reduction="none"
    )
    squares = (torch.logsumexp(flat, -1) ** 2 * weight).sum()
    total = (losses * weight).sum()
    (total + 1e-3 * squares).backward()
    assert abs(float(loss.sum) - total.item()) <= 1e-6 * total.item()
    assert abs(float(z) - squares.item()) <= 1e-6 * squares.item()
    assert deviation(gradient, theirs.grad.numpy()) <= 1e-6
    hits = np.take_along_axis(logits, targets[..., None], -1)[..., 0] == logits.max(-1)
    assert hits[0, 0] and hits[1, 1] and not hits.all()
    np.testing.assert_allclose(accuracy.sum, (hits * weights).sum(), rtol=1e-6)
    assert float(loss.weight) == float(accuracy.weight) == float(jnp.sum(weights))


def test_one_device_has_no_more_to_do_than_with_optax_and_a_gather():
    """In the optimised program: memory that is read and written, and that is held."""
    shape = (8, 16, 1024)
    logits = jax.ShapeDtypeStruct(shape, jnp.float32)
    targets, weights = jnp.zeros(shape[:2], jnp.int32), jnp.ones(shape[:2])

    def plain(logits):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        picked = jnp.take_along_axis(logits, targets[:, :, None], axis=-1)[:, :, 0]
        return (losses * weights).sum(), ((picked >= logits.max(-1)) * weights).sum()

    def ours(logits):
        loss, accuracy = cross_entropy(logits, targets, weights)
        return loss.sum, accuracy.sum

    def cost(loss) -> tuple[float, int]:
        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(logits).compile()
        held = compiled.memory_analysis().temp_size_in_bytes
        return compiled.cost_analysis()["bytes accessed"], held

    size = 4 * np.prod(shape)
    before, after = (np.array(cost(loss)) / size for loss in (plain, ours))
    print("passes over the logits, copies of them:", before, after)
    assert (after <= before).all()
