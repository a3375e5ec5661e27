"""What every masking is: published settings, bound to a vocabulary and a length."""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from plmjax.data.host_tensorflow import tensorflow
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

Features = dict[str, "tf.Tensor"]
Spec = dict[str, tuple[tuple[int, ...], np.dtype]]


@dataclasses.dataclass(frozen=True, eq=False)
class MaskingVocabulary:
    """What maskings need to know of a tokenizer.

    Attributes:
      vocab_size: ids are in range(vocab_size).
      special_ids: every id that is no text, ascending.
      pad_id, mask_id, cls_id, sep_id, bos_id, eos_id, eod_id: None where the vocabulary has none.
      sentinel_ids: those of T5, the first one first; empty elsewhere.
      token_counts: int64 [vocab_size], how often each id stands in the training text; None where it
        is not known.
      word_starts: bool [vocab_size], False for tokens that continue a word by their form; None
        where it is not known.
      similar_words: path of the corpus's own table of similar words; empty where there is no
        corpus yet.
    """

    vocab_size: int
    special_ids: tuple[int, ...]
    pad_id: int | None = None
    mask_id: int | None = None
    cls_id: int | None = None
    sep_id: int | None = None
    bos_id: int | None = None
    eos_id: int | None = None
    eod_id: int | None = None
    sentinel_ids: tuple[int, ...] = ()
    token_counts: np.ndarray | None = None
    word_starts: np.ndarray | None = None
    similar_words: str = ""

    @property
    def text_ids(self) -> np.ndarray:
        """Int32, ascending: every id that is no special one."""
        return np.setdiff1d(np.arange(self.vocab_size, dtype=np.int32), self.special_ids)

    def require(self, name: str, purpose: str) -> int:
        """The id called `name` ("mask", "eos", ...).

        Raises:
          UserError: where the vocabulary has no such token.
        """
        token_id = getattr(self, f"{name}_id")
        if token_id is None:
            raise UserError(
                f"the vocabulary has no {name} token, which {purpose} needs; add one to the "
                "tokenizer and prepare the corpus again, or choose another masking"
            )
        return token_id

    def require_counts(self, purpose: str) -> np.ndarray:
        """The token counts.

        Raises:
          UserError: where they are not known.
        """
        if self.token_counts is None:
            raise UserError(
                f"{purpose} needs the counts of the corpus's tokens and the store has none; "
                "prepare the corpus again"
            )
        return self.token_counts


@dataclasses.dataclass(frozen=True, eq=False)
class BoundMasking:
    """A masking that knows its vocabulary and length: a pure function of a batch's features.

    It reads `tokens`, `attention_mask` int32 [B, L], `flags` uint8 [B, L] (`plmjax.data.flags`) and
    `seeds` uint64 [B], L being `input_length`, and draws from the seeds alone, so that an example
    gets the same bits in every batch.

    Attributes:
      input_length: raw tokens the layout has to deliver for each example.
      spec: shape per example and dtype of every key it returns, `overflow` among them: int32,
        targets that the procedure wanted and that found no slot.
      function: what is called.
      shows_mask: whether targets are shown as [MASK]; a model that never sees one fills no blanks.
    """

    input_length: int
    spec: Spec
    function: Callable[[Features], Features]
    shows_mask: bool = True

    def __call__(self, features: Features) -> Features:
        """The keys that are new or replaced."""
        # Nothing in a masking is Python control flow over tensors; tracing is faster so.
        plain = tensorflow().autograph.experimental.do_not_convert(self.function)
        return plain(features)


class Masking(Protocol):
    """Published settings of a masking."""

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """The masking for examples of `seq_len` tokens.

        Raises:
          UserError: where the vocabulary lacks a token that is needed, or the settings do not fit.
        """


def mlm_spec(seq_len: int, slots: int) -> Spec:
    """What masked language modelling reads: the tokens, `slots` targets and the overflow."""
    integer, real = np.dtype(np.int32), np.dtype(np.float32)
    return {
        "tokens": ((seq_len,), integer),
        "masked_positions": ((slots,), integer),
        "masked_targets": ((slots,), integer),
        "masked_weights": ((slots,), real),
        "overflow": ((), integer),
    }


def check_share(name: str, value: float, *, above_zero: bool = False) -> None:
    """Raises a UserError where a share is not one."""
    if not 0 <= value <= 1 or (above_zero and value == 0):
        raise UserError(f"{name}={value} is not a share; give {'above ' * above_zero}0 to 1")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raises a UserError where a number is too small."""
    if not value >= least or not math.isfinite(value):
        raise UserError(f"{name}={value} is out of range; give {least} or more")


def check_shares_left(names: str, *shares: float) -> None:
    """Raises a UserError where shares that exclude each other are more than one together."""
    if sum(shares) > 1 + 1e-9:
        raise UserError(f"{names}={'+'.join(map(str, shares))} is above 1; lower one of them")


def slots_for(max_predictions: int, most: int, seq_len: int) -> int:
    """How many target slots there are: as set, or the `most` that the rule asks for if 0.

    Raises:
      UserError: where the setting does not fit the length.
    """
    if not 0 <= max_predictions <= seq_len:
        raise UserError(
            f"max_predictions={max_predictions} does not fit seq_len={seq_len}; give 1 to {seq_len}"
            ", or 0 for as many as the rule can ask for"
        )
    return max_predictions or max(1, min(most, seq_len))


def most_of_binomial(n: int, share: float) -> int:
    """A count that a binomial one stays below but for once in a few million draws."""
    return math.ceil(n * share + 5.5 * math.sqrt(n * share * (1 - share)))


def table_of_lengths(count: Callable[[int], int], longest: int) -> np.ndarray:
    """Int32 [longest + 1]: `count(n)` for each length n, by Python's own arithmetic."""
    return np.array([count(n) for n in range(longest + 1)], np.int32)
