"""Random batches of each objective's kind, with paddings and segments of different lengths."""

import numpy as np

from plmjax.data.batch_form import BatchForm, DataConfig, masking_config
from plmjax.data.preparation import CorpusConfig, foreseen_tokenizer
from plmjax.models import bert, gpt, seq2seq, xlnet
from plmjax.models.bert import Config


def bert_batch(
    config: Config, size: int, length: int, predictions: int, seed: int
) -> dict[str, np.ndarray]:
    """`size` rows of up to `length` tokens, 1 to `predictions` of them to be predicted.

    The last slots of rows with fewer predictions have weight 0, position 0 and target 0.
    """
    rng = np.random.default_rng(seed)
    lengths_B = rng.integers(length // 2, length + 1, size)
    lengths_B[0] = length
    place_L = np.arange(length)
    attention_mask_BL = (place_L < lengths_B[:, None]).astype(np.int32)
    tokens_BL = rng.integers(1, config.vocab_size, (size, length)) * attention_mask_BL
    split_B = rng.integers(1, lengths_B)
    types_BL = (place_L >= split_B[:, None]) * rng.integers(1, config.token_types, (size, 1))
    masked = {
        "masked_positions": np.zeros((size, predictions), np.int32),
        "masked_targets": np.zeros((size, predictions), np.int32),
        "masked_weights": np.zeros((size, predictions), np.float32),
    }
    for row in range(size):
        count = rng.integers(1, predictions + 1) if row else predictions
        positions = np.sort(rng.choice(lengths_B[row], count, replace=False))
        masked["masked_positions"][row, :count] = positions
        masked["masked_targets"][row, :count] = rng.integers(0, config.vocab_size, count)
        masked["masked_weights"][row, :count] = 1.0
    return {
        "tokens": tokens_BL.astype(np.int32),
        "token_types": (types_BL * attention_mask_BL).astype(np.int32),
        "attention_mask": attention_mask_BL,
        **masked,
        "label": rng.integers(0, 2, size).astype(np.int32),
        "label_weights": np.ones(size, np.float32),
    }


def with_sides(batch: dict[str, np.ndarray], places: int, seed: int) -> dict[str, np.ndarray]:
    """The batch with the keys of the span-boundary objective: two of three slots are targets."""
    rng, slots = np.random.default_rng(seed), batch["masked_positions"]
    weights_BM = batch["masked_weights"] * (rng.random(slots.shape) < 2 / 3)
    return batch | {
        "sbo_left": np.maximum(slots - 1, 0),
        "sbo_right": np.minimum(slots + 1, batch["tokens"].shape[1] - 1),
        "sbo_index": rng.integers(places, size=slots.shape, dtype=np.int32),
        "sbo_weights": weights_BM.astype(np.float32),
    }


def with_tasks(batch: dict[str, np.ndarray], tasks: tuple, seed: int) -> dict[str, np.ndarray]:
    """The batch with the keys of several tasks, each of `tasks` in turn; the second asks tokens."""
    rng, shape = np.random.default_rng(seed), batch["tokens"].shape
    classes = max(task.classes for task in tasks)
    of_tokens = np.array([task.of_tokens for task in tasks])
    task_B = np.arange(shape[0], dtype=np.int32) % len(tasks)
    asked_BL = (rng.random(shape) < 0.7) & of_tokens[task_B][:, None]
    label_B = rng.integers(0, classes, shape[0])
    return batch | {
        "task": task_B,
        "label": (label_B % np.array([max(1, task.classes) for task in tasks])[task_B]).astype(
            np.int32
        ),
        "token_labels": rng.integers(0, 2, shape, dtype=np.int32),
        "token_label_weights": (asked_BL & (batch["attention_mask"] > 0)).astype(np.float32),
    }


def causal_batch(config: gpt.Config, size: int, length: int, seed: int) -> dict[str, np.ndarray]:
    """`size` rows of up to `length` tokens; each but the last has the next as its target."""
    rng = np.random.default_rng(seed)
    lengths_B = rng.integers(length // 2, length + 1, size)
    place_L = np.arange(length)
    mask_BL = (place_L < lengths_B[:, None]).astype(np.int32)
    tokens_BL = (rng.integers(1, config.vocab_size, (size, length)) * mask_BL).astype(np.int32)
    weights_BL = (place_L < lengths_B[:, None] - 1).astype(np.float32)
    targets_BL = np.roll(tokens_BL, -1, axis=1) * (weights_BL > 0)
    return {
        "tokens": tokens_BL,
        "attention_mask": mask_BL,
        "targets": targets_BL.astype(np.int32),
        "weights": weights_BL,
    }


def padded_in_front(batch: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    """The batch with the padding of some rows moved from behind the text to the front.

    These rows have no label: the place it would be predicted from is padding.
    """
    length = batch["attention_mask"].shape[1]
    moved = {key: x.copy() for key, x in batch.items()}
    for row in range(len(batch["attention_mask"]))[rows]:
        shift = length - int(batch["attention_mask"][row].sum())
        for key in ("tokens", "token_types", "attention_mask"):
            moved[key][row] = np.roll(batch[key][row], shift)
        moved["label_weights"][row] = 0.0
        moved["masked_positions"][row] += shift * (batch["masked_weights"][row] > 0)
    return moved


def seq2seq_batch(
    config: seq2seq.Config, size: int, length: int, decoder_length: int, seed: int
) -> dict[str, np.ndarray]:
    """`size` pairs of up to `length` tokens and up to `decoder_length` targets."""
    rng = np.random.default_rng(seed)
    batch = {}
    for prefix, longest in (("", length), ("decoder_", decoder_length)):
        lengths_B = rng.integers(longest // 2, longest + 1, size)
        mask_BL = (np.arange(longest) < lengths_B[:, None]).astype(np.int32)
        tokens_BL = rng.integers(1, config.vocab_size, (size, longest)) * mask_BL
        batch[f"{prefix}tokens"] = tokens_BL.astype(np.int32)
        batch[f"{prefix}attention_mask"] = mask_BL
    weights_BL = batch.pop("decoder_attention_mask").astype(np.float32)
    targets_BL = np.roll(batch["decoder_tokens"], -1, axis=1)
    return batch | {"decoder_targets": targets_BL, "decoder_weights": weights_BL}


def permutation_batch(
    config: xlnet.Config, size: int, length: int, targets: int, seed: int
) -> dict[str, np.ndarray]:
    """`bert_batch` with the true tokens and a random order of prediction."""
    typed = bert.Config(vocab_size=config.vocab_size)
    batch = bert_batch(typed, size, length, targets, seed)
    orders_BL = np.random.default_rng(seed).random((size, length)).argsort(axis=1)
    del batch["label"], batch["label_weights"]
    return batch | {"ranks": orders_BL.astype(np.int32)}


def bert_spec(seq_len: int, batch_size: int, max_predictions: int) -> dict:
    """Shapes and dtypes of the batches that `config.data` describes."""
    masking = masking_config("token", max_predictions=max_predictions)
    data = DataConfig(seq_len=seq_len, batch_size=batch_size, masking=masking)
    return BatchForm.of(data, foreseen_tokenizer(CorpusConfig())).spec


def spec(batch: dict[str, np.ndarray]) -> dict:
    """Shapes and dtypes of a batch, as `plmjax.train.state` takes them."""
    return {name: (x.shape, x.dtype) for name, x in batch.items()}
