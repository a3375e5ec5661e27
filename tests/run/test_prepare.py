"""Every kind of source through the verb: the same documents make the same store."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import zstandard

from plmjax.data.preparation import open_prepared
from plmjax.data.store import ARRAYS
from tests.data.conftest import make_text
from tests.run.preparing import (
    documents,
    manifest,
    prepare,
    prepared,
    texts,
    the_error,
    write_vocabulary,
)

DOCUMENTS = [
    f"The {word} follows the river. It repairs {number} engines in the harbour."
    for number, word in enumerate(("teacher", "orchard", "violin", "glacier", "market"))
]
CHINESE = ["我们去公园散步。天气很好！", "老师在图书馆看书。", "他说：“走吧。”我们走了。"]
NUMBERED = [f"doc {i} text" for i in range(30)]


@pytest.fixture
def vocabulary(tmp_path):
    path = write_vocabulary(tmp_path / "vocab.txt", *DOCUMENTS, *CHINESE, *NUMBERED)
    return f"--tokenizer_path={path}"


def arrays(folder, source):
    """The digests of a source's arrays, which say whether two sources are of the same content."""
    splits = manifest(folder)["sources"][source]["splits"]
    return [splits[split]["arrays"][name]["sha256"] for split in splits for name in ARRAYS]


def write_lines(folder: Path) -> str:
    (folder / "a.txt").write_text("\n".join(DOCUMENTS) + "\n")
    return f"lines:{folder}/a.txt"


def write_text(folder: Path) -> str:
    (folder / "a.txt").write_text("\n\n".join(DOCUMENTS))
    return f"text:{folder}/a.txt"


def write_files(folder: Path) -> str:
    for number, document in enumerate(DOCUMENTS):
        (folder / f"{number}.txt").write_text(document)
    return f"files:{folder}/*.txt"


def write_jsonl(folder: Path) -> str:
    records = [{"meta": {"body": text}, "id": i} for i, text in enumerate(DOCUMENTS)]
    (folder / "a.jsonl").write_text("\n\n".join(map(json.dumps, records)))
    return f"jsonl[field=meta.body]:{folder}/a.jsonl"


def write_compressed(folder: Path, ending: str) -> str:
    compress = {
        "gz": gzip.compress,
        "xz": lzma.compress,
        "bz2": bz2.compress,
        "zst": zstandard.ZstdCompressor().compress,
    }[ending]
    # Two files in one, as `cat a.gz b.gz` makes; the glob gives them in order.
    parts = ["\n".join(DOCUMENTS[:2]) + "\n", "\n".join(DOCUMENTS[2:4]) + "\n"]
    (folder / f"a.{ending}").write_bytes(b"".join(compress(part.encode()) for part in parts))
    # By its content, whatever its name is.
    (folder / "b").write_bytes(compress("\n".join(DOCUMENTS[4:]).encode()))
    return f"lines:{folder}/*"


def write_parquet(folder: Path) -> str:
    arrow = pytest.importorskip("pyarrow", reason="pip install pyarrow")
    from pyarrow import parquet

    table = arrow.table({"id": list(range(len(DOCUMENTS))), "body": DOCUMENTS})
    parquet.write_table(table, folder / "a.parquet", row_group_size=2)
    return f"parquet[field=body]:{folder}/*.parquet"


def write_arrow(folder: Path) -> str:
    """What `datasets.Dataset.save_to_disk` writes, of two splits."""
    arrow = pytest.importorskip("pyarrow", reason="pip install pyarrow")
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split, some in (("train", DOCUMENTS[:4]), ("test", DOCUMENTS[4:])):
        (folder / split).mkdir()
        table = arrow.table({"text": some})
        name = "data-00000-of-00001.arrow"
        with arrow.ipc.new_stream(str(folder / split / name), table.schema) as stream:
            stream.write_table(table)
        state = {"_data_files": [{"filename": name}], "_split": split}
        (folder / split / "state.json").write_text(json.dumps(state))
    return f"arrow:{folder}"


