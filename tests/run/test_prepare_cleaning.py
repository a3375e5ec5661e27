"""What is left out or changed, and that every case is counted and told."""

import json

import pytest

from tests.run.preparing import manifest, prepare, prepared, texts, the_error, write_vocabulary

LINES = [
    "one fine document",
    "short",
    "another fine document",
    "one fine document",
    "caf\u0065\u0301 \ufb01ne",
    "bell \a and\u0085 escape \x1b here",
    "a document that is much longer than all of the others in this little file",
]
DATA = "\n".join(LINES).encode()


@pytest.fixture
def clean(tmp_path):
    """Prepares LINES (or other content) with some flags; returns what is said and the texts."""
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", *LINES, "café cafe")

    runs = iter(range(9))

    def clean(*flags, data=DATA, spec="lines:{}/a.txt", ending="a.txt"):
        (tmp_path / ending).write_bytes(data)
        out = tmp_path / f"store{next(runs)}"
        source = f"--source=a={spec.format(tmp_path)}"
        said = prepared(
            *(f"--out={out}", source, f"--tokenizer_path={vocabulary}", "--held_out=0", *flags)
        )
        return said, manifest(out)["sources"]["a"]["counts"], texts(out, "a")

    return clean


def test_without_options_nothing_is_left_out(clean):
    said, counts, found = clean()
    assert "(" not in said and counts == {"documents_read": 7} and len(found) == 7


def test_duplicates_leave_the_first(clean):
    said, counts, found = clean("--duplicates=drop")
    assert "(1 duplicates left out)" in said
    assert counts == {"documents_read": 7, "duplicates": 1}
    assert found[:3] == ["one fine document", "short", "another fine document"]
    assert len(found) == 6 and found.count("one fine document") == 1


def test_duplicates_are_found_over_sources_and_white_space_makes_no_difference(tmp_path):
    vocabulary = write_vocabulary(tmp_path / "vocab.txt", *LINES)
    (tmp_path / "a.txt").write_text("one fine document\n")
    (tmp_path / "b.txt").write_text("one  fine\tdocument\nshort\n")
    sources = [f"--source={name}=lines:{tmp_path}/{name}.txt" for name in "ab"]
    flags = (f"--tokenizer_path={vocabulary}", "--held_out=0", "--duplicates=drop")
    said = prepared(f"--out={tmp_path}/store", *sources, *flags)
    assert "corpus: b: train 1 documents 1 tokens, held_out 0 documents 0 tokens (1 dup" in said
    assert texts(tmp_path / "store", "b") == ["short"]


def test_lengths(clean):
    said, counts, found = clean("--min_chars=6", "--max_chars=60")
    assert "(1 too short, 1 too long)" in said
    assert counts == {"documents_read": 7, "too_short": 1, "too_long": 1}
    assert "short" not in found and len(found) == 5


@pytest.mark.parametrize(("form", "there"), [("NFC", "ﬁ"), ("NFKC", "fi")])
def test_unicode_is_normalised(form, there, tmp_path):
    (tmp_path / "a.txt").write_text("caf\u0065\u0301 \ufb01ne\n")
    flags = ("--tokenizer=gpt2", "--vocab_size=257", "--held_out=0", f"--unicode={form}")
    prepared(f"--out={tmp_path}/store", f"--source=lines:{tmp_path}/a.txt", *flags)
    assert texts(tmp_path / "store", "lines") == [f"caf\u00e9 {there}ne"]


def test_control_characters(tmp_path):
    (tmp_path / "a.txt").write_text("bell \a and\u0085 escape \x1b here\nno\ttab\n")
    flags = ("--tokenizer=gpt2", "--vocab_size=257", "--held_out=0", "--control=remove")
    said = prepared(f"--out={tmp_path}/store", f"--source=text:{tmp_path}/a.txt", *flags)
    assert "(3 control characters removed)" in said
    assert texts(tmp_path / "store", "text") == ["bell  and escape  here\nno\ttab"]


@pytest.mark.parametrize("bad", [b"caf\xe9", b"nul \0 here", b"\xed\xa0\x80", b"\xff" * 500])
def test_documents_that_are_not_utf8_are_left_out_and_counted(clean, bad):
    data = b"one fine document\n" + bad + b"\nshort\n"
    said, counts, found = clean("--invalid_utf8=skip", data=data)
    assert "(1 not UTF-8)" in said
    assert counts == {"documents_read": 2, "invalid_utf8": 1}
    assert found == ["one fine document", "short"]


def test_half_a_surrogate_pair_in_json(clean, tmp_path):
    data = b'{"text": "one fine \\ud83d document"}\n{"text": "short"}\n'
    how = {"data": data, "spec": "jsonl:{}/a.txt"}
    said, _, found = clean("--invalid_utf8=skip", **how)
    assert "(1 not UTF-8)" in said and found == ["short"]
    flags = (f"--source=jsonl:{tmp_path}/a.txt", "--vocab_size=200")
    error = the_error(prepare(f"--out={tmp_path}/strict", *flags))
    assert "a.txt at offset 0: half a surrogate pair in the field 'text'; mend it" in error


def test_languages_by_their_tag(clean):
    tags = ("en", "de", "zh", "en", None)
    records = [{"text": t, "meta": {"lang": g}} for t, g in zip(LINES, tags, strict=False)]
    said, counts, found = clean(
        "--languages=en,zh",
        "--language_field=meta.lang",
        data="\n".join(map(json.dumps, records)).encode(),
        spec="jsonl:{}/a.txt",
    )
    assert "(2 of other languages)" in said and counts["other_language"] == 2
    assert found == ["one fine document", "another fine document", "one fine document"]
    said, _, found = clean("--languages=en", spec="lines[language=en]:{}/b.txt", ending="b.txt")
    assert len(found) == len(LINES)
