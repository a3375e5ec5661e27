"""Every kind: training twice, saving, loading, offsets, decoding, word starts; bad input."""

import json

import numpy as np
import pytest

from plmjax.data import tokenizers
from plmjax.errors import UserError
from tests.data.real_text import mixed_lines

TRAINING = mixed_lines(1500)
SIZE = 4500


@pytest.fixture(scope="module", params=tokenizers.TRAINABLE)
def tokenizer(request):
    return tokenizers.train_tokenizer(request.param, lambda: TRAINING, SIZE)


def test_training_twice_gives_the_same(tokenizer):
    kind = tokenizer.kind
    if kind == "byte_bpe":
        kind = "roberta" if tokenizer.mask_id else "gpt2"
    if kind == "sentencepiece" and tokenizer.style != "plain":
        kind = tokenizer.style
    again = tokenizers.train_tokenizer(kind, lambda: TRAINING, SIZE)
    assert again.digest == tokenizer.digest
    assert again.vocabulary == tokenizer.vocabulary
    assert tokenizer.vocab_size == SIZE


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = tokenizers.load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.digest == tokenizer.digest
    assert loaded.vocabulary == tokenizer.vocabulary
    assert loaded.roles == tokenizer.roles
    assert loaded.special_ids == tokenizer.special_ids
    lines = list(mixed_lines(50))
    for one, other in zip(loaded.encode_batch(lines), tokenizer.encode_batch(lines), strict=True):
        np.testing.assert_array_equal(one, other)


def test_offsets_come_with_the_same_ids_and_point_at_the_tokens(tokenizer):
    lines = ["", " ", *mixed_lines(400)]
    encoded = tokenizer.encode_with_offsets(lines)
    found = 0
    for line, ids, (same, begins) in zip(
        lines, tokenizer.encode_batch(lines), encoded, strict=True
    ):
        np.testing.assert_array_equal(ids, same)
        assert ids.dtype == begins.dtype == np.int32
        assert (np.diff(begins) >= 0).all()
        seen = tokenizer.seen(line)
        for token, begin in zip(ids, begins, strict=True):
            form = tokenizer.vocabulary[token].removeprefix("##").strip("\u2581Ġ")
            if form.isascii() and form.isalpha() and token not in tokenizer.special_ids:
                at = seen[begin:].lstrip(" \t\u00a0\u3000\n\r\x00\x07\u200b\ufeff").lower()
                found += at.startswith(form.lower())
                assert at.startswith(form.lower()) or not (seen.isascii() and seen.isprintable())
    assert found > 2000


def test_roles_and_specials_agree(tokenizer):
    for role in tokenizers.ROLES:
        assert getattr(tokenizer, f"{role}_id") == tokenizer.id_of(role)
        assert tokenizer.id_of(role) in (None, *tokenizer.special_ids)
    assert tokenizer.word_starts.shape == (SIZE,)
    assert tokenizer.word_starts[list(tokenizer.special_ids)].all()
    assert len(tokenizer.sentinel_ids) == (100 if getattr(tokenizer, "style", "") == "t5" else 0)


def test_decoding_gives_the_text_and_keeps_special_tokens(tokenizer):
    text = "the name of the class is not in the list"
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    words = tokenizer.word_starts[ids]
    assert words[1:].sum() + 1 >= len(text.split())
    special = tokenizer.special_ids[-1]
    assert tokenizer.vocabulary[special] in tokenizer.decode([*ids, special, *ids])


def test_what_a_vocabulary_lacks_is_named():
    gpt2 = tokenizers.train_tokenizer("gpt2", lambda: TRAINING, 300)
    assert tokenizers.require_id(gpt2, "eod") == 299
    with pytest.raises(UserError, match=r"no \[MASK\] or <mask> \(byte_bpe, 300 tokens\)"):
        tokenizers.require_id(gpt2, "mask")


@pytest.mark.parametrize(
    ("kind", "size", "options", "message"),
    [
        ("gpt2", 200, {}, "vocab_size=200 has no room for the 256 bytes .* give 257"),
        ("roberta", 260, {}, "vocab_size=260 .* 5 special tokens; give 261"),
        ("sentencepiece", 100, {}, "vocab_size=100 has no room for the characters .* at least"),
        ("t5", 150_000, {}, "vocab_size=150000 is more than this text has pieces for"),
        ("wordpiece", 20, {}, "vocab_size=20 .* give at least"),
        ("bert", 300, {}, "tokenizer=bert is not known here; give one of wordpiece"),
        ("gpt2", 300, {"lowercase": True}, "lowercase=True has no meaning for gpt2"),
        ("gpt2", 300, {"algorithm": "bpe"}, "algorithm=bpe has no meaning for gpt2"),
        ("xlnet", 300, {"algorithm": "word"}, "algorithm=word is not known"),
    ],
)
def test_training_that_cannot_be_is_one_clear_line(kind, size, options, message):
    with pytest.raises(UserError, match=message) as raised:
        tokenizers.train_tokenizer(kind, lambda: TRAINING[:300], size, **options)
    assert "\n" not in str(raised.value)


def test_training_on_nothing_is_one_clear_line():
    with pytest.raises(UserError, match="no text to train a tokenizer on"):
        tokenizers.train_tokenizer("t5", lambda: ["", " "], 300)


