"""XLNet's targets and order, against its program written in plain NumPy."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.maskings import MaskingVocabulary, PermutationTargets
from plmjax.errors import UserError
from tests.data.maskings.helpers import is_text, order_of, run, selected, step_bits, used

L, REUSE, BLOCK = 96, 64, 16
MASKINGS = {
    "one part": PermutationTargets(),
    "many targets": PermutationTargets(max_predictions=70),
    "two halves": PermutationTargets(max_predictions=21, reuse_len=REUSE, perm_size=BLOCK),
    "thirds of a context": PermutationTargets(mask_alpha=7, mask_beta=3, max_gram=3, perm_size=24),
}


@dataclasses.dataclass
class MaskingsDraws:
    """The random numbers of the masking itself, to be compared place by place."""

    seed: np.uint64
    half: int
    size: int
    step: int = 0

    def length(self, ends):
        self.bits = step_bits(self.seed, f"permutation spans {self.half}", self.step)
        self.step += 1
        return 1 + int((self.bits[1] >= np.rint(ends * 2**32)[:-1]).sum())

    def below(self, bound):
        return self.bits[0] * bound >> 32

    def fill(self):
        return iter(order_of(self.seed, f"permutation fill {self.half}", self.size))

    def order(self, block):
        return np.array(order_of(self.seed, f"permutation order {self.half}", block))


@dataclasses.dataclass
class NumPysDraws:
    """Random numbers as the original has them."""

    rng: np.random.Generator
    size: int

    def length(self, ends):
        return 1 + int((self.rng.random() >= ends[:-1]).sum())

    def below(self, bound):
        return int(self.rng.integers(bound))

    def fill(self):
        while True:
            yield int(self.rng.integers(self.size))


def sample_mask(is_start, goal, masking, draws):
    """zihangdai/xlnet data_utils.py, `_sample_mask`: bool, and the lengths of the spans.

    Its inner loop is written out, with the test of the span's first token that it has.
    """
    length, lengths = len(is_start), []
    mask = np.zeros(length, bool)
    ends = np.cumsum(1 / np.arange(1, masking.max_gram + 1))
    ends /= ends[-1]
    place = 0
    while place < length and mask.sum() < goal:
        n = min(draws.length(ends), goal - mask.sum())
        context = n * masking.mask_alpha // masking.mask_beta
        left = draws.below(context)
        begin = place + left
        while begin < length and not is_start[begin]:
            begin += 1
        if begin >= length:
            break
        end, words = begin + 1, 1
        while end < length:
            if is_start[begin]:
                words += 1
                if words > n:
                    break
            end += 1
        if end >= length:
            break
        mask[begin:end] = True
        lengths.append(end - begin)
        place = end + context - left
    fill = draws.fill()
    while mask.sum() < goal:
        at = next(fill)
        if at < length:  # no padding, which the masking's own draws have places for
            mask[at] = True
    return mask, lengths


def local_perm(is_functional, is_masked, index):
    """zihangdai/xlnet data_utils.py, `_local_perm`: its perm_mask, and which are targets."""
    non_mask = ~is_masked & ~is_functional
    rank = np.where(non_mask, -1, index)
    is_target = ~non_mask & ~is_functional
    own = np.where(is_target, rank, rank + 1)
    return (own[:, None] <= rank[None, :]) & ~non_mask, is_target


def halves_of(masking, length):
    """The original's halves as (first place, places, goal)."""
    goal = masking.max_predictions or length // 6
    if not masking.reuse_len:
        return [(0, length, goal)]
    second = goal // 2
    return [(0, REUSE, goal - second), (REUSE, length - REUSE, second)]


def goals_of(features, row, masking):
    """For each half its places that hold a token, and how many of them are chosen."""
    for first, size, goal in halves_of(masking, features["tokens"].shape[1]):
        tokens = int(features["attention_mask"][row, first : first + size].sum())
        yield slice(first, first + tokens), tokens * goal // size


