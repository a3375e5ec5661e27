"""Masking against Hugging Face's DataCollatorForLanguageModeling, on this machine, in turn.

  python -m tests.peers.collator --batch_size=256 --seq_len=512

Both get the same token ids in batches of the same shape, ready in memory, and give a masked batch:
ours through tf.data with as many parallel calls as there are cores, theirs as a list of examples,
as a DataLoader hands them to it, on one core (--workers=1) or in as many processes as cores
(--workers=2); the ids have the form that each takes. Theirs picks tokens by an independent draw
(no budget) and needs the offsets of the characters for whole words; ours follows BERT.
"""

import concurrent.futures
import os
import statistics
import time

import numpy as np
from absl import app, flags

from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import BertMasking, MaskingVocabulary, WholeWordMasking

BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Examples of a batch.", lower_bound=1)
SEQ_LEN = flags.DEFINE_integer("seq_len", 512, "Tokens of an example.", lower_bound=8)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds, one of each in turn.", lower_bound=1)
WORKERS = flags.DEFINE_integer("workers", 0, "Their processes; 0 for one a core.", lower_bound=0)
_BATCHES = 16  # of ours in a round: the pipeline has to fill


def vocabulary() -> list[str]:
    """BERT's special tokens, beginnings of words and pieces that go on, as many as BERT has."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    starts = [f"w{number}" for number in range(24000)]
    return specials + starts + [f"##p{number}" for number in range(30522 - 24005)]


def random_batch(batch_size: int, seq_len: int) -> dict[str, np.ndarray]:
    """Full rows of [CLS] text [SEP], about every fourth token of text a `##` piece."""
    rng = np.random.default_rng(0)
    is_start = rng.random((batch_size, seq_len)) < 0.75
    is_start[:, 1] = True
    words = rng.integers(5, 24005, is_start.shape)
    tokens = np.where(is_start, words, rng.integers(24005, 30522, is_start.shape))
    tokens[:, 0], tokens[:, -1] = 2, 3
    flags_BL = np.where(is_start, WORD, 0).astype(np.uint8)
    flags_BL[:, 0] = flags_BL[:, -1] = SPECIAL
    return {
        "tokens": tokens.astype(np.int32),
        "attention_mask": np.ones(tokens.shape, np.int32),
        "flags": flags_BL,
        "seeds": rng.integers(0, 2**63, batch_size).astype(np.uint64),
    }


def our_seconds(masking, batch: dict[str, np.ndarray]) -> float:
    """Seconds a batch."""
    tf = tensorflow()
    special = (0, 1, 2, 3, 4)
    bound = masking.bind(
        MaskingVocabulary(30522, special, pad_id=0, mask_id=4, cls_id=2, sep_id=3), SEQ_LEN.value
    )
    constants = {key: tf.constant(value) for key, value in batch.items()}

    def mask(step):
        return bound({**constants, "seeds": constants["seeds"] + tf.cast(step, tf.uint64)})

    steps = tf.data.Dataset.range(_BATCHES + 2)
    batches = iter(steps.map(mask, num_parallel_calls=os.cpu_count()).prefetch(2))
    next(batches), next(batches)  # traced, and the threads are running
    begin = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - begin) / count


class Theirs:
    """Hugging Face's collator and its examples."""

    def __init__(self, whole_word: bool, batch: dict[str, np.ndarray]):
        import torch
        from transformers import BertTokenizer, DataCollatorForLanguageModeling

        torch.set_num_threads(1)
        tokens = vocabulary()
        tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})
        self.collator = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=whole_word)
        self.examples = []
        is_special = (batch["flags"] == SPECIAL).astype(int)
        for row, ids in enumerate(batch["tokens"]):
            example = {"input_ids": ids.tolist(), "special_tokens_mask": is_special[row].tolist()}
            if whole_word:
                example["offset_mapping"] = self._offsets(batch["flags"][row])
            self.examples.append(example)

    def _offsets(self, flags_L: np.ndarray) -> list[tuple[int, int]]:
        """Characters: a piece begins where the one before it ends, a word one further."""
        offsets, end = [], 0
        for flag in flags_L.tolist():
            if flag == SPECIAL:
                offsets.append((0, 0))
                continue
            start = end + (1 if flag & WORD else 0)
            end = start + 3
            offsets.append((start, end))
        return offsets

    def __call__(self) -> None:
        """Masks a batch."""
        self.collator([dict(example) for example in self.examples])


_theirs: Theirs | None = None


def _set_up(whole_word: bool, batch: dict[str, np.ndarray]) -> None:
    global _theirs
    _theirs = Theirs(whole_word, batch)


def _one_of_theirs(_: int) -> None:
    _theirs()


def compare(name: str, masking, whole_word: bool) -> None:
    """Prints tokens a second of both and their ratio, rounds in turn."""
    import multiprocessing

    batch = random_batch(BATCH_SIZE.value, SEQ_LEN.value)
    tokens = batch["tokens"].size
    workers = WORKERS.value or os.cpu_count()
    ours, theirs = [], []
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _set_up, (whole_word, batch)
    ) as pool:
        list(pool.map(_one_of_theirs, range(2 * workers)))
        for _ in range(ROUNDS.value):
            ours.append(tokens / our_seconds(masking, batch))
            begin = time.perf_counter()
            list(pool.map(_one_of_theirs, range(workers)))
            theirs.append(tokens * workers / (time.perf_counter() - begin))
            print(f"{name}: ours {ours[-1] / 1e6:.2f}, theirs {theirs[-1] / 1e6:.3f} M tokens/s")
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    print(
        f"{name}, best of {ROUNDS.value}: ours {max(ours) / 1e6:.2f} M tokens/s, theirs "
        f"{max(theirs) / 1e6:.3f} M tokens/s in {workers} processes; ratio round by round: median "
        f"{statistics.median(ratios):.1f}, {ratios[0]:.1f} to {ratios[-1]:.1f}"
    )


def main(arguments: list[str]) -> None:
    del arguments
    compare("token-wise", BertMasking(), whole_word=False)
    compare("whole-word", WholeWordMasking(), whole_word=True)


if __name__ == "__main__":
    app.run(main)
