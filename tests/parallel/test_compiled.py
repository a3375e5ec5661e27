"""What the compiler makes of a mesh: what moves between devices, and what each of them holds.

Train steps are compiled for eight fake devices and not run.
"""

import functools
import json
import math
from collections import Counter
from typing import Any

import pytest

from tests.run import verb

WHOLE = {"residual_length": "sequence"}
"""The rule that takes Megatron's sequence parallelism away."""

# Of one device's batch no size is that of another thing: 8 rows, 64 or 256 tokens, 10 targets.
SMALL = {"num_layers": 4, "hidden_size": 32, "num_heads": 8, "mlp_size": 128}
SMALL |= {"hidden_dropout": 0.0, "attention_dropout": 0.0}
BERT = {"family": "bert", "preset": "base", "max_positions": 64, "vocab_size": 1000, **SMALL}
# More tokens than rows of the table, which XLA would rather gather then.
GPT = {"family": "gpt", "preset": "gpt3-125m", "max_positions": 256, "vocab_size": 800, **SMALL}
RESIDUALS = {"bert": (8, 64, 32), "gpt": (8, 256, 32)}
COLLECTIVES = {
    "bert": {"model": BERT, "mesh": {"tensor": 8}},
    "gpt": {"model": GPT, "mesh": {"tensor": 8}, "length": 256},
}

# BERT small as it is published: compiling does not take longer for it, nor for a large batch, in
# which activations are nearly all of the memory.
PUBLISHED = {"family": "bert", "preset": "small", "hidden_dropout": 0.0, "attention_dropout": 0.0}
BATCH = {"model": PUBLISHED, "rows": 1024, "length": 128, "targets": 20}
MEMORY = {
    "one": {**BATCH, "mesh": {}, "one_device": True},
    "data": {**BATCH, "mesh": {"data": 8}},
    "fsdp": {**BATCH, "mesh": {"fsdp": 8}},
    "tensor": {**BATCH, "mesh": {"tensor": 8}},
    "tensor, whole residual": {**BATCH, "mesh": {"tensor": 8}, "sharding": WHOLE},
    "sequence": {**BATCH, "mesh": {"sequence": 8}},
}


def compiled(cases: dict[str, Any]) -> dict[str, Any]:
    return verb.reported("tests.parallel.eight_compiled", json.dumps(cases))


@functools.cache
def moved() -> dict[str, Any]:
    return compiled(COLLECTIVES)


@functools.cache
def held() -> dict[str, Any]:
    return compiled(MEMORY)


def layer_collectives(found: list[dict], residual: tuple[int, ...]) -> Counter:
    """How often residuals move within a layer, by kind and pass; rows and places may be merged."""
    forms = (list(residual), [residual[0] * residual[1], residual[2]])
    counts = Counter()
    for one in found:
        if one["times"] > 1:
            where = "backward" if "transpose(jvp" in one["source"] else "forward"
            counts[one["kind"], where] += sum(shape in forms for _, shape in one["arrays"])
    return counts


def with_axis(found: list[dict], size: int) -> list[dict]:
    """Those of an array that has an axis of this size."""
    return [one for one in found if any(size in shape for _, shape in one["arrays"])]


@pytest.mark.parametrize(
    ("family", "rows"), [pytest.param("bert", 1024, marks=pytest.mark.slow), ("gpt", 896)]
)
def test_neither_the_table_nor_the_logits_move_between_devices(family, rows):
    """Not even where there are more tokens than rows of the table."""
    found, residual = moved()[family]["collectives"], RESIDUALS[family]
    assert found and not with_axis(found, rows)
    assert all(
        math.prod(shape) <= math.prod(residual) for one in found for _, shape in one["arrays"]
    )
    # Of the cross-entropy: the highest, the sum and the target's logit, of every prediction.
    scores = (8, 10) if family == "bert" else residual[:2]
    exchanged = [one for one in found for _, shape in one["arrays"] if shape == list(scores)]
    assert len(exchanged) == 3 and {one["kind"] for one in exchanged} == {"all-reduce"}


@pytest.mark.parametrize("family", COLLECTIVES)
def test_a_layer_gathers_and_scatters_its_residual_as_megatron_lm_does(family):
    """Forward each half gathers what it reads and sums what it adds; backward it gathers both
    again, for the gradients of kernels, and sums what it hands on. XLA on CPU has no reduce-scatter
    and reduces in full; the three projections of attention are summed one by one, and joined
    elsewhere.
    """
    counts = layer_collectives(moved()[family]["collectives"], RESIDUALS[family])
    # GPT's layers are in pairs, of dense and of banded ones.
    layers = 2 if family == "gpt" else 1
    assert counts == {
        ("all-gather", "forward"): 2 * layers,
        ("all-reduce", "forward"): 2 * layers,
        ("all-gather", "backward"): 4 * layers,
        ("all-reduce", "backward"): (1 + 3) * layers,
    }


@pytest.mark.slow
def test_with_a_whole_residual_a_layer_has_two_reductions_each_way():
    case = {"bert": COLLECTIVES["bert"] | {"sharding": WHOLE}}
    found = compiled(case)["bert"]["collectives"]
    counts = layer_collectives(found, RESIDUALS["bert"])
    assert counts == {("all-reduce", "forward"): 2, ("all-reduce", "backward"): 1 + 3}
    assert not with_axis(found, 1024)


def state_bytes(found: dict[str, Any]) -> float:
    """Bytes a device of weights and two moments, relative to one device's."""
    return found["donated"] / held()["one"]["donated"]


def temporary(found: dict[str, Any]) -> float:
    return found["temporary"] / held()["one"]["temporary"]


# Of BERT small's 29.1 million parameters 0.8 are no matrices of layers or the vocabulary.
BOUNDS = {
    # Relative to one device: the state's and the activations' bytes, at least and at most.
    "data": ((1.0, 1.0), (0.125, 0.14)),
    "fsdp": ((0.125, 0.128), (0.125, 0.132)),
    "tensor": ((0.145, 0.152), (0.125, 0.15)),
    "sequence": ((1.0, 1.0), (0.125, 0.14)),
}


def check_memory(name: str, found: dict[str, Any]):
    state, activations = state_bytes(found), temporary(found)
    print(name, f"state {state:.4f} temporary {activations:.4f}")
    for value, (least, most) in zip((state, activations), BOUNDS[name], strict=True):
        assert least <= value <= most, (name, state, activations)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_memory_a_device_falls_as_the_axis_promises(name):
    one = held()["one"]
    assert one["donated"] == pytest.approx(12 * one["parameters"], rel=1e-3)
    check_memory(name, held()[name])


@pytest.mark.slow
def test_a_residual_that_is_split_by_length_takes_less():
    """By Megatron's sequence parallelism the eighth, and not the whole, of norms and residuals."""
    whole, split = (temporary(held()[name]) for name in ("tensor, whole residual", "tensor"))
    print(f"temporary: whole {whole:.4f} split {split:.4f}")
    assert whole > 2 * split


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("tensor", {"heads": ""}),
        ("tensor", {"mlp": ""}),
        ("tensor", {"vocab": ""}),
        ("tensor", WHOLE),
        ("fsdp", {"embed": ""}),
        ("sequence", {"length": ""}),
        ("sequence", {"residual_length": "tensor"}),
    ],
    ids=str,
)
def test_the_bounds_find_a_rule_that_is_dropped(name, rule):
    found = compiled({name: MEMORY[name] | {"sharding": rule}})[name]
    with pytest.raises(AssertionError):
        check_memory(name, found)
