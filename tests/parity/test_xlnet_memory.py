"""Three steps of XLNet's training against transformers, memory handed on, in float32.

Batches are as the program makes them of a text: streams, half of them backward, targets in an
order. Each step changes the weights, and the next sees what the weights before remembered.
"""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from plmjax.data.maskings import MaskingVocabulary, PermutationTargets
from plmjax.data.plans import Streams
from plmjax.huggingface.keys import to_theirs
from plmjax.huggingface.xlnet import FAMILY
from plmjax.models.xlnet import Config, Xlnet
from plmjax.objectives.permutation_lm import PermutationLM
from plmjax.train.state import fresh_state
from plmjax.train.step import train_step
from tests.batches import spec
from tests.compare import deviation, deviations
from tests.data.maskings.helpers import run
from tests.data.splits import FakeTokenizer, split_of
from tests.parity.test_xlnet import TOLERANCE, build, shape_of, torch, tree

B, L, REUSE, STEPS, RATE = 4, 24, 10, 3, 0.01
CONFIG = Config(
    vocab_size=260,
    num_layers=2,
    hidden_size=24,
    num_heads=3,
    mlp_size=40,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    # More than a batch adds.
    mem_len=15,
    reuse_len=REUSE,
)


def batches():
    rng = np.random.default_rng(0)
    split = split_of([[int(n) for n in rng.integers(2, 9, 6)] for _ in range(4)])
    assert split.tokens < CONFIG.vocab_size - 100
    streams = Streams(reuse_len=REUSE, bi_data=True)
    layout = streams.layout("xlnet", FakeTokenizer(), L)
    plan = streams.bind(split, layout, 0, B)
    masking = PermutationTargets(max_predictions=6, mask_alpha=2, reuse_len=REUSE)
    bound = masking.bind(MaskingVocabulary(CONFIG.vocab_size, (0, 2, 3, 4, 5, 6, 7)), L)
    for step in range(STEPS):
        rows = layout.assemble(plan.examples(np.arange(B) + step * B), [split])
        # Every token begins a word.
        rows["flags"] = np.where(rows["tokens"] >= 100, np.uint8(1), rows["flags"])
        batch = run(bound, rows)
        del batch["overflow"]
        batch |= {key: rows[key] for key in ("token_types", "attention_mask", "backward")}
        assert batch["backward"].tolist() == [0, 0, 1, 1] and batch["masked_weights"].sum() >= 18
        yield batch


def their_inputs(batch):
    """`perm_mask` as data_utils.py makes it, of the ranks."""
    ranks, rows = batch["ranks"], np.arange(B)[:, None]
    is_target = np.zeros((B, L), bool)
    used = batch["masked_weights"] > 0
    is_target[np.broadcast_to(rows, used.shape)[used], batch["masked_positions"][used]] = True
    # A target does not see itself; it is alone in having its rank.
    own = np.where(is_target, ranks, ranks + 1)
    perm_mask = own[:, :, None] <= ranks[:, None]
    # As in the original, an unused slot stands nowhere.
    mapping = np.eye(L, dtype=np.float32)[batch["masked_positions"]] * used[:, :, None]
    return {
        "input_ids": torch.from_numpy(batch["tokens"]).long(),
        "token_type_ids": torch.from_numpy(batch["token_types"]).long(),
        "perm_mask": torch.from_numpy(perm_mask).float(),
        "target_mapping": torch.from_numpy(mapping),
        "labels": torch.from_numpy(np.where(used, batch["masked_targets"], -100)).long(),
    }


def theirs(some):
    """Losses, gradients and memories of each step; parameters before the first."""
    model = build(dataclasses.replace(CONFIG, bi_data=True))
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    width = CONFIG.hidden_size
    mems = [torch.zeros(CONFIG.mem_len, B, width) for _ in range(CONFIG.num_layers)]
    found = []
    for batch in some:
        output = model(**their_inputs(batch), mems=mems, use_mems=True)
        model.zero_grad()
        output.loss.backward()
        mems = [memory.detach() for memory in output.mems]
        grads = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
        kept = np.stack([memory.numpy().swapaxes(0, 1) for memory in mems])
        found.append((output.loss.item(), grads, kept))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= RATE * parameter.grad
    return before, found


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_loss_gradients_and_memory_of_three_steps_equal_transformers(accumulate):
    some = list(batches())
    before, expected = theirs(some)
    objective = PermutationLM(Xlnet(CONFIG), memory=True)
    optimizer = optax.chain(optax.trace(decay=0.0), optax.scale(-RATE))
    state = fresh_state(objective, spec(some[0]), optimizer, seed=0)
    params = tree(before, CONFIG)
    assert jax.tree.structure(params) == jax.tree.structure(state.params)
    state = state.replace(params=params)
    step = jax.jit(train_step(objective, optimizer, seed=0, accumulate=accumulate, log_every=1))
    for batch, (loss, grads, memory) in zip(some, expected, strict=True):
        state, metrics = step(state, batch)
        (kept_NBMD,) = jax.tree.leaves(state.carried)
        found = deviations(state.opt_state[0].trace, tree(grads, CONFIG))
        found |= {"loss": abs(float(metrics["loss"].sum) - loss) / loss}
        found |= {"memory": deviation(kept_NBMD, memory)}
        print(accumulate, max(found.values()), max(found, key=found.get))
        assert max(found.values()) <= TOLERANCE, found
    names = to_theirs(state.params, FAMILY.table(CONFIG, "language_model"), shape_of(CONFIG))
    assert set(names) == set(before)
