import numpy as np
import pytest

from plmjax.data import store
from plmjax.data.store import SplitReader, SplitWriter, smallest_token_dtype
from plmjax.errors import UserError


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Folder, manifest and sentences of a split of several files with several chunks each."""
    monkeypatch.setattr(store, "_CHUNK", 64)
    monkeypatch.setattr(store, "_SHARD", 256)
    rng = np.random.default_rng(0)
    documents = [
        [rng.integers(0, 60000, rng.integers(0, 30)) for _ in range(rng.integers(1, 9))]
        for _ in range(30)
    ]
    writer = SplitWriter(str(tmp_path), np.dtype(np.uint16))
    for document in documents:
        writer.add_document(document)
    writer.add_document([])
    return tmp_path, writer.finish(), documents


def test_what_is_read_is_what_was_written(written):
    folder, manifest, documents = written
    split = SplitReader(str(folder), manifest)
    flat = np.concatenate([np.concatenate(document) for document in documents])
    assert np.array_equal(np.concatenate(list(split.blocks(100))), flat)
    lengths = [len(sentence) for document in documents for sentence in document if len(sentence)]
    assert np.array_equal(np.diff(split.sentence_offsets), lengths)
    assert split.sentence_offsets[split.document_offsets][-1] == len(flat) == split.tokens
    counts = (manifest["documents"], manifest["sentences"], manifest["tokens"])
    assert counts == (split.documents, split.sentences, split.tokens)


def test_reading_from_disk_equals_reading_from_memory(written):
    folder, manifest, _ = written
    held = SplitReader(str(folder), manifest)
    on_disk = SplitReader(str(folder), manifest, held_bytes=0)
    rng = np.random.default_rng(1)
    starts = rng.integers(0, held.tokens - 100, 50)
    lengths = rng.integers(0, 100, 50).astype(np.int32)
    expected = held.read(starts, lengths)
    assert len(expected) == lengths.sum()
    assert np.array_equal(on_disk.read(starts, lengths), expected)


@pytest.mark.parametrize("held_bytes", [0, 1 << 30])
@pytest.mark.parametrize("byte", [10, -200, -3])  # in a chunk, in a late chunk, in the index
def test_a_flipped_byte_is_found_and_its_file_named(written, held_bytes, byte):
    folder, manifest, _ = written
    file = folder / "tokens" / "c" / "1"
    content = bytearray(file.read_bytes())
    content[byte] ^= 4
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"damaged.*{file}.*remove"):
        split = SplitReader(str(folder), manifest, held_bytes)
        list(split.blocks())


def test_a_missing_file_does_not_read_as_zeros(written):
    folder, manifest, _ = written
    (folder / "tokens" / "c" / "0").unlink()
    with pytest.raises(UserError, match="damaged"):
        SplitReader(str(folder), manifest)


def test_a_missing_array_and_another_splits_array_are_refused(written):
    folder, manifest, _ = written
    other = {**manifest, "arrays": {**manifest["arrays"]}}
    other["arrays"]["tokens"] = {"dtype": "uint32", "shape": [5]}
    with pytest.raises(UserError, match="manifest says 5 x uint32"):
        SplitReader(str(folder), other)
    (folder / "tokens" / "zarr.json").unlink()
    with pytest.raises(UserError, match="damaged"):
        SplitReader(str(folder), manifest)


def test_token_dtype_is_the_smallest_that_holds_every_id():
    assert smallest_token_dtype(65536) == np.uint16
    assert smallest_token_dtype(65537) == np.uint32
