"""XLNet against transformers with the same random weights, in float32."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from plmjax.huggingface.keys import shape_of, to_ours, to_theirs
from plmjax.huggingface.xlnet import FAMILY
from plmjax.models.xlnet import PRESETS, Config, Xlnet
from tests.compare import deviations, leaves
from tests.requires import need

torch = need("torch", "pip install -r requirements-ci.txt")
transformers = need("transformers", "pip install -r requirements-ci.txt")
torch.set_num_threads(1)

TOLERANCE = 1e-4
B, L, T = 4, 13, 4
PAD = 5
_SMALL = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "num_layers": 2, "reuse_len": 0}
_TINY = _SMALL | {"vocab_size": 120, "hidden_size": 16, "num_heads": 2, "mlp_size": 64}
_ODD = _SMALL | {"vocab_size": 301, "hidden_size": 60, "num_heads": 5, "mlp_size": 100}
CASES = {
    # The memory keeps less than a segment adds.
    "tiny": Config(**_TINY, mem_len=5),
    # More than a segment adds; two directions; distances that are not told apart.
    "odd": Config(
        **_ODD | {"mem_len": 17, "reuse_len": 6, "bi_data": True, "clamp_len": 4},
        activation="gelu",
        layer_norm_epsilon=1e-3,
    ),
    "uni": Config(
        **_TINY | {"num_layers": 5, "num_heads": 4, "mem_len": 9, "reuse_len": 7},
        direction="uni",
        activation="relu",
        initializer_range=0.1,
    ),
    "same_length": Config(**_TINY, mem_len=8, direction="uni", same_length=True),
}
KINDS = ("content", "both")
"""Without targets one segment; with them two, of which the second sees the memory of the first."""


def build(config: Config):
    torch.manual_seed(0)
    settings = transformers.XLNetConfig(**FAMILY.to_settings(config))
    model = transformers.XLNetLMHeadModel(settings)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            kind = name.rsplit(".", 1)[-1]
            if kind in ("q", "k", "v", "r", "o") or ("ff.layer_" in name and parameter.ndim == 2):
                parameter.copy_(1.5 * noise / parameter.shape[kind == "weight"] ** 0.5)
            else:
                parameter.copy_(0.4 * noise + (name.endswith("norm.weight")))
    return model.train()


def order(rng: np.random.Generator, targets_BT: np.ndarray, functional: int):
    """Ranks, and the mask that the original's data_utils.py makes of the same order.

    The last `functional` tokens are no targets and yet have ranks of their own.
    """
    is_target = np.zeros((B, L), bool)
    np.put_along_axis(is_target, targets_BT, True, axis=1)
    ranked = is_target.copy()
    ranked[:, L - functional :] = True
    ranks = np.where(ranked, rng.random((B, L)).argsort(1), -1)
    own = np.where(is_target, ranks, ranks + 1)
    perm_mask = (own[:, :, None] <= ranks[:, None]) & ranked[:, None]
    return ranks, perm_mask.astype(np.int32)


@functools.cache
def segments(name: str, kind: str) -> list[dict[str, np.ndarray]]:
    """The first has padding in front."""
    config, rng, made = CASES[name], np.random.default_rng(3), []
    for number in range(2 if kind == "both" else 1):
        padding = np.array([0, 3, 1, 4])[:, None] * (number == 0)
        mask = (np.arange(L) >= padding).astype(np.int32)
        tokens = np.where(mask == 1, rng.integers(6, config.vocab_size, (B, L)), PAD)
        some = {"tokens": tokens, "mask": mask}
        if (name, kind) != ("uni", "content"):  # which has no term of token types
            some["types"] = rng.integers(0, 3, (B, L))
        if kind == "both":
            # Neither first nor last: a query that sees nothing would be the references' noise.
            targets = 5 + rng.random((B, L - 7)).argsort(1)[:, :T]
            some["targets"], some["goals"] = targets, rng.integers(0, config.vocab_size, (B, T))
            if name != "same_length" or number:  # where queries see themselves or nothing
                some["ranks"], some["perm_mask"] = order(rng, targets, functional=2)
            if name == "odd":  # an order that no ranks can say
                some["perm_mask"] = (rng.random((B, L, L)) < 0.4).astype(np.int32)
        made.append(some)
    return made


def their_inputs(some: dict[str, np.ndarray], number: int) -> dict:
    mask = torch.from_numpy(some["mask"]).float()
    inputs = {
        "input_ids": torch.from_numpy(some["tokens"]),
        "labels": torch.from_numpy(np.where(some["mask"] == 1, some["tokens"], -100)),
    }
    inputs |= {"attention_mask": mask} if number % 2 else {"input_mask": 1 - mask}
    if "types" in some:
        inputs["token_type_ids"] = torch.from_numpy(some["types"])
    if "targets" in some:
        mapping = np.eye(L, dtype=np.float32)[some["targets"]]
        inputs["labels"] = torch.from_numpy(some["goals"])
        inputs["target_mapping"] = torch.from_numpy(mapping)
    if "perm_mask" in some:
        inputs["perm_mask"] = torch.from_numpy(some["perm_mask"]).float()
    return inputs


def tree(tensors, config: Config):
    return to_ours(tensors, FAMILY.table(config, "language_model"), shape_of(config))


def their_pass(model, name: str, kind: str, rows: slice) -> tuple[torch.Tensor, dict]:
    """The sum of the segments' losses, and everything they computed for some rows."""
    mems, total, values = None, 0.0, {}
    for number, whole in enumerate(segments(name, kind)):
        inputs = their_inputs({key: x[rows] for key, x in whole.items()}, number)
        output = model(**inputs, mems=mems, use_mems=True, output_hidden_states=True)
        mems, hidden = output.mems, output.hidden_states
        weight = (inputs["labels"] != -100).sum() / (their_inputs(whole, 0)["labels"] != -100).sum()
        total += output.loss * weight
        if kind == "both":
            values |= {f"query_{number}_{i}": x for i, x in enumerate(hidden[1::2])}
            hidden = hidden[::2]
        values |= {f"hidden_{number}_{i}": x for i, x in enumerate(hidden)}
        values |= {f"memory_{number}_{i}": x.transpose(0, 1) for i, x in enumerate(mems)}
        values |= {f"logits_{number}": output.logits, f"loss_{number}": output.loss[None] * weight}
    return total, values


