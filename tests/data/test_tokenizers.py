import numpy as np
import pytest
import tokenizers

from plmjax.data.tokenizers import (
    SPECIAL_TOKENS,
    HuggingFace,
    WordPiece,
    read_vocabulary,
    told_unknown,
    train_wordpiece,
    unknown_share,
)
from plmjax.errors import UserError
from tests.data.conftest import make_text
from tests.requires import need

ODD_TEXTS = (
    "The river admires Ünïcödé, naïve café-owners; it's 3.14!",
    "don't   split\tthis\nplease \u00a0 and\u200bthis \x00\ufffd\x07 control",
    "中文分词，没有空格。The 8th glacier 東京タワー",
    "x" * 101 + " " + "harbour" * 14,
    "[brackets] ##river river##s emoji 😀 ½ ① ﬁ İstanbul ß ẞ",
    "",
    "   ",
)


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def trained(request):
    texts = [*make_text(50).splitlines(), *ODD_TEXTS] * 3
    return train_wordpiece(lambda: texts, 600, lowercase=request.param)


def test_special_tokens_come_first(trained):
    assert trained.vocabulary[:5] == SPECIAL_TOKENS
    ids = (trained.pad_id, trained.unk_id, trained.cls_id, trained.sep_id, trained.mask_id)
    assert ids == (0, 1, 2, 3, 4)
    assert trained.vocab_size == len(trained.vocabulary) <= 600


def test_ids_equal_transformers(trained, tmp_path):
    transformers = need("transformers", "pip install transformers")
    trained.save(tmp_path)
    reference = transformers.BertTokenizerFast(
        vocab=str(tmp_path / "vocab.txt"), do_lower_case=trained.lowercase
    )
    texts = [*ODD_TEXTS, *make_text(20, seed=5).splitlines()]
    expected = reference(texts, add_special_tokens=False)["input_ids"]
    assert [ids.tolist() for ids in trained.encode_batch(texts)] == expected
    assert max(map(len, expected)) > 10


def test_training_twice_gives_the_same_vocabulary(trained):
    texts = [*make_text(50).splitlines(), *ODD_TEXTS] * 3
    again = train_wordpiece(lambda: texts, 600, trained.lowercase)
    assert again.vocabulary == trained.vocabulary
    assert again.digest == trained.digest


def test_saved_and_loaded_is_the_same(trained, tmp_path):
    trained.save(tmp_path)
    loaded = WordPiece.load(tmp_path)
    assert loaded == trained
    assert loaded.digest == trained.digest


def test_decoding_joins_pieces_and_word_starts_mark_them(trained):
    text = "the river follows violin near the harbour."
    (ids,) = trained.encode_batch([text])
    assert trained.decode(ids) == text
    words = np.flatnonzero(trained.word_starts[ids])
    assert len(words) == len(text.split()) + 1  # the full stop


def test_special_tokens_in_text_are_text(trained):
    (ids,) = trained.encode_batch(["a [MASK] and [SEP]"])
    assert not np.isin(ids, (0, 2, 3, 4)).any()


def test_the_digest_depends_on_tokens_and_case():
    vocabulary = (*SPECIAL_TOKENS, "a", "b")
    digests = {
        WordPiece(vocabulary).digest,
        WordPiece(vocabulary, lowercase=False).digest,
        WordPiece((*SPECIAL_TOKENS, "b", "a")).digest,
    }
    assert len(digests) == 3


def test_a_published_vocabulary_keeps_its_ids(tmp_path):
    lines = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s", "\u2028"]
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(lines).encode() + b"\r\n")
    tokenizer = WordPiece(read_vocabulary(tmp_path / "vocab.txt"))
    assert tokenizer.vocabulary == tuple(lines)
    assert tokenizer.mask_id == 5
    assert tokenizer.encode_batch(["thes x"])[0].tolist() == [6, 7, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n", r"lacks \[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nthe\n", "'the' more than once"),
        (b"[PAD]\n\xff\n", "not UTF-8 at offset 6"),
        (None, r"no vocab\.txt at"),
    ],
)
def test_a_bad_vocabulary_is_one_clear_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        WordPiece(read_vocabulary(tmp_path / "vocab.txt"))
    assert "\n" not in str(raised.value)


def test_a_vocabulary_without_room_for_the_characters_is_refused():
    with pytest.raises(UserError, match=r"vocab_size=20 .* give at least"):
        train_wordpiece(lambda: make_text(5).splitlines(), 20, lowercase=True)


def test_the_share_of_what_a_vocabulary_cannot_spell(trained):
    ids = np.concatenate(trained.encode_batch(["the river ☃ ☄ harbour", "☃"]))
    counts = np.bincount([*ids, 2, 3, 3], minlength=trained.vocab_size)
    assert unknown_share(counts, trained) == pytest.approx(3 / len(ids))
    assert told_unknown(counts, trained).startswith(f"{3 / len(ids):.1%} of the tokens")
    counts[trained.unk_id] = 0
    assert (unknown_share(counts, trained), told_unknown(counts, trained)) == (0, "")


def test_an_unknown_token_that_ends_texts_tells_nothing():
    tokens = ("<|endoftext|>", "river", "##s")
    model = tokenizers.models.WordPiece(
        {token: number for number, token in enumerate(tokens)}, unk_token=tokens[0]
    )
    engine = tokenizers.Tokenizer(model)
    engine.add_special_tokens([tokens[0]])
    both = HuggingFace(engine.to_str())
    assert both.unk_id == both.eod_id == 0
    assert unknown_share(np.array([5, 5, 5]), both) == 0
