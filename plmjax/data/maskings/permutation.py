"""XLNet's targets in the order of a permutation: nothing is masked, `ranks` say who sees whom."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data import counter_random
from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import slots
from plmjax.data.maskings.base import (
    BoundMasking,
    Features,
    MaskingVocabulary,
    check_at_least,
    mlm_spec,
    slots_for,
    table_of_lengths,
)
from plmjax.data.maskings.ngram import lengths_drawn
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class _Half:
    """A part of the row whose targets and order are drawn by themselves.

    first, size: its first place, and its places S.
    number: 0, 1.
    goal: places that are chosen where all of them hold a token. goals: int32 [S + 1], the same by
      the number of tokens.
    """

    first: int
    size: int
    number: int
    goal: int

    @property
    def goals(self) -> np.ndarray:
        return table_of_lengths(lambda n: n * self.goal // self.size, self.size)

    @property
    def lowest(self) -> int:
        """The rank of what is no target: above all ranks of the half before, S + 1 of them."""
        return self.first + self.number

    def of(self, values_BL: "tf.Tensor") -> "tf.Tensor":
        """Its places of the row: [B, S]."""
        return values_BL[:, self.first : self.first + self.size]


@dataclasses.dataclass(frozen=True)
class PermutationTargets:
    """XLNet's targets and order (zihangdai/xlnet data_utils.py, `_sample_mask`, `_local_perm`).

    The half is gone through from left to right. A length of n = 1 to `max_gram` is drawn with
    weights 1/n, and not more than is left of the goal; around it lie n * mask_alpha // mask_beta
    places of context, a uniform number of them in front. The span begins at the next token that
    begins a word, or that is special. It ends with the half's last token but one: the first span
    that would reach further is not taken, and it is the last. What is then left of the goal is
    chosen place by place at random. Special tokens that are chosen are no targets and use up a part
    of the goal.

    Kept as it is there: the original means n words and, as it looks at the span's first token again
    and again, takes n tokens.

    Tokens of text that are no targets have the lowest rank: they are seen by all, and see each
    other. Targets and special tokens have the places of a random order, one for all blocks of
    `perm_size` places, and the blocks stay in theirs. With `reuse_len`, the first places are a half
    of their own, which sees nothing of the second and is seen by all of it.

    Not in the original, whose rows are full: padding is no part of a half. It has the lowest rank
    and no target, spans end before it, and the goal of a half is scaled by its share of tokens,
    rounded down. The original knows a row's special tokens by their ids, [SEP] and [CLS]; here they
    are what the layout has put there.

    It adds `ranks` int32 [B, L], see `plmjax.models.xlnet.Xlnet`, and the targets' slots; tokens
    stay the true ones. In rows that run `backward` the halves are gone through from their end.

    Attributes:
      max_predictions: slots for targets, and the goal of a full row, of which the first half has
        the larger part if it is odd; 0 for seq_len // 6.
      max_gram: tokens of the longest span.
      mask_alpha, mask_beta: tokens of context by tokens of a span.
      perm_size: places of a block; divides each half. 0 for a half as a whole.
      reuse_len: places of the first half; 0 for one part only.
    """

    max_predictions: int = 0
    max_gram: int = 5
    mask_alpha: int = 6
    mask_beta: int = 1
    perm_size: int = 0
    reuse_len: int = 0

    def __post_init__(self):
        for name, least in (("max_gram", 1), ("mask_beta", 1), ("perm_size", 0), ("reuse_len", 0)):
            check_at_least(name, getattr(self, name), least)
        if self.mask_alpha < self.mask_beta:
            raise UserError(
                f"mask_alpha={self.mask_alpha} with mask_beta={self.mask_beta} leaves a span of one"
                f" token without context; give {self.mask_beta} or more"
            )

    def bind(self, vocabulary: MaskingVocabulary, seq_len: int) -> BoundMasking:
        """See `base.Masking`."""
        slots_M = slots_for(self.max_predictions, seq_len // 6, seq_len)
        halves = self._halves(slots_M, seq_len)

        def mark(features: Features) -> Features:
            return self._marked(features, halves, slots_M)

        spec = mlm_spec(seq_len, slots_M)
        return BoundMasking(seq_len, spec | {"ranks": spec["tokens"]}, mark, shows_mask=False)

    def _halves(self, goal: int, seq_len: int) -> tuple[_Half, ...]:
        """The parts of a row.

        Raises:
          UserError: where the settings do not fit the length.
        """
        if self.reuse_len >= seq_len:
            raise UserError(
                f"reuse_len={self.reuse_len} leaves nothing of seq_len={seq_len}; give less, or 0"
                " for one part only"
            )
        halves = (_Half(0, seq_len, 0, goal),)
        if self.reuse_len:
            rest = seq_len - self.reuse_len
            halves = (
                _Half(0, self.reuse_len, 0, goal - goal // 2),
                _Half(self.reuse_len, rest, 1, goal // 2),
            )
        for half in halves:
            if self.perm_size and half.size % self.perm_size:
                raise UserError(
                    f"perm_size={self.perm_size} does not divide the {half.size} places from"
                    f" {half.first} on (seq_len={seq_len}, reuse_len={self.reuse_len}); give a"
                    " divisor, or 0 for all of them"
                )
            if half.goal > half.size:
                raise UserError(
                    f"max_predictions={goal} wants {half.goal} targets of the {half.size} places"
                    f" from {half.first} on; lower it or change reuse_len={self.reuse_len}"
                )
        return halves

    def _marked(self, features: Features, halves: tuple[_Half, ...], slots_M: int) -> Features:
        tf = tensorflow()
        is_text_BL = slots.is_text(features)
        is_special_BL = (features["attention_mask"] > 0) & ~is_text_BL
        chosen_BL = tf.concat([self._chosen(features, half) for half in halves], axis=1)
        is_target_BL = chosen_BL & is_text_BL
        order_BL = tf.concat([self._order(features["seeds"], half) for half in halves], axis=1)
        lowest_L = np.concatenate([np.full(half.size, half.lowest, np.int32) for half in halves])
        is_ordered_BL = is_target_BL | is_special_BL
        targets = slots.targets_of(features, *slots.compacted(is_target_BL, slots_M))
        return targets | {
            "tokens": features["tokens"],
            "ranks": lowest_L + tf.where(is_ordered_BL, 1 + order_BL, 0),
        }

    def _chosen(self, features: Features, half: _Half) -> "tf.Tensor":
        """Bool [B, S]: spans, and single places where spans leave something of the goal."""
        tf = tensorflow()
        turned = _turned_by(features.get("backward"))
        is_token_BS = turned(half.of(features["attention_mask"]) > 0)
        tokens_B = tf.reduce_sum(tf.cast(is_token_BS, tf.int32), axis=1)
        flags_BS = turned(half.of(features["flags"]))
        is_start_BS = tf.bitwise.bitwise_and(flags_BS, np.uint8(WORD | SPECIAL)) > 0
        purpose = f"permutation spans {half.number}"
        keys_B = counter_random.fold(features["seeds"], counter_random.key_of(purpose))
        goal_B = tf.gather(half.goals, tokens_B)
        taken_BS, left_B = self._spans(keys_B, is_start_BS & is_token_BS, tokens_B, goal_B)
        purpose = f"permutation fill {half.number}"
        keys_BS = slots.order_keys(features["seeds"], purpose, half.size)
        keys_BS = tf.where(is_token_BS & (taken_BS == 0), keys_BS, -1)
        single_BM = slots.picked(keys_BS, left_B, max(1, half.goal))
        return turned(slots.written(taken_BS, single_BM, tf.ones_like(single_BM)) > 0)

    def _spans(
        self,
        keys_B: "tf.Tensor",
        is_start_BS: "tf.Tensor",
        tokens_B: "tf.Tensor",
        goal_B: "tf.Tensor",
    ) -> tuple["tf.Tensor", "tf.Tensor"]:
        """The spans of a half as 1 in int32 [B, S], and what they leave of the goal, int32 [B]."""
        tf = tensorflow()
        batch, size = tf.shape(is_start_BS)[0], is_start_BS.shape[1]
        row_B1 = tf.range(batch)[:, None] * size
        starts_BS, _ = slots.compacted(is_start_BS, size)
        before_BS = tf.cumsum(tf.cast(is_start_BS, tf.int32), axis=1, exclusive=True)
        weights = tuple(1 / n for n in range(1, self.max_gram + 1))

        def draw(
            step: "tf.Tensor", place_B: "tf.Tensor", left_B: "tf.Tensor", taken: "tf.Tensor"
        ) -> tuple["tf.Tensor", ...]:
            bits_B = counter_random.fold(keys_B, step)
            n_B = tf.minimum(lengths_drawn(slots.low(bits_B), weights), left_B)
            context_B = n_B * self.mask_alpha // self.mask_beta
            in_front_B = slots.scaled(slots.high(bits_B), context_B)
            from_B = place_B + in_front_B
            next_B1 = slots.taken_at(before_BS, from_B[:, None])
            begin_B = tf.where(from_B < size, slots.taken_at(starts_BS, next_B1)[:, 0], size)
            is_good_B = (left_B > 0) & (begin_B + n_B < tokens_B)

            inside_N = tf.range(self.max_gram)
            at_BN = row_B1 + tf.minimum(begin_B[:, None] + inside_N, size - 1)
            new_BN = tf.cast((inside_N < n_B[:, None]) & is_good_B[:, None], tf.int32)
            taken = tf.tensor_scatter_nd_max(
                taken, tf.reshape(at_BN, [-1, 1]), tf.reshape(new_BN, [-1])
            )
            after_B = begin_B + n_B + context_B - in_front_B
            place_B = tf.where(is_good_B, tf.minimum(after_B, size), size)
            return step + np.uint64(1), place_B, left_B - tf.reduce_sum(new_BN, axis=1), taken

        start = (
            *(tf.constant(0, tf.uint64), tf.zeros_like(goal_B)),
            *(goal_B, tf.zeros([batch * size], tf.int32)),
        )
        vector = tf.TensorShape([None])
        _, _, left_B, taken = tf.while_loop(
            lambda step, place_B, left_B, taken: tf.reduce_any((left_B > 0) & (place_B < tokens_B)),
            draw,
            start,
            shape_invariants=(tf.TensorShape([]), vector, vector, vector),
        )
        return tf.reshape(taken, [batch, size]), left_B

    def _order(self, seeds_B: "tf.Tensor", half: _Half) -> "tf.Tensor":
        """Int32 [B, S]: each place's own, in the order of the half."""
        tf = tensorflow()
        block = self.perm_size or half.size
        keys_BP = slots.order_keys(seeds_B, f"permutation order {half.number}", block)
        order_BP = tf.math.top_k(keys_BP, block)[1]
        begins_S = np.arange(half.size, dtype=np.int32) // block * block
        return tf.tile(order_BP, [1, half.size // block]) + begins_S


def _turned_by(backward_B: "tf.Tensor | None") -> Callable[["tf.Tensor"], "tf.Tensor"]:
    """What turns round the rows that run backward; they are full, or padding would come first."""
    if backward_B is None:
        return lambda values_BS: values_BS
    tf = tensorflow()
    is_backward_B1 = backward_B[:, None] > 0
    return lambda values_BS: tf.where(is_backward_B1, tf.reverse(values_BS, [1]), values_BS)
