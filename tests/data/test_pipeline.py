import dataclasses

import numpy as np
import pytest

from plmjax.data.pipeline import DataConfig, Input
from plmjax.data.store import SplitReader
from plmjax.errors import UserError

CONFIG = DataConfig(seq_len=48, batch_size=8, max_predictions=8)
VARIANTS = {
    "dynamic": CONFIG,
    "static": dataclasses.replace(CONFIG, dupe_factor=2),
    "one segment": dataclasses.replace(CONFIG, next_sentence=False),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def config(request):
    return request.param


def same(a, b):
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and a[key].tobytes() == b[key].tobytes() for key in a
    )


def joined(parts):
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def unmasked(batch):
    tokens = batch["tokens"].copy()
    for row, positions, targets, weights in zip(
        tokens,
        batch["masked_positions"],
        batch["masked_targets"],
        batch["masked_weights"],
        strict=True,
    ):
        row[positions[weights > 0]] = targets[weights > 0]
    return tokens


def test_batches_are_what_the_spec_says(corpus, config):
    source = Input(corpus.train["text"], corpus.tokenizer, config, seed=0)
    batch = source.batch(0)
    assert batch.keys() == source.spec.keys()
    for key, (shape, dtype) in source.spec.items():
        assert (batch[key].shape, batch[key].dtype) == (shape, dtype), key
    assert ("label" in batch) == config.next_sentence


def test_the_layout_is_cls_a_sep_b_sep(corpus, config):
    tokenizer = corpus.tokenizer
    for batch in Input(corpus.train["text"], tokenizer, config, seed=0).batches(0, 20):
        tokens = unmasked(batch)
        length = batch["attention_mask"].sum(1)
        place = np.arange(config.seq_len)[None]
        assert np.array_equal(batch["attention_mask"], (place < length[:, None]).astype(np.int32))
        assert (tokens[:, 0] == tokenizer.cls_id).all()
        assert (tokens[:, 1:] != tokenizer.cls_id).all()
        assert (tokens[place >= length[:, None]] == tokenizer.pad_id).all()
        assert ((tokens == tokenizer.sep_id).sum(1) == 1 + config.next_sentence).all()
        assert (np.take_along_axis(tokens, length[:, None] - 1, 1) == tokenizer.sep_id).all()
        first_sep = (tokens == tokenizer.sep_id).argmax(1)[:, None]
        types = ((place > first_sep) & (place < length[:, None])).astype(np.int32)
        assert np.array_equal(batch["token_types"], types)


def test_real_next_text_follows_in_the_corpus(corpus):
    """Labels against the text itself: B really comes right after A, or from another place."""
    flat = np.concatenate(list(corpus.train["text"].blocks())).astype(np.int32)
    text = flat.astype("<i4").tobytes()
    tokenizer = corpus.tokenizer
    source = Input(
        corpus.train["text"], tokenizer, dataclasses.replace(CONFIG, seq_len=128), seed=3
    )
    follows = {0: [], 1: []}
    for batch in source.batches(0, 30):
        tokens, length = unmasked(batch), batch["attention_mask"].sum(1)
        for row, n, label in zip(tokens, length, batch["label"], strict=True):
            if n < 128:  # nothing was cut from between A and B
                first_sep = int((row == tokenizer.sep_id).argmax())
                pair = np.concatenate([row[1:first_sep], row[first_sep + 1 : n - 1]])
                follows[int(label)].append(pair.astype("<i4").tobytes() in text)
    assert len(follows[0]) > 20 and all(follows[0])
    assert len(follows[1]) > 20 and not any(follows[1])


def test_any_number_of_hosts_reads_the_same_bytes(corpus, config):
    whole = list(Input(corpus.train["text"], corpus.tokenizer, config, seed=5).batches(3, 9))
    for count in (2, 4):
        hosts = [
            Input(
                corpus.train["text"],
                corpus.tokenizer,
                config,
                seed=5,
                process_index=host,
                process_count=count,
            )
            for host in range(count)
        ]
        parts = zip(*(host.batches(3, 9) for host in hosts), strict=True)
        assert all(same(joined(part), batch) for part, batch in zip(parts, whole, strict=True))
        passes = zip(*(host.evaluation_batches() for host in hosts), strict=True)
        single = Input(corpus.train["text"], corpus.tokenizer, config, seed=5).evaluation_batches()
        assert all(same(joined(part), batch) for part, batch in zip(passes, single, strict=True))


