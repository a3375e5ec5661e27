"""What all objectives that predict tokens compute."""

import jax
import jax.numpy as jnp

from plmjax.parallel.rules import VOCAB, ways
from plmjax.types import Mean


def cross_entropy(
    logits_BMV: jax.Array, targets_BM: jax.Array, weights_BM: jax.Array
) -> tuple[Mean, Mean]:
    """The loss in nats and the accuracy of predictions, as weighted sums.

    Where the vocabulary is split over devices, what they exchange is [B, M]: the highest logit, the
    sum of exponentials and the target's logit, each device adding what it has. Source: Megatron-LM
    (Shoeybi et al. 2019), vocabulary-parallel cross-entropy.

    Args:
      logits_BMV: float32.
      targets_BM: int ids.
      weights_BM: float, 0 where nothing is to be predicted.
    """
    losses_BM, hits_BM = _losses(logits_BMV, targets_BM)
    return Mean.of(losses_BM, weights_BM), Mean.of(hits_BM, weights_BM)


def log_normalizer(logits_BMV: jax.Array) -> jax.Array:
    """The logarithm of what softmax divides by, float32 [B, M]; of finite logits."""
    # The highest has no gradient: what is subtracted and added again changes nothing.
    highest_BM = jax.lax.stop_gradient(logits_BMV).max(-1)
    return highest_BM + jnp.log(jnp.exp(logits_BMV - highest_BM[:, :, None]).sum(-1))


@jax.custom_vjp
def _losses(logits_BMV: jax.Array, targets_BM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy and whether the target's logit is the highest, each [B, M]."""
    return _forward(logits_BMV, targets_BM)[0]


def _forward(logits_BMV: jax.Array, targets_BM: jax.Array) -> tuple[tuple, tuple]:
    highest_BM = logits_BMV.max(-1)
    shifted_BMV = logits_BMV - highest_BM[:, :, None]
    if ways(VOCAB) > 1:  # not left to XLA, which moves what a lookup reads as it sees fit
        of_target_BM = jnp.where(_is_target(logits_BMV, targets_BM), shifted_BMV, 0.0).sum(-1)
    else:
        picked_BM1 = jnp.take_along_axis(logits_BMV, targets_BM[:, :, None], axis=-1)
        of_target_BM = picked_BM1[:, :, 0] - highest_BM
    log_sum_BM = jnp.log(jnp.exp(shifted_BMV).sum(-1))
    hits_BM = of_target_BM >= 0.0  # none is higher than the highest; cheaper than argmax
    kept = (logits_BMV, targets_BM, highest_BM, log_sum_BM)
    return (log_sum_BM - of_target_BM, hits_BM), kept


def _backward(kept: tuple, slopes: tuple) -> tuple[jax.Array, None]:
    # By hand, so that the logits are all that is kept of their size, and read once.
    logits_BMV, targets_BM, highest_BM, log_sum_BM = kept
    shifted_BMV = logits_BMV - highest_BM[:, :, None]
    probabilities_BMV = jnp.exp(shifted_BMV - log_sum_BM[:, :, None])
    return (probabilities_BMV - _is_target(logits_BMV, targets_BM)) * slopes[0][:, :, None], None


_losses.defvjp(_forward, _backward)


def _is_target(logits_BMV: jax.Array, targets_BM: jax.Array) -> jax.Array:
    return jnp.arange(logits_BMV.shape[-1]) == targets_BM[:, :, None]
