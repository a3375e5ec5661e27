"""A store that is there: adding to it, verifying it, and every way in which it can be damaged."""

import functools
import json
import shutil
from pathlib import Path

import pytest

from plmjax.data import manifest as manifests
from plmjax.data.preparation import open_prepared
from plmjax.errors import UserError
from tests.data.conftest import make_text
from tests.run import tiny, verb
from tests.run.preparing import (
    content,
    prepare,
    prepared,
    the_error,
    write_vocabulary,
)

GOOD = make_text(30)


@pytest.fixture
def store(tmp_path):
    tiny.write_run(tmp_path)
    flags = (f"--source=one=text:{tmp_path}/text.txt", "--vocab_size=200", "--held_out=0.2")
    prepared(f"--out={tmp_path}/store", *flags)
    return tmp_path / "store"


def test_a_store_has_one_tokenizer(store, tmp_path):
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", GOOD)
    before = content(store)
    more = f"--source=two=text:{tmp_path}/text.txt"
    append = functools.partial(prepare, f"--out={store}", "--append", more)
    error = the_error(append(f"--tokenizer_path={vocabulary}"))
    assert f"{store} was made with another tokenizer than the one given (digest " in error
    assert "leave the tokenizer's flags out to use its own" in error
    error = the_error(append("--segmenter=jieba"))
    assert "--segmenter is the store's with --append; leave it out" in error
    after = content(store)
    assert {name: after[name] for name in before} == before
    assert the_error(prepare(f"--out={tmp_path}/no", "--append", more)).startswith(
        f"--append: {tmp_path}/no holds no token store"
    )


def damage(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_a_flipped_byte_in_any_file_is_found_by_verify(store):
    assert f"{store} is intact." in prepare(f"--out={store}", "--verify").out
    names = sorted(content(store))
    assert {Path(name).name for name in names} >= {"manifest.json", "vocab.txt", "zarr.json", "0"}
    for name in names:
        whole = (store / name).read_bytes()
        damage(store / name, len(whole) // 3)
        error = the_error(prepare(f"--out={store}", "--verify"))
        assert f"{store}/{name}".removesuffix("/manifest.json") in error, error
        if name.endswith("c/0"):
            assert f"{name}, chunk 0 (elements from 0 on) fails its checksum" in error
        (store / name).write_bytes(whole)
    assert prepare(f"--out={store}", "--verify").code == 0


def test_verify_tells_of_everything_that_is_wrong(store):
    (store / "one/train/flags/c/0").unlink()
    damage(store / "one/train/tokens/c/0", 5)
    damage(store / "vocab.txt", 9)
    ended = prepare(f"--out={store}", "--verify")
    said = [*ended.out.splitlines(), the_error(ended)]
    assert "3 problems in" in said[-1]
    assert any("lacks" in line and "flags/c/0 (No such file" in line for line in said)
    assert any("tokens/c/0, chunk 0 (elements from 0 on) fails its checksum" in s for s in said)
    assert any("vocab.txt fails its checksum" in line for line in said)


def test_training_from_a_damaged_store_is_one_line(store, tmp_path):
    config = f"--config={tmp_path}/config.py"
    flags = (config, f"--workdir={tmp_path}/workdir", f"--config.corpus.store={store}")
    damage(store / "one/train/tokens/c/0", 5)
    error = the_error(verb.forked(*flags))
    assert f"{store}/one/train/tokens/c/0, chunk 0 (elements from 0 on) fails its check" in error
    with pytest.raises(UserError, match=r"tokens/c/0, chunk 0 \(elements from 0 on\)"):
        list(open_prepared(store).train["one"].blocks())
    damage(store / "one/train/tokens/c/0", 5)
    for name, words in (
        ("one/train/sentence_offsets/c/0", r"chunk 0 \(elements from 0 on\) fails its checksum"),
        ("one/held_out/tokens/zarr.json", "is damaged, or is not the one of its manifest"),
        ("manifest.json", "it fails its checksum"),
    ):
        whole = (store / name).read_bytes()
        damage(store / name, whole.rindex(b"1") if name == "manifest.json" else 5)
        with pytest.raises(UserError, match=f"{store / name}.*{words}"):
            open_prepared(store)
        (store / name).write_bytes(whole)
    shutil.rmtree(store / "one/train/tokens/c")
    error = the_error(verb.forked(*flags))
    assert f"the token store lacks {store}/one/train/tokens/c/0 (No such file" in error


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda split: split.update(tokens=5), "elements, but 5 by the counts"),
        (
            lambda split: split["arrays"]["tokens"].update(shape=[5]),
            "the manifest gives it 5 elements, but ",
        ),
        (lambda split: split["arrays"]["flags"].update(sha256="0" * 64), "SHA-256 differs"),
    ],
)
def test_a_manifest_that_disagrees_with_its_arrays_is_found(store, change, says):
    about = manifests.read_manifest(store)
    change(about["sources"]["one"]["splits"]["train"])
    about["sources"]["one"]["digest"] = manifests.digest_of_source(about["sources"]["one"])
    manifests.write_manifest(store, about)
    ended = prepare(f"--out={store}", "--verify")
    assert says in ended.out + the_error(ended)


def test_a_manifest_of_another_format_or_none_is_one_line(store):
    about = json.loads((store / "manifest.json").read_text())
    (store / "manifest.json").write_text(json.dumps(about | {"format": 1}))
    error = the_error(prepare(f"--out={store}", "--verify"))
    assert f"{store} has format 1, this version reads 2; prepare the data again" in error
    (store / "manifest.json").unlink()
    error = the_error(prepare(f"--out={store}", "--verify"))
    assert f"{store} is no complete prepared corpus (manifest.json: FileNotFoundError" in error