KINDS = {
    "lines": write_lines,
    "files": write_files,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "arrow": write_arrow,
    **{ending: lambda f, e=ending: write_compressed(f, e) for ending in ("gz", "xz", "bz2", "zst")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_documents_in_any_kind_of_file_make_the_same_arrays(kind, vocabulary, tmp_path):
    for name, write in (("reference", write_text), ("other", KINDS[kind])):
        folder = tmp_path / name
        folder.mkdir()
        spec = write(folder)
        out = tmp_path / f"{name}_store"
        prepared(f"--out={out}", f"--source=some={spec}", vocabulary, "--held_out=0.3")
    assert arrays(tmp_path / "other_store", "some") == arrays(tmp_path / "reference_store", "some")
    found = texts(tmp_path / "other_store", "some")
    assert sorted(found) == sorted(text.lower() for text in DOCUMENTS)


def test_translation_pairs(vocabulary, tmp_path):
    pairs = list(zip(DOCUMENTS, CHINESE, strict=False))
    (tmp_path / "a.tsv").write_text("".join(f"x\t{zh}\t{en}\n" for en, zh in pairs))
    records = [json.dumps({"en": en, "zh": zh}) for en, zh in pairs]
    records.insert(1, json.dumps({"en": "Nothing", "zh": " "}))
    (tmp_path / "a.jsonl").write_text("\n".join(records))
    sources = (
        f"--source=tsv[columns=2+1]:{tmp_path}/a.tsv",
        f"--source=jsonl[field=en+zh]:{tmp_path}/a.jsonl",
    )
    said = prepared(f"--out={tmp_path}/store", *sources, vocabulary, "--held_out=0")
    assert "jsonl: train 3 documents" in said and "1 pairs with an empty side" in said
    of_tsv, of_jsonl = (manifest(tmp_path / "store")["sources"][name] for name in ("tsv", "jsonl"))
    # Two sentences each, however many stops there are in them.
    assert of_tsv["splits"]["train"]["documents"] == len(pairs)
    assert of_tsv["splits"]["train"]["sentences"] == 2 * len(pairs)
    assert of_tsv["digest"] == of_jsonl["digest"]


def test_sources_are_named_globbed_and_in_the_order_of_their_paths(vocabulary, tmp_path):
    for folder in ("b", "a/deep"):
        (tmp_path / folder).mkdir(parents=True)
    for number, text in enumerate(NUMBERED):
        folder = "a/deep" if number < 15 else "b"
        (tmp_path / folder / f"{number:02}.txt").write_text(text)
    out = tmp_path / "store"
    said = prepared(
        f"--out={out}",
        f"--source=all=files:{tmp_path}/**/[0-9]*.txt",
        f"--source=some=files:{tmp_path}/b/2?.txt",
        f"--source=sample=lines:{tmp_path}/a/deep/00.txt",
        vocabulary,
        "--held_out=0",
    )
    assert texts(out, "all") == NUMBERED
    assert texts(out, "some") == NUMBERED[20:]
    assert texts(out, "sample") == NUMBERED[:1]
    assert list(manifest(out)["sources"]) == ["all", "some", "sample"]
    assert "corpus: some: train 10 documents 30 tokens, held_out 0 documents 0 tokens" in said


def test_chinese_is_flagged_by_the_segmenters_words_and_by_phrases(vocabulary, tmp_path):
    (tmp_path / "zh.txt").write_text("\n".join(CHINESE))
    (tmp_path / "phrases.txt").write_text("图书馆看书\n")
    out = tmp_path / "store"
    phrases = f"--phrases={tmp_path}/phrases.txt"
    prepared(
        f"--out={out}", f"--source=lines:{tmp_path}/zh.txt", vocabulary, phrases, "--held_out=0"
    )
    from plmjax.data.preparation import open_prepared

    split = open_prepared(out).train["lines"]
    ids, flags = (
        read(split.sentence_offsets[2:3], [split.tokens - split.sentence_offsets[2]])
        for read in (split.read, split.read_flags)
    )
    characters = open_prepared(out).tokenizer.decode(ids).replace(" ", "")
    words = "".join(f"|{c}" if f & 1 else c for c, f in zip(characters, flags, strict=True))
    units = "".join(f"|{c}" if f & 2 else c for c, f in zip(characters, flags, strict=True))
    assert words.startswith("|老师|在|图书馆|看书|。")
    assert units.startswith("|老师|在|图书馆看书|。")
    assert (out / "phrases.txt").read_text() == "图书馆看书\n"


def test_the_same_command_again_has_nothing_to_do(vocabulary, tmp_path):
    flags = (f"--out={tmp_path}/store", f"--source={write_lines(tmp_path)}", vocabulary)
    prepared(*flags)
    made = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    assert "is complete; nothing is left to be done" in prepared(*flags)
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == made
    with (tmp_path / "a.txt").open("a") as file:
        file.write("One more.\n")
    error = the_error(prepare(*flags))
    assert "holds another token store, or these sources have changed; --append adds" in error


def test_a_second_corpus_joins_and_leaves_the_first_as_it_was(vocabulary, tmp_path):
    out = tmp_path / "store"
    prepared(f"--out={out}", f"--source=one={write_lines(tmp_path)}", vocabulary)
    first = manifest(out)
    before = {p: p.stat().st_mtime_ns for p in (out / "one").rglob("*")}
    (tmp_path / "more.txt").write_text("\n".join(CHINESE))
    more = (f"--out={out}", "--append", f"--source=two=lines:{tmp_path}/more.txt")
    said = prepared(*more, "--held_out=0")
    assert "corpus: two: train 3 documents" in said and "corpus: one" not in said
    both = manifest(out)
    assert list(both["sources"]) == ["one", "two"]
    assert both["sources"]["one"] == first["sources"]["one"]
    assert both["tokenizer"] == first["tokenizer"] and both["digest"] != first["digest"]
    assert {p: p.stat().st_mtime_ns for p in (out / "one").rglob("*")} == before
    assert prepare(f"--out={out}", "--verify").code == 0
    assert "nothing is left to be done" in prepared(*more, "--held_out=0")
    # Its own tokenizer may be named; the same name for another source may not.
    third = (f"--out={out}", "--append", f"--source=three=lines:{tmp_path}/more.txt", vocabulary)
    prepared(*third)
    again = (f"--out={out}", "--append", f"--source=two=lines:{tmp_path}/a.txt")
    assert "has a source called 'two' already; give another name" in the_error(prepare(*again))


def test_what_is_said_at_the_end_trains(vocabulary, tmp_path):
    ended = prepare(f"--out={tmp_path}/store", f"--source={write_lines(tmp_path)}", vocabulary)
    assert ended.out.endswith(f"--config.corpus.store={tmp_path}/store trains on them.\n")
    recorded = manifest(tmp_path / "store")["command"]
    assert recorded == [
        *("python", "-m", "plmjax.prepare", f"--source=lines:{tmp_path}/a.txt"),
        vocabulary,
    ]


def test_text_that_the_vocabulary_cannot_spell_is_told(vocabulary, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join([*DOCUMENTS, "☃ ☄ ☃ ☄"]) + "\n")
    source = f"--source=lines:{tmp_path}/a.txt"
    said = prepare(f"--out={tmp_path}/store", source, vocabulary, "--held_out=0").out
    (split,) = open_prepared(tmp_path / "store").train.values()
    ids = np.concatenate(documents(split))
    told = f"{(ids == 1).mean():.1%} of the tokens are unknown to the vocabulary"
    assert (ids == 1).sum() == 4
    assert f"{len(ids)} tokens to train on, and {told};" in said


@pytest.mark.parametrize(
    "tokenizer",
    [
        "--tokenizer=wordpiece --vocab_size=200 --lowercase=false",
        "--tokenizer=gpt2 --vocab_size=300",
        "--tokenizer=roberta --vocab_size=300",
        "--tokenizer=sentencepiece --vocab_size=180 --algorithm=bpe",
        "--tokenizer=xlnet --vocab_size=180",
        "--tokenizer=albert --vocab_size=180",
        "--tokenizer=t5 --vocab_size=180",
        "--tokenizer=xlm_r --vocab_size=180",
    ],
)
def test_tokenizers_are_trained_saved_and_give_the_text_back(tokenizer, tmp_path):
    documents = [line for line in make_text(40).split("\n") if line]
    (tmp_path / "a.txt").write_text("\n".join(documents))
    out = tmp_path / "store"
    prepared(f"--out={out}", f"--source=lines:{tmp_path}/a.txt", *tokenizer.split())
    assert prepare(f"--out={out}", "--verify").code == 0

    def letters(text):
        return "".join(text.lower().split())

    found = sorted(map(letters, texts(out, "lines")))
    assert found == sorted(map(letters, documents))
