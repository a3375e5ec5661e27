"""Every family has a head for every task, whose parameters the sharding rules know."""

import flax.linen as nn
import jax
import pytest

from plmjax.parallel.layout import check_parameters
from plmjax.parallel.mesh import MeshConfig, abstract_mesh
from plmjax.train.state import boxed_parameters
from tests.huggingface import small
from tests.huggingface.test_heads import config_of, drafted, tokenizer_of

TASKS = ("classification", "tagging", "extraction", "choice", "similarity")
OBJECTIVES = [
    *((task, {"layers": layers}) for task in TASKS for layers in ("last", "weighted")),
    ("tagging", {"crf": True}),
    ("classification", {"pooling": "concat"}),
]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.slow] * (case != "bert")) for case in small.CONFIGS],
)
def test_parameters_have_names_for_their_axes(case):
    tokenizer, (_, config) = tokenizer_of(case), config_of(case)
    mesh = abstract_mesh(MeshConfig(data=4), 4)
    for task, objective in OBJECTIVES:
        _, form, module = drafted(case, task, tokenizer, **objective)
        boxed = boxed_parameters(module, form.spec)
        leaves = jax.tree.leaves_with_path(boxed, is_leaf=lambda x: isinstance(x, nn.Partitioned))
        assert any("task" in jax.tree_util.keystr(keys) for keys, _ in leaves) or (
            task == "similarity" and objective["layers"] == "last"
        )
        for keys, box in leaves:
            assert len(box.names) == box.value.ndim, jax.tree_util.keystr(keys)
        check_parameters(boxed, config, mesh)
