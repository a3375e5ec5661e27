"""What all objectives that predict tokens compute."""

import jax
import jax.numpy as jnp
import optax

from plmjax.types import Mean


def cross_entropy(
    logits_BMV: jax.Array, targets_BM: jax.Array, weights_BM: jax.Array
) -> tuple[Mean, Mean]:
    """The loss in nats and the accuracy of predictions, as weighted sums.

    Args:
      logits_BMV: float32.
      targets_BM: int ids.
      weights_BM: float, 0 where nothing is to be predicted.
    """
    losses_BM = optax.softmax_cross_entropy_with_integer_labels(logits_BMV, targets_BM)
    logits_BM = jnp.take_along_axis(logits_BMV, targets_BM[:, :, None], axis=-1)[:, :, 0]
    hits_BM = logits_BM >= logits_BMV.max(-1)  # a maximum is cheaper than argmax
    return Mean.of(losses_BM, weights_BM), Mean.of(hits_BM, weights_BM)
