"""The policy `attention` in every kind of attention: traced, and not compiled."""

import dataclasses

import flax.linen as nn
import jax
import pytest

from plmjax.families import FAMILIES
from plmjax.nn.efficient.kinds import KINDS
from plmjax.train.state import boxed_parameters, dummy_batch
from tests.training import objective_of, spec_of

SMALL = {"vocab_size": 60, "num_layers": 2, "hidden_size": 16, "num_heads": 2, "mlp_size": 32}
CASES = {kind: ("bert", "base", {"attention": made()}) for kind, made in KINDS.items()}
CASES |= {"two streams": ("xlnet", "base", {}), "cross": ("t5", "small", {"head_size": 8})}
LENGTH = 48


def small(case: str, remat: str):
    family, preset, fields = CASES[case]
    fields = SMALL | fields | {"remat": remat, "hidden_dropout": 0.1, "attention_dropout": 0.1}
    return family, dataclasses.replace(FAMILIES[family].presets[preset], **fields)


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_the_same_and_gradients_can_be_taken(case):
    shapes = {}
    for remat in ("none", "attention"):
        family, config = small(case, remat)
        spec = spec_of(family, config, 2, LENGTH, 4)
        objective, batch = objective_of(family, config), dummy_batch(spec)
        params = nn.meta.unbox(boxed_parameters(objective, spec))

        def loss(params, objective=objective, batch=batch):
            rngs = {"dropout": jax.random.key(0)}
            terms = objective.apply({"params": params}, batch, train=True, rngs=rngs).terms
            return sum(term.sum for term in terms.values())

        made = jax.eval_shape(jax.grad(loss), params)
        shapes[remat] = jax.tree.map(lambda x: (x.shape, x.dtype), (params, made))
    assert shapes["attention"] == shapes["none"]
