"""Operations of a train step, counted from the model's shape and not from a program."""

import dataclasses

import flax.linen as nn

from plmjax.planning.memory import bubble
from plmjax.types import Spec

CONVENTION = (
    "model FLOPs: matrix products only, a multiply-add is 2, bidirectional attention in full,"
    " causal attention by the pairs it sees, the head where tokens are predicted, backward = 2 x"
    " forward;"
    " hardware FLOPs: with what rematerialisation computes again, and the share of the time that"
    " pipeline stages wait"
)


@dataclasses.dataclass(frozen=True)
class Flops:
    """Of one forward pass over a batch.

    total: all matrix products. layers: those of the layers, without embeddings and heads.
    attention: of those what grows with the square of the length, which is no product with a weight.
    """

    total: float
    layers: float
    attention: float

    @property
    def model(self) -> float:
        """Of a train step, as MFU counts."""
        return 3 * self.total

    def hardware(self, remat: str, stages: int = 1, microbatches: int = 1) -> float:
        """Of a train step, with what is computed again by a policy of REMAT_POLICIES.

        Args:
          remat: `full` computes the layers again, `dots` what is no product with a weight, and any
            other policy is taken for `full`, which is the most.
          stages: of the pipeline; of so many microbatches + stages - 1 turns each stage waits for
            stages - 1, and what it could have computed counts.
          microbatches: that pass through it.
        """
        again = {"none": 0.0, "dots": self.attention}.get(remat, self.layers)
        return (self.model + again) * bubble(stages, microbatches)


def forward_flops(objective: nn.Module, spec: Spec) -> Flops:
    """Of a batch of `spec`, from the objective's own count."""
    deeper, twice = _deepened(objective), _lengthened(spec)
    total = objective.forward_flops(spec)
    layers = deeper.forward_flops(spec) - total
    longer = deeper.forward_flops(twice) - objective.forward_flops(twice)
    # layers = a + b, and at twice the length 2 a + 4 b.
    return Flops(total, layers, max(0.0, (longer - 2 * layers) / 2))


def _deepened(objective: nn.Module) -> nn.Module:
    """The same with each of its layers twice: what that adds is what the layers do."""
    config = objective.backbone.config
    depths = {
        name: 2 * getattr(config, name)
        for name in ("num_layers", "num_decoder_layers")
        if hasattr(config, name)
    }
    deep = dataclasses.replace(config, **depths)
    return objective.clone(backbone=objective.backbone.clone(config=deep))


def _lengthened(spec: Spec) -> Spec:
    """The same rows, each array of them twice as long."""
    return {
        name: ((shape[0], *(2 * size for size in shape[1:])), dtype)
        for name, (shape, dtype) in spec.items()
    }
