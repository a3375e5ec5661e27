"""Masking against Hugging Face's DataCollatorForLanguageModeling, on this machine, in turn.

  python -m tests.peers.collator --batch_size=256 --seq_len=512

Both get the same token ids in batches of the same shape, ready in memory, and give a masked batch:
ours through tf.data with as many parallel calls as there are cores, theirs as a list of examples,
as a DataLoader hands them to it, in as many processes as cores (--workers=1: one); the ids have the
form that each takes, and theirs is handed special_tokens_mask, which is its faster way. Theirs
picks tokens by an independent draw (no budget), and whole words by `whole_word_mask=True`, which
reads the offsets of the characters and shows [MASK] alone; ours follows BERT.

Rates are by the clock and by CPU time, times the cores: other programs slow down the first only.
"""

import concurrent.futures
import multiprocessing
import os
import statistics
import time
import warnings

import numpy as np
from absl import app, flags

from plmjax.data.flags import SPECIAL, WORD
from plmjax.data.host_tensorflow import tensorflow
from plmjax.data.maskings import BertMasking, MaskingVocabulary, WholeWordMasking

BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Examples of a batch.", lower_bound=1)
SEQ_LEN = flags.DEFINE_integer("seq_len", 512, "Tokens of an example.", lower_bound=8)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds, one of each in turn.", lower_bound=1)
WORKERS = flags.DEFINE_integer("workers", 0, "Their processes; 0 for one a core.", lower_bound=0)
_OUR_BATCHES = 32  # in a round: the pipeline has to fill
_THEIR_BATCHES = 2  # in a round and process


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


def our_seconds(masking, batch: dict[str, np.ndarray]) -> tuple[float, float]:
    """Seconds a batch, by the clock and by CPU time."""
    tf = tensorflow()
    special = (0, 1, 2, 3, 4)
    bound = masking.bind(
        MaskingVocabulary(30522, special, pad_id=0, mask_id=4, cls_id=2, sep_id=3), SEQ_LEN.value
    )
    constants = {key: tf.constant(value) for key, value in batch.items()}

    def mask(step):
        return bound({**constants, "seeds": constants["seeds"] + tf.cast(step, tf.uint64)})

    steps = tf.data.Dataset.range(_OUR_BATCHES + 2)
    batches = iter(steps.map(mask, num_parallel_calls=os.cpu_count()).prefetch(2))
    next(batches), next(batches)  # traced, and the threads are running
    begin, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - begin) / count, (time.process_time() - cpu) / count


class Theirs:
    """Hugging Face's collator and its examples."""

    def __init__(self, whole_word: bool, batch: dict[str, np.ndarray]):
        import torch
        from transformers import BertTokenizer, DataCollatorForLanguageModeling

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")  # that the tokenizer is a slow one: it tokenises nothing
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


def _some_of_theirs(_: int) -> float:
    """CPU time, in seconds."""
    cpu = time.process_time()
    for _ in range(_THEIR_BATCHES):
        _theirs()
    return time.process_time() - cpu


def compare(name: str, masking, whole_word: bool) -> None:
    """Prints tokens a second of both and their ratio, rounds in turn."""
    batch = random_batch(BATCH_SIZE.value, SEQ_LEN.value)
    tokens = batch["tokens"].size
    cores = os.cpu_count()
    workers = WORKERS.value or cores
    rates = []  # of each round: ours and theirs by the clock, ours and theirs by CPU time
    with concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _set_up, (whole_word, batch)
    ) as pool:
        list(pool.map(_some_of_theirs, range(2 * workers)))
        for _ in range(ROUNDS.value):
            our_clock, our_cpu = our_seconds(masking, batch)
            begin = time.perf_counter()
            cpu = sum(pool.map(_some_of_theirs, range(workers)))
            their_clock = time.perf_counter() - begin
            theirs = tokens * workers * _THEIR_BATCHES / 1e6
            ours = tokens / 1e6
            by_clock = (ours / our_clock, theirs / their_clock)
            rates.append((*by_clock, cores * ours / our_cpu, cores * theirs / cpu))
    for way, columns in (("by the clock", (0, 1)), ("by CPU time", (2, 3))):
        ours, theirs = ([row[column] for row in rates] for column in columns)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(f"{name}, {ROUNDS.value} rounds {way} (least, median, most):")
        for title, values in (("ours", ours), ("theirs", theirs)):
            print(f"  {title}: {_spread(values, '.2f')} M tokens/s")
        print(f"  ratio: {_spread(ratios, '.1f')}", flush=True)


def _spread(values: list[float], form: str) -> str:
    spread = (min(values), statistics.median(values), max(values))
    return ", ".join(format(value, form) for value in spread)


def main(arguments: list[str]) -> None:
    del arguments
    compare("token-wise", BertMasking(), whole_word=False)
    compare("whole-word", WholeWordMasking(), whole_word=True)


if __name__ == "__main__":
    app.run(main)
