"""The kinds of self-attention a model can have, and their settings: `config.model.attention`.

Each is a frozen dataclass that knows its `name`; `plmjax.nn.blocks.ATTENTIONS` has the layer of
each. What is random (BigBird's blocks, Performer's features) is a function of the kind's `seed` and
of the layer's number alone, so that a checkpoint needs no more than the config to go on.
"""

import dataclasses
from typing import Any, ClassVar

from plmjax.errors import UserError
from plmjax.settings import choose, section_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What all kinds can be asked."""

    reach: ClassVar[int] = 0
    """How far a query sees, where the kind is full attention under a mask; 0 for any."""

    name: str = dataclasses.field(default="", init=False)

    def check(self, length: int) -> None:
        """Raises a UserError where rows of this length cannot be taken."""

    def work(self, length: int, width: int, num_heads: int) -> float:
        """Multiply-adds of a token in one layer, four projections of width D to D left out."""
        raise NotImplementedError

    def _at_least(self, least: int, *fields: str) -> None:
        for field in fields:
            if getattr(self, field) < least:
                raise UserError(
                    f"{field}={getattr(self, field)} is too small; give {least} or more"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Full(Kind):
    """Softmax over all keys, or with `reach` over those at most so many places away.

    Families whose layers differ in reach (GPT-3, ModernBERT) say so themselves.
    """

    name: str = dataclasses.field(default="full", init=False)
    reach: int = 0

    def __post_init__(self):
        self._at_least(0, "reach")

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`; every key counts, also those that a mask hides."""
        return 2.0 * (_window_keys(self.reach, length) if self.reach else length) * width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Longformer(Kind):
    """A window, and tokens that see everything and that everything sees (Beltagy et al. 2020).

    window: how many neighbours a token sees, half of them on each side.
    global_tokens: how many of a row's first tokens are global, with projections of their own; with
      0 there are no such projections.
    """

    name: str = dataclasses.field(default="longformer", init=False)
    window: int = 512
    global_tokens: int = 1

    def __post_init__(self):
        self._at_least(2, "window")
        self._at_least(0, "global_tokens")
        if self.window % 2:
            raise UserError(f"window={self.window} is odd; half of it lies on each side")

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`."""
        count = self.global_tokens
        near = 2.0 * (_window_keys(self.window // 2, length) + count) * width
        own = 2.0 * width**2 + count * (2.0 * width + width**2 / length)
        return near + (own if count else 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigBird(Kind):
    """Blocks that see their neighbours, the first and last block, and random ones (Zaheer 2020).

    block: tokens of a block; rows are padded to whole blocks. The first and the last see
      everything. Rows of 5 + 2 * random_blocks blocks or fewer have full attention.
    random_blocks: how many others a block sees, which differ by head.
    seed: of those.
    """

    name: str = dataclasses.field(default="bigbird", init=False)
    block: int = 64
    random_blocks: int = 3
    seed: int = 0

    def __post_init__(self):
        self._at_least(1, "block")
        self._at_least(0, "random_blocks")

    def is_full(self, length: int) -> bool:
        """Whether a row is so short that all see all."""
        return length <= (5 + 2 * self.random_blocks) * self.block

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`."""
        if self.is_full(length):
            return 2.0 * length * width
        return 2.0 * ((5 + self.random_blocks) * self.block + 2 * self.block) * width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(Kind):
    """The kernel elu + 1 in place of softmax, and no scale (Katharopoulos et al. 2020)."""

    name: str = dataclasses.field(default="linear", init=False)

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`."""
        return 2.0 * width * width / num_heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class Performer(Kind):
    """Softmax, or another kernel, through random features: FAVOR+ (Choromanski et al. 2021).

    features: how many; more are closer to softmax. kernel: `softmax` or `relu`.
    seed: of the features, orthogonal within blocks of K, the same for all heads and in all steps.
    """

    name: str = dataclasses.field(default="performer", init=False)
    features: int = 256
    kernel: str = "softmax"
    seed: int = 0

    def __post_init__(self):
        self._at_least(1, "features")
        choose(self.kernel, {"softmax": 0, "relu": 0}, "kernel")

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`."""
        return 4.0 * self.features * width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linformer(Kind):
    """Keys and values projected along the sequence to a fixed number (Wang et al. 2020).

    length: the longest row. rank: how many keys and values are left of it.
    share: who shares a projection: `none` (each head has one for keys and one for values),
      `heads` (all heads), `key_value` (also keys and values), `layers` (also all layers).
    """

    name: str = dataclasses.field(default="linformer", init=False)
    length: int = 512
    rank: int = 256
    share: str = "heads"

    def __post_init__(self):
        self._at_least(1, "length", "rank")
        choose(self.share, dict.fromkeys(("none", "heads", "key_value", "layers")), "share")

    def check(self, length: int) -> None:
        """As of `Kind`."""
        if length > self.length:
            raise UserError(
                f"config.model.attention.length={self.length} is shorter than rows of {length}"
                " tokens; a Linformer is as long as its projections, so give it that length"
            )

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`."""
        return 4.0 * self.rank * width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fastformer(Kind):
    """One global query and one global key, which touch all others by element (Wu et al. 2021)."""

    name: str = dataclasses.field(default="fastformer", init=False)

    def work(self, length: int, width: int, num_heads: int) -> float:
        """As of `Kind`: no projection of values, one after, and twice the scores of all heads."""
        return 2.0 * width * (num_heads + 1)


AnyKind = Full | Longformer | BigBird | Linear | Performer | Linformer | Fastformer

KINDS = {
    "full": Full,
    "longformer": Longformer,
    "bigbird": BigBird,
    "linear": Linear,
    "performer": Performer,
    "linformer": Linformer,
    "fastformer": Fastformer,
}
"""By the names that configs use."""


def attention_config(name: str, **changes: Any) -> dict[str, Any]:
    """`config.model.attention`: one of KINDS with its defaults and `changes`.

    Raises:
      UserError: for an unknown name.
    """
    return section_of(KINDS, name, "attention", **changes)


def window_block(reach: int) -> int:
    """How many queries share one set of keys where nobody sees farther than `reach`."""
    return max(reach, 16)


def _window_keys(reach: int, length: int) -> int:
    return min(length, 3 * window_block(reach))
