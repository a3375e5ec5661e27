"""The input: batches as a pure function of (settings, seed, step)."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from plmjax.data.counter_random import key_of
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.instances import InstanceRule, Instances, build_instances
from plmjax.data.masking import TokenMasking
from plmjax.data.plan import Plan
from plmjax.data.store import SplitReader
from plmjax.data.tokenizers import WordPiece
from plmjax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

Spec = dict[str, tuple[tuple[int, ...], np.dtype]]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a batch is.

    Attributes:
      seq_len: tokens of an example, specials and padding included.
      batch_size: examples of a step over all hosts.
      max_predictions: most masked positions of an example.
      mask_rate: share of an example's tokens that is masked.
      short_seq_prob: how often a document is cut to a random shorter length.
      next_sentence: whether examples are pairs with a label, or one segment.
      dupe_factor: 0 to draw pairs and masks anew each epoch; k for k fixed versions of the corpus.
      prefetch: batches made ahead.
    """

    seq_len: int = 128
    batch_size: int = 32
    max_predictions: int = 20
    mask_rate: float = 0.15
    short_seq_prob: float = 0.1
    next_sentence: bool = True
    dupe_factor: int = 0
    prefetch: int = 4

    def __post_init__(self):
        if self.seq_len < 8 or self.seq_len >= 1 << 16:
            raise UserError(f"seq_len={self.seq_len} is out of range; give 8 to 65535")
        if self.batch_size < 1:
            raise UserError(f"batch_size={self.batch_size} is none; give 1 or more")
        if not 1 <= self.max_predictions < self.seq_len:
            raise UserError(
                f"max_predictions={self.max_predictions} does not fit seq_len={self.seq_len}; give "
                f"1 to {self.seq_len - 1}, usually about mask_rate * seq_len"
            )
        for name in ("mask_rate", "short_seq_prob"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"{name}={value} is not a share; give 0 to 1")
        if self.dupe_factor < 0:
            raise UserError(f"dupe_factor={self.dupe_factor} is negative; give 0 for dynamic masks")
        if self.prefetch < 1:
            raise UserError(f"prefetch={self.prefetch} is too small; give 1 or more")

    @property
    def spec(self) -> Spec:
        """Shape of the global batch and dtype of every key."""
        B, L, M = self.batch_size, self.seq_len, self.max_predictions
        shapes = {"tokens": (B, L), "token_types": (B, L), "attention_mask": (B, L)}
        shapes |= {"masked_positions": (B, M), "masked_targets": (B, M), "masked_weights": (B, M)}
        if self.next_sentence:
            shapes |= {"next_sentence": (B,), "next_sentence_weights": (B,)}
        return {
            key: (shape, np.dtype(np.float32 if key.endswith("weights") else np.int32))
            for key, shape in shapes.items()
        }