@functools.cache
def theirs(name: str, kind: str):
    config = CASES[name]
    model = build(config)
    arrays = {k: p.detach().numpy().copy() for k, p in model.named_parameters()}
    # transformers adds masks of rows to the causal mask in place, which only fits a single row.
    size = B if config.direction == "bi" else 1
    passes = [their_pass(model, name, kind, slice(i, i + size)) for i in range(0, B, size)]
    sum(total for total, _ in passes).backward()
    grads = {
        k: np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
        for k, p in model.named_parameters()
    }
    values = {key: torch.cat([some[key] for _, some in passes]) for key in passes[0][1]}
    values = {key: x.detach().numpy() for key, x in values.items()}
    return arrays, grads, {k: x.sum() if k.startswith("loss") else x for k, x in values.items()}


def call(module: Xlnet, params, some: dict[str, np.ndarray], memory: dict, ranked: bool = True):
    """Output and memory of a segment."""
    order = {"ranks": "ranks_BL"} if ranked else {"perm_mask": "blocked_BLL"}
    keys = {"targets": "targets_BT"} | order
    extra = {argument: some[key] for key, argument in keys.items() if key in some}
    return module.apply(
        {"params": params} | memory,
        some["tokens"],
        some.get("types"),
        some["mask"],
        train=False,
        all_hidden=True,
        mutable=["memory"],
        **extra,
    )


def remembered(config: Config, memory: dict) -> list[jax.Array]:
    """What each layer keeps: [B, M, D]."""
    stack = memory["memory"]["decoder"]
    if config.scan:
        return list(stack["layers"]["attention"]["content"])
    return [stack[f"layer_{i}"]["attention"]["content"] for i in range(config.num_layers)]


