"""What all objectives that predict tokens compute."""

import jax
import jax.numpy as jnp

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
    shifted_BMV = logits_BMV - _highest(logits_BMV)[:, :, None]
    # Not take_along_axis: the logits would have to come together where the ids are.
    is_target_BMV = jnp.arange(logits_BMV.shape[-1]) == targets_BM[:, :, None]
    of_target_BM = jnp.where(is_target_BMV, shifted_BMV, 0.0).sum(-1)
    losses_BM = jnp.log(jnp.exp(shifted_BMV).sum(-1)) - of_target_BM
    hits_BM = of_target_BM >= 0.0  # none is higher than the highest; cheaper than argmax
    return Mean.of(losses_BM, weights_BM), Mean.of(hits_BM, weights_BM)


def log_normalizer(logits_BMV: jax.Array) -> jax.Array:
    """The logarithm of what softmax divides by, float32 [B, M]; of finite logits."""
    highest_BM = _highest(logits_BMV)
    return highest_BM + jnp.log(jnp.exp(logits_BMV - highest_BM[:, :, None]).sum(-1))


def _highest(logits_BMV: jax.Array) -> jax.Array:
    """[B, M]. It has no gradient: what is subtracted and added again does not change a loss."""
    return jax.lax.stop_gradient(logits_BMV).max(-1)