class Input:
    """Batches of one split for one host.

    Every host reads its part of each global batch: host h of H has the examples t*B + h*B/H
    onwards of step t. Concatenated in the order of hosts, the parts are the same bytes for every
    H. There is no state: any step can be asked for.

    A batch is a dict of NumPy arrays, process-local on axis 0 (B examples, L = seq_len, M =
    max_predictions). The layout is [CLS] A [SEP] B [SEP], or [CLS] A [SEP] without next_sentence.
      tokens: int32 [B, L], masked, [PAD] after the end.
      token_types: int32 [B, L], 1 for B and its [SEP].
      attention_mask: int32 [B, L], 1 for tokens and 0 for padding.
      masked_positions, masked_targets: int32 [B, M], 0 where unused.
      masked_weights: float32 [B, M], 1 where used.
      next_sentence: int32 [B], 0 for the real next, 1 for a random one; with next_sentence only.
      next_sentence_weights: float32 [B], 0 for the padding of evaluation; with next_sentence only.
    """

    def __init__(
        self,
        split: SplitReader,
        tokenizer: WordPiece,
        config: DataConfig,
        seed: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Checks that batches can be made; nothing is read yet.

        Raises:
          UserError: where the batch does not divide by the hosts, or the split is too small.
        """
        if config.batch_size % process_count:
            raise UserError(
                f"batch_size={config.batch_size} does not divide by {process_count} processes; "
                f"give a multiple of {process_count}"
            )
        needed = 2 if config.next_sentence else 1
        if split.documents < needed:
            raise UserError(
                f"{split.path} has {split.documents} document(s) and at least {needed} are needed; "
                "give more text (blank lines separate documents) or another held_out"
            )
        self._split = split
        self._tokenizer = tokenizer
        self._config = config
        self._seed = seed
        self._local_size = config.batch_size // process_count
        self._local_start = process_index * self._local_size
        self._rule = InstanceRule(config.seq_len, config.short_seq_prob, config.next_sentence)
        self._offsets = (split.sentence_offsets, split.document_offsets)
        self._plan = Plan(*self._offsets, self._rule, seed, config.dupe_factor)
        self._masking = TokenMasking(
            config.mask_rate,
            config.max_predictions,
            tokenizer.mask_id,
            (tokenizer.cls_id, tokenizer.sep_id),
            tokenizer.vocab_size,
        )

    @property
    def spec(self) -> Spec:
        """Shape of the global batch and dtype of every key."""
        return self._config.spec

    def epoch_size(self, epoch: int = 0) -> int:
        """How many examples the epoch has, over all hosts.

        Raises:
          UserError: where it has less than one batch.
        """
        size = self._plan.epoch_size(epoch)
        if size < self._config.batch_size:
            raise UserError(
                f"{self._split.path} makes {size} examples of {self._config.seq_len} tokens, less "
                f"than one batch of {self._config.batch_size}; give more text or a smaller batch"
            )
        return size

    def batches(
        self, start_step: int = 0, stop_step: int | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """This host's part of the batches of steps [start_step, stop_step), without end if None.

        Raises:
          UserError: where the split is smaller than one batch, or a part of the store is damaged.
        """
        self.epoch_size()
        return self._run(self._training_rows, start_step, stop_step)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """This host's part of the batch of one step."""
        return next(self.batches(step, step + 1))

    def evaluation_batches(self) -> Iterator[dict[str, np.ndarray]]:
        """This host's part of one pass over the whole split, the same on every call.

        Pairs and masks depend on the seed alone. The last batch is filled up with examples of
        weight zero.
        """
        instances = build_instances(*self._offsets, self._rule, key_of(self._seed, "evaluation"))
        B = self._config.batch_size

        def rows(step: int) -> tuple[Instances, np.ndarray]:
            indexes = step * B + self._local_start + np.arange(self._local_size)
            return instances.rows(indexes % len(instances)), indexes < len(instances)

        return self._run(rows, 0, -(-len(instances) // B))

    def _training_rows(self, step: int) -> tuple[Instances, np.ndarray]:
        start = step * self._config.batch_size + self._local_start
        indexes = np.arange(start, start + self._local_size)
        return self._plan.examples(indexes), np.ones(self._local_size, bool)

    def _run(
        self,
        rows: Callable[[int], tuple[Instances, np.ndarray]],
        start_step: int,
        stop_step: int | None,
    ) -> Iterator[dict[str, np.ndarray]]:
        tf = tensorflow()
        failures: list[Exception] = []
        signature = [tf.int32, tf.int32, tf.int32, tf.int32, tf.float32, tf.uint64]

        def read(step: np.ndarray) -> tuple[np.ndarray, ...]:
            try:
                return self._unmasked(*rows(int(step)))
            except Exception as failure:
                failures.append(failure)  # TensorFlow passes on the text of an exception alone
                raise

        def make(step: "tf.Tensor") -> dict[str, "tf.Tensor"]:
            return self._masked(tf.numpy_function(read, [step], signature, stateful=False))

        last = np.iinfo(np.int64).max if stop_step is None else stop_step
        dataset = tf.data.Dataset.range(start_step, last)
        workers = max(1, min(4, (os.cpu_count() or 1) // 2))
        dataset = dataset.map(make, num_parallel_calls=workers, deterministic=True)
        dataset = dataset.prefetch(self._config.prefetch)
        try:
            yield from dataset.as_numpy_iterator()
        except tf.errors.OpError:
            if failures:
                raise failures[0] from None
            raise

    def _unmasked(self, instances: Instances, is_real: np.ndarray) -> tuple[np.ndarray, ...]:
        """Reads the examples: tokens, types and mask [B, L], labels, weights and seeds [B]."""
        starts_B2 = np.stack([instances.a_start, instances.b_start], axis=1)
        lengths_B2 = np.stack([instances.a_length, instances.b_length], axis=1)
        text = self._split.read(starts_B2.reshape(-1), lengths_B2.reshape(-1))
        position_L = np.arange(self._config.seq_len)[None]
        first_sep_B1 = lengths_B2[:, :1] + 1
        if self._config.next_sentence:
            last_sep_B1 = first_sep_B1 + lengths_B2[:, 1:] + 1
        else:
            last_sep_B1 = first_sep_B1
        is_token_BL = position_L <= last_sep_B1
        is_sep_BL = (position_L == first_sep_B1) | (position_L == last_sep_B1)
        tokens_BL = np.full(is_token_BL.shape, self._tokenizer.pad_id, np.int32)
        tokens_BL[is_token_BL & ~is_sep_BL & (position_L > 0)] = text
        tokens_BL[is_sep_BL] = self._tokenizer.sep_id
        tokens_BL[:, 0] = self._tokenizer.cls_id
        return (
            tokens_BL,
            (is_token_BL & (position_L > first_sep_B1)).astype(np.int32),
            is_token_BL.astype(np.int32),
            instances.is_random.astype(np.int32),
            is_real.astype(np.float32),
            instances.seed,
        )

    def _masked(self, unmasked: list["tf.Tensor"]) -> dict[str, "tf.Tensor"]:
        tokens, token_types, attention_mask, label, weight, seeds = unmasked
        for tensor_BL in (tokens, token_types, attention_mask):
            tensor_BL.set_shape((self._local_size, self._config.seq_len))
        for tensor_B in (label, weight, seeds):
            tensor_B.set_shape((self._local_size,))
        batch = self._masking(tokens, attention_mask, seeds)
        batch["masked_weights"] *= weight[:, None]
        batch |= {"token_types": token_types, "attention_mask": attention_mask}
        if self._config.next_sentence:
            batch |= {"next_sentence": label, "next_sentence_weights": weight}
        return batch