@functools.cache
def ours(name: str, kind: str, scan: bool = True):
    config = dataclasses.replace(CASES[name], scan=scan)
    module, params = Xlnet(config), tree(theirs(name, kind)[0], config)

    def values(params):
        found, memory, total = {}, {}, 0.0
        for number, some in enumerate(segments(name, kind)):
            backbone = params["backbone"]
            output, memory = call(module, backbone, some, memory, ranked=name != "odd")
            last = output.hidden_BLD if output.query_BTD is None else output.query_BTD
            goals = some.get("goals", some["tokens"])
            bias = params["lm_head"]["output_bias"]
            logits = module.apply({"params": backbone}, last, bias, method="logits")
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, goals)
            weights = some["mask"] if kind == "content" else jnp.ones(goals.shape)
            loss = (losses * weights).sum() / weights.sum()
            total += loss
            found |= {f"logits_{number}": logits[..., : config.vocab_size]}
            found |= {f"loss_{number}": loss}
            for stream, layers in (
                ("hidden", output.all_hidden_NBLD),
                ("query", output.all_query_NBTD),
                ("memory", remembered(config, memory)),
            ):
                layers = () if layers is None else layers
                found |= {f"{stream}_{number}_{i}": x for i, x in enumerate(layers)}
        return total, found

    (_, found), grads = jax.jit(jax.value_and_grad(values, has_aux=True))(params)
    return jax.device_get(found), jax.device_get(grads)


RUNS = [(name, kind) for name in CASES for kind in KINDS]


@pytest.mark.parametrize(("name", "kind"), RUNS)
def test_both_streams_memory_logits_and_loss_equal_transformers(name, kind):
    found = deviations(ours(name, kind)[0], theirs(name, kind)[2])
    print(name, kind, max(found.values()))
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize(("name", "kind"), RUNS)
def test_every_gradient_equals_transformers(name, kind):
    found = deviations(ours(name, kind)[1], tree(theirs(name, kind)[1], CASES[name]))
    worst = max(found, key=found.get)
    print(name, kind, worst, found[worst])
    assert found[worst] <= TOLERANCE, found


def test_scanned_and_unscanned_are_equal():
    values, _ = ours("odd", "both")
    found = deviations(ours("odd", "both", scan=False)[0], values)
    print(max(found.values()))
    assert max(found.values()) <= 1e-6, found
    config = dataclasses.replace(CASES["odd"], scan=False)
    expected = tree(theirs("odd", "both")[1], config)
    found = deviations(ours("odd", "both", scan=False)[1], expected)
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", CASES)
def test_the_key_table_has_every_parameter_and_goes_both_ways(name):
    config, tensors = CASES[name], theirs(name, "content")[0]
    some = segments(name, "both")[0]
    for scan in (True, False):
        config = dataclasses.replace(config, scan=scan)
        made = tree(tensors, config)
        fresh = nn.meta.unbox(jax.eval_shape(lambda c=config: initial(c, some)))
        assert set(fresh) == {"params"}  # a fresh model has no memory
        shapes = {path: x.shape for path, x in leaves(fresh["params"]).items()}
        assert {path: x.shape for path, x in leaves(made["backbone"]).items()} == shapes
        back = to_theirs(made, FAMILY.table(config, "language_model"), shape_of(config))
        assert {name: x.tobytes() for name, x in back.items()} == {
            name: x.tobytes() for name, x in tensors.items()
        }


def initial(config: Config, some: dict[str, np.ndarray]):
    arguments = some["tokens"], some["types"], some["mask"]
    return Xlnet(config).init(
        jax.random.key(0), *arguments, train=False, targets_BT=some["targets"]
    )


@pytest.mark.parametrize("config", [*CASES.values(), PRESETS["large"]])
def test_settings_go_both_ways(config):
    theirs = transformers.XLNetConfig(**FAMILY.to_settings(config))
    assert FAMILY.from_settings(theirs.to_dict()) == config


@pytest.mark.parametrize(
    ("preset", "backbone", "with_head"),
    [("base", 116_718_336, 116_750_336), ("large", 360_268_800, 360_300_800)],
)
def test_parameter_counts_are_the_published_ones(preset, backbone, with_head):
    config = dataclasses.replace(PRESETS[preset], vocab_multiple=1)
    some = segments("tiny", "both")[0]
    shapes = jax.eval_shape(lambda: initial(config, some))
    count = sum(x.size for x in jax.tree.leaves(shapes))
    assert count == backbone
    head = [e for e in FAMILY.table(config, "language_model") if e.ours.startswith("lm_head")]
    assert [entry.kind for entry in head] == ["vocab"]
    assert count + config.vocab_size == with_head