def test_jumping_to_a_step_equals_reading_up_to_it(corpus, config):
    read = Input(corpus.train["text"], corpus.tokenizer, config, seed=1)
    epoch = read.epoch_size() // config.batch_size
    steps = list(read.batches(0, epoch + 20))
    for step in (0, 7, epoch - 1, epoch, epoch + 19):
        assert same(
            Input(corpus.train["text"], corpus.tokenizer, config, seed=1).batch(step), steps[step]
        )
    endless = read.batches(epoch)
    assert same(next(endless), steps[epoch])
    assert not same(steps[0], steps[1])
    assert not same(
        Input(corpus.train["text"], corpus.tokenizer, config, seed=2).batch(0), steps[0]
    )


def test_dynamic_masks_differ_between_epochs_and_static_ones_repeat(corpus):
    def epochs(config):
        source = Input(corpus.train["text"], corpus.tokenizer, config, seed=0)
        size = source.epoch_size()
        rows = {0: set(), 1: set()}
        for step, batch in enumerate(source.batches(0, 2 * size // config.batch_size)):
            for index, row in enumerate(batch["tokens"]):
                rows[(step * config.batch_size + index) // size].add(row.tobytes())
        return rows

    static = epochs(dataclasses.replace(CONFIG, dupe_factor=2))
    assert len(static[0] & static[1]) > 0.95 * len(static[0])
    dynamic = epochs(CONFIG)
    assert len(dynamic[0] & dynamic[1]) < 0.05 * len(dynamic[0])


def test_evaluation_goes_once_over_everything_and_is_always_the_same(corpus):
    config = dataclasses.replace(CONFIG, batch_size=16)
    source = Input(corpus.held_out["text"], corpus.tokenizer, config, seed=0)
    first, second = list(source.evaluation_batches()), list(source.evaluation_batches())
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    weights = np.concatenate([batch["label_weights"] for batch in first])
    real = int(weights.sum())
    assert len(weights) - 16 < real <= len(weights)
    assert (np.sort(weights)[::-1] == weights).all()
    masked = np.concatenate([batch["masked_weights"] for batch in first])
    assert (masked[real:] == 0).all()
    assert (masked[:real].sum(1) >= 1).all()
    counts = np.bincount(np.concatenate([unmasked(b).reshape(-1) for b in first]))
    held_out = np.bincount(np.concatenate(list(corpus.held_out["text"].blocks())))
    assert (counts[5 : len(held_out)] > 0)[held_out[5:] > 20].all()


def test_damage_found_while_training_is_one_clear_line(corpus, monkeypatch):
    def damaged(*_):
        raise UserError("the token store is damaged")

    source = Input(corpus.train["text"], corpus.tokenizer, CONFIG, seed=0)
    monkeypatch.setattr(SplitReader, "read", damaged)
    with pytest.raises(UserError, match="is damaged"):
        source.batch(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_predictions": 48}, "max_predictions=48 does not fit seq_len=48"),
        ({"max_predictions": 0}, "max_predictions=0"),
        ({"seq_len": 4}, "seq_len=4"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"mask_rate": 15.0}, "mask_rate=15.0"),
        ({"short_seq_prob": -0.1}, "short_seq_prob=-0.1"),
        ({"dupe_factor": -1}, "dupe_factor=-1"),
        ({"prefetch": 0}, "prefetch=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_batch_that_does_not_divide_and_a_corpus_too_small_are_refused(corpus):
    with pytest.raises(UserError, match="batch_size=8 does not divide by 3"):
        Input(corpus.train["text"], corpus.tokenizer, CONFIG, seed=0, process_count=3)
    large = dataclasses.replace(CONFIG, batch_size=100_000)
    with pytest.raises(UserError, match="less than one batch of 100000"):
        Input(corpus.train["text"], corpus.tokenizer, large, seed=0).batches()
    small = _OneDocument(corpus.train["text"])
    with pytest.raises(UserError, match="1 document"):
        Input(small, corpus.tokenizer, CONFIG, seed=0)


class _OneDocument:
    documents = 1

    def __init__(self, split):
        self.path = split.path