@pytest.mark.parametrize(
    ("kind", "files", "message"),
    [
        ("gpt2", {}, "there is no vocab.json at"),
        ("gpt2", {"vocab.json": b"{"}, "vocab.json is damaged"),
        ("gpt2", {"vocab.json": b'{"a": 0, "b": 2}'}, "not 0, 1, 2 .* without gaps"),
        ("gpt2", {"vocab.json": b'{"a": 0}'}, "there is no merges.txt"),
        ("gpt2", {"vocab.json": b'{"a": 0}', "merges.txt": b"a b c\n"}, "line 1 of .* no pair"),
        ("gpt2", {"vocab.json": b'{"a": 0}', "merges.txt": b"a b\n"}, "needs 'b', which the"),
        ("roberta", {"vocab.json": b'{"a": 0}', "merges.txt": b""}, "has no <s>, so it is not"),
        ("t5", {}, "holds 0 .model files"),
        ("t5", {"t5.model": b""}, "no SentencePiece model, or a damaged one"),
        ("t5", {"t5.model": b"\x00" * 99}, "no SentencePiece model, or a damaged one"),
        ("tokenizer_json", {}, "there is no tokenizer.json at"),
        ("tokenizer_json", {"tokenizer.json": b"{}"}, "tokenizer.json is damaged"),
        ("tokenizer_json", {"tokenizer.json": b"\xff"}, "not UTF-8 at offset 0"),
    ],
)
def test_files_that_are_missing_or_damaged_are_one_clear_line(tmp_path, kind, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        tokenizers.open_tokenizer(kind, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_model_of_another_convention_is_refused(tmp_path):
    t5 = tokenizers.train_tokenizer("t5", lambda: TRAINING, SIZE)
    t5.save(tmp_path)
    assert tokenizers.open_tokenizer("t5", tmp_path) == t5
    for kind, message in (("xlnet", "no <cls>"), ("albert", "no <cls>"), ("cpm", "no piece '▂'")):
        with pytest.raises(UserError, match=message):
            tokenizers.open_tokenizer(kind, tmp_path)
    with pytest.raises(UserError, match="lowercase=False has no meaning for t5"):
        tokenizers.open_tokenizer("t5", tmp_path, lowercase=False)


def test_roles_of_a_tokenizer_json_can_be_given(tmp_path):
    wordpiece = tokenizers.train_tokenizer("wordpiece", lambda: TRAINING, SIZE)
    wordpiece.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    assert tokenizers.open_tokenizer("tokenizer_json", path).roles == {"unk": "[UNK]"}
    given = {"mask": "[MASK]", "pad": "[PAD]"}
    opened = tokenizers.open_tokenizer("tokenizer_json", path, roles=given)
    assert (opened.mask_id, opened.pad_id, opened.unk_id) == (4, 0, 1)
    assert (opened.word_starts == wordpiece.word_starts).all()
    (tmp_path / "saved").mkdir()
    opened.save(tmp_path / "saved")
    assert tokenizers.load_tokenizer(tmp_path / "saved") == opened
    with pytest.raises(UserError, match="no token '<m>' to be its 'mask'"):
        tokenizers.open_tokenizer("tokenizer_json", path, roles={"mask": "<m>"})
    with pytest.raises(UserError, match="'msk' is no role"):
        tokenizers.open_tokenizer("tokenizer_json", path, roles={"msk": "[MASK]"})
    # A file that pads and cuts must not pad and cut here.
    content["truncation"] = {
        "max_length": 2,
        "stride": 0,
        "strategy": "LongestFirst",
        "direction": "Right",
    }
    path.write_text(json.dumps(content))
    (ids,) = tokenizers.open_tokenizer("tokenizer_json", path).encode_batch(["a b c d"])
    assert len(ids) == 4
    content["model"] = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    content["pre_tokenizer"] = content["decoder"] = None
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="do not show where words begin"):
        _ = tokenizers.open_tokenizer("tokenizer_json", path).word_starts


def test_published_ids_of_word_pieces_that_begin_words():
    """ALBERT and XLNet also begin words at punctuation, T5 only at spaces."""
    starts = {}
    for kind in ("xlnet", "albert", "t5"):
        tokenizer = tokenizers.train_tokenizer(kind, lambda: TRAINING, SIZE)
        for form in (",", "的"):
            starts[kind, form] = bool(tokenizer.word_starts[tokenizer.ids[form]])
    assert starts == {
        ("xlnet", ","): True,
        ("xlnet", "的"): False,
        ("albert", ","): True,
        ("albert", "的"): True,
        ("t5", ","): False,
        ("t5", "的"): False,
    }


def test_a_damaged_saved_tokenizer_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="there is no saved tokenizer at"):
        tokenizers.load_tokenizer(tmp_path)
    for content in ("{", '{"kind": "word"}', "[]", '{"kind": "wordpiece"}'):
        (tmp_path / "tokenizer_settings.json").write_text(content)
        (tmp_path / "vocab.txt").write_text("a\n")
        with pytest.raises(UserError, match="is damaged"):
            tokenizers.load_tokenizer(tmp_path)
