import json
import shutil

import numpy as np
import pytest

from plmjax.data import arrays, store
from plmjax.data.store import SplitReader, SplitWriter, smallest_token_dtype
from plmjax.errors import UserError

VOCAB_SIZE = 300


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Folder, manifest and documents of a split of several files with several chunks each."""
    monkeypatch.setattr(arrays, "_CHUNK", 64)
    monkeypatch.setattr(arrays, "_SHARD_BYTES", 512)
    rng = np.random.default_rng(0)
    documents = [
        [rng.integers(0, VOCAB_SIZE, rng.integers(1, 30)) for _ in range(rng.integers(1, 9))]
        for _ in range(30)
    ]
    writer = SplitWriter(str(tmp_path), VOCAB_SIZE)
    for some in (documents[:7], documents[7:8], documents[8:]):
        sentences = [sentence for document in some for sentence in document]
        tokens = np.concatenate(sentences)
        lengths = np.array([len(sentence) for sentence in sentences], np.uint32)
        sizes = np.array([len(document) for document in some], np.uint32)
        writer.add(tokens, (tokens % 8).astype(np.uint8), lengths, sizes)
    return tmp_path, writer.finish(), documents


def test_what_is_read_is_what_was_written(written):
    folder, manifest, documents = written
    split = SplitReader(str(folder), manifest, "name")
    flat = np.concatenate([np.concatenate(document) for document in documents])
    assert np.array_equal(np.concatenate(list(split.blocks(100))), flat)
    lengths = [len(sentence) for document in documents for sentence in document]
    assert np.array_equal(np.diff(split.sentence_offsets), lengths)
    assert np.array_equal(np.diff(split.document_offsets), [len(d) for d in documents])
    assert split.sentence_offsets[split.document_offsets][-1] == len(flat) == split.tokens
    assert np.array_equal(split.token_counts, np.bincount(flat, minlength=VOCAB_SIZE))
    counts = (manifest["documents"], manifest["sentences"], manifest["tokens"])
    assert counts == (split.documents, split.sentences, split.tokens)
    assert split.name == "name"


@pytest.mark.parametrize("remote", [False, True])
def test_ranges_are_those_of_the_whole(written, monkeypatch, remote):
    folder, manifest, documents = written
    flat = np.concatenate([np.concatenate(document) for document in documents])
    monkeypatch.setattr(arrays, "is_remote", lambda path: remote)
    split = SplitReader(str(folder), manifest)
    kind = arrays.RemoteArray if remote else arrays.MappedArray
    assert isinstance(split._tokens, kind)
    rng = np.random.default_rng(1)
    starts = rng.integers(0, split.tokens - 300, 50)
    lengths = rng.integers(0, 300, 50).astype(np.int32)
    expected = np.concatenate([flat[s : s + n] for s, n in zip(starts, lengths, strict=True)])
    assert np.array_equal(split.read(starts, lengths), expected)
    assert np.array_equal(split.read_flags(starts, lengths), expected % 8)
    assert split.read(starts[:0], lengths[:0]).shape == (0,)


def test_large_offsets_are_in_a_mapped_file(written, monkeypatch):
    folder, manifest, _ = written
    expected = SplitReader(str(folder), manifest).sentence_offsets
    monkeypatch.setattr(arrays, "_HELD_BYTES", 0)
    split = SplitReader(str(folder), manifest)
    assert isinstance(split.sentence_offsets, np.memmap)
    assert np.array_equal(split.sentence_offsets, expected)


def every_file(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("remote", [False, True])
def test_a_flipped_byte_anywhere_is_found_and_its_file_named(written, monkeypatch, remote):
    monkeypatch.setattr(arrays, "is_remote", lambda path: remote)
    folder, manifest, _ = written
    rng = np.random.default_rng(0)
    for file in every_file(folder):
        whole = file.read_bytes()
        for place in {0, len(whole) - 1, *rng.integers(0, len(whole), 3 if remote else 20)}:
            content = bytearray(whole)
            content[place] ^= 4
            file.write_bytes(content)
            with pytest.raises(UserError, match="damaged") as raised:
                split = SplitReader(str(folder), manifest)
                list(split.blocks())
                split.read_flags(np.array([0]), np.array([split.tokens]))
            assert str(file) in str(raised.value), place
        file.write_bytes(whole)


def test_the_damaged_chunk_is_named_and_others_can_be_read(written):
    folder, manifest, _ = written
    file = folder / "tokens" / "c" / "1"
    content = bytearray(file.read_bytes())
    content[2 * (64 * 2 + 4) + 5] ^= 1
    file.write_bytes(content)
    split = SplitReader(str(folder), manifest)
    assert len(split.read(np.array([256 + 2 * 64 - 50]), np.array([50]))) == 50
    with pytest.raises(UserError, match=rf"{file}, chunk 2 \(elements from 384 on\)"):
        split.read(np.array([256 + 2 * 64 - 50]), np.array([51]))


@pytest.mark.parametrize("change", ["unlink", "cut", "empty"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_missing_or_cut_shard_does_not_read_as_zeros(written, monkeypatch, change, remote):
    monkeypatch.setattr(arrays, "is_remote", lambda path: remote)
    folder, manifest, _ = written
    file = folder / "tokens" / "c" / "0"
    if change == "unlink":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 100 if change == "cut" else 0])
    with pytest.raises(UserError, match=r"damaged|lacks"):
        list(SplitReader(str(folder), manifest).blocks())


def test_a_missing_array_and_another_splits_array_are_refused(written):
    folder, manifest, _ = written
    other = json.loads(json.dumps(manifest))
    other["arrays"]["tokens"] |= {"dtype": "uint32", "shape": [5]}
    with pytest.raises(UserError, match="manifest says 5 x uint32"):
        SplitReader(str(folder), other)
    with pytest.raises(UserError, match="but its manifest says"):
        SplitReader(str(folder), {**manifest, "sentences": 5})
    shutil.rmtree(folder / "flags")
    with pytest.raises(UserError, match=r"lacks .*flags/zarr\.json"):
        SplitReader(str(folder), manifest)


def test_an_empty_split_can_be_read(tmp_path):
    split = SplitReader(str(tmp_path), SplitWriter(str(tmp_path), 9).finish())
    assert (split.documents, split.sentences, split.tokens) == (0, 0, 0)
    assert list(split.blocks()) == []


def test_token_dtype_is_the_smallest_that_holds_every_id():
    assert smallest_token_dtype(65536) == np.uint16
    assert smallest_token_dtype(65537) == np.uint32
    assert set(store.ARRAYS) >= {"tokens", "flags"}