def starts_of(features, row, places):
    return (features["flags"][row, places] & (WORD | SPECIAL)) > 0


@pytest.fixture(scope="module")
def mixed(english):
    """Full rows and shorter ones, with specials in the middle and at both ends."""
    rng = np.random.default_rng(4)
    return english.features(200, L, np.concatenate([np.full(100, L), rng.integers(5, L, 100)]))


@pytest.mark.parametrize("name", MASKINGS)
def test_it_is_xlnets_program(english, mixed, name):
    masking = MASKINGS[name]
    result = run(masking.bind(english.vocabulary, L), mixed)
    chosen, functional = selected(result), mixed["flags"] >= SPECIAL
    assert np.array_equal(result["tokens"], mixed["tokens"])
    assert not result["overflow"].any()
    wasted = 0
    for row in range(200):
        is_masked, blocked = np.zeros(L, bool), np.zeros((L, L), bool)
        is_target = np.zeros(L, bool)
        for number, (half, goal) in enumerate(goals_of(mixed, row, masking)):
            _, size, _ = halves_of(masking, L)[number]
            draws = MaskingsDraws(mixed["seeds"][row], number, size)
            mask, _ = sample_mask(starts_of(mixed, row, half), goal, masking, draws)
            is_masked[half] = mask
            assert mask.sum() == goal
            block = masking.perm_size or size
            order = np.concatenate([begin + draws.order(block) for begin in range(0, size, block)])
            index = order[: half.stop - half.start]
            blocked[half, half], is_target[half] = local_perm(functional[row, half], mask, index)
        blocked[:REUSE, REUSE:] |= masking.reuse_len > 0
        wasted += (is_masked & functional[row]).sum()
        assert np.array_equal(chosen[row], is_target)
        places = np.flatnonzero(is_target)
        count = len(places)
        assert np.array_equal(result["masked_positions"][row, :count], places)
        assert np.array_equal(result["masked_targets"][row, :count], mixed["tokens"][row, places])
        assert used(result)[row].sum() == count
        # What ranks mean is the model's docstring; what padding sees is not the original's.
        real, rank = mixed["attention_mask"][row] > 0, result["ranks"][row]
        content = rank[None, :] <= rank[:, None]
        query = rank[None, :] < rank[:, None]
        seen = ~blocked | np.eye(L, dtype=bool)
        assert np.array_equal(content[real][:, real], seen[real][:, real])
        assert np.array_equal(query[is_target][:, real], ~blocked[is_target][:, real])
    assert wasted > 0 or name == "thirds of a context"


def runs_of(chosen):
    """Lengths of all runs of neighbours in bool [B, S]."""
    steps = np.diff(np.pad(chosen, [(0, 0), (1, 1)]).astype(int), axis=1)
    return np.nonzero(steps == -1)[1] - np.nonzero(steps == 1)[1]


def same_distribution(ours, theirs):
    """The p-value of two counts of the same kinds; rare kinds are one."""
    width = max(ours.max(), theirs.max()) + 1
    table = np.stack([np.bincount(values, minlength=width) for values in (ours, theirs)])
    common = table.min(axis=0) >= 20
    table = np.concatenate([table[:, common], table[:, ~common].sum(1, keepdims=True)], axis=1)
    return scipy.stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue


def test_spans_numbers_and_places_are_distributed_as_the_originals(english):
    """With the original's settings and random numbers of NumPy's; half as long."""
    rows, length, reuse = 1500, 256, 128
    masking = PermutationTargets(max_predictions=43, reuse_len=reuse)
    features = english.features(rows, length)
    text, rng = is_text(features), np.random.default_rng(1)
    theirs, lengths = np.zeros((rows, length), bool), []
    for row in range(rows):
        for half, goal in ((slice(0, reuse), 22), (slice(reuse, length), 21)):
            mask, spans = sample_mask(
                starts_of(features, row, half), goal, masking, NumPysDraws(rng, reuse)
            )
            theirs[row, half] = mask
            lengths += spans
    theirs &= text
    ours = selected(run(masking.bind(english.vocabulary, length), features))
    assert same_distribution(runs_of(ours), runs_of(theirs)) > 1e-3
    assert same_distribution(ours.sum(1), theirs.sum(1)) > 1e-3
    for half in (ours[:, :reuse], theirs[:, :reuse]), (ours[:, reuse:], theirs[:, reuse:]):
        assert same_distribution(half[0].sum(1), half[1].sum(1)) > 1e-3
    assert same_distribution(np.nonzero(ours)[1], np.nonzero(theirs)[1]) > 1e-3
    assert len(lengths) > 10_000


def test_rows_that_run_backward_have_the_spans_of_the_text_read_forward(english):
    """The original's `reverse`: a half is turned round, and what was chosen is turned back."""
    half = REUSE // 2
    masking = PermutationTargets(max_predictions=12, reuse_len=half)
    features = english.features(100, REUSE)
    is_backward = np.arange(100) % 2
    bound = masking.bind(english.vocabulary, REUSE)

    def turned(values):
        halves = values.reshape(100, 2, half)
        return np.where(is_backward[:, None, None], halves[:, :, ::-1], halves).reshape(100, -1)

    several = {key: turned(features[key]) for key in ("tokens", "attention_mask", "flags")}
    backward = run(bound, features | several | {"backward": is_backward.astype(np.int32)})
    assert np.array_equal(turned(selected(backward)), selected(run(bound, features)))


def test_the_order_is_any(english):
    """Each place of a block is the first as often as another, and in each half for itself."""
    masking = PermutationTargets(max_predictions=32, reuse_len=16, perm_size=8)
    features = english.features(4000, 32, layout="bare")
    ranks = run(masking.bind(english.vocabulary, 32), features)["ranks"]
    blocks = ranks.reshape(-1, 4, 8)
    for block in range(4):
        counts = np.bincount(blocks[:, block].argmin(axis=1), minlength=8)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3
    # Blocks of a half share their order, halves do not.
    orders = blocks - blocks.min(axis=2, keepdims=True)
    assert np.array_equal(orders[:, 0], orders[:, 1]) and np.array_equal(orders[:, 2], orders[:, 3])
    assert (orders[:, 0] == orders[:, 2]).mean() < 0.2
    assert ranks[:, :16].max() < ranks[:, 16:].min()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_gram": 0}, "max_gram=0 is out of range"),
        ({"mask_beta": 0}, "mask_beta=0 is out of range"),
        ({"mask_alpha": 2, "mask_beta": 3}, "mask_alpha=2 with mask_beta=3"),
        ({"perm_size": -1}, "perm_size=-1 is out of range"),
        ({"perm_size": 5}, "perm_size=5 does not divide the 16 places from 0"),
        ({"perm_size": 8, "reuse_len": 8}, ""),
        ({"perm_size": 8, "reuse_len": 4}, "perm_size=8 does not divide the 4 places from 0"),
        ({"reuse_len": -1}, "reuse_len=-1 is out of range"),
        ({"reuse_len": 16}, "reuse_len=16 leaves nothing of seq_len=16"),
        ({"max_predictions": 17}, "max_predictions=17 does not fit seq_len=16"),
        ({"max_predictions": 12, "reuse_len": 4}, "max_predictions=12 wants 6 targets of the 4"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, words):
    vocabulary = MaskingVocabulary(vocab_size=10, special_ids=())
    if not words:
        assert PermutationTargets(**settings).bind(vocabulary, 16).spec["ranks"][0] == (16,)
        return
    with pytest.raises(UserError) as caught:
        PermutationTargets(**settings).bind(vocabulary, 16)
    assert words in str(caught.value) and "\n" not in str(caught.value)
