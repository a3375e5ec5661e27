import random

import pytest

from plmjax.data.tokenizers import train_tokenizer, word_cache
from plmjax.data.tokenizers.word_cache import WordCache
from plmjax.data.tokenizers.wordpiece import WordPiece, ids_of
from tests.data.conftest import make_text

# White space of every kind, controls, marks that combine, cases that depend on their neighbours.
ODD = (
    "ab cd  \t\n\r\x1c\x85\u3000\xa0\u200b'’.,!1 2é\u0301\u0323İΣσς中文🙂\u200d<>|[MASK]" + " " * 8
)


def odd_texts(count):
    rng = random.Random(0)
    return ["".join(rng.choices(ODD, k=rng.randint(0, 40))) for _ in range(count)]


@pytest.fixture(scope="module", params=["wordpiece", "cased wordpiece", "gpt2"])
def tokenizer(request):
    lines = [*make_text(100).split("\n"), *odd_texts(500)]
    trained = train_tokenizer(request.param.split(" ")[-1], lambda: iter(lines), 600)
    return WordPiece(trained.vocabulary, False) if "cased" in request.param else trained


@pytest.mark.parametrize("kept", [0, 100, 2_000_000])
def test_ids_are_the_librarys_whatever_is_remembered(tokenizer, monkeypatch, kept):
    monkeypatch.setattr(word_cache, "_KEPT_CHARACTERS", kept)
    vars(tokenizer).pop("_words", None)
    texts = [*odd_texts(4000), *make_text(30).split("\n"), "", " ", "  a", "a  "]
    for begin in range(0, len(texts), 100):
        some = texts[begin : begin + 100]
        assert [ids.tolist() for ids in tokenizer.encode_batch(some)] == ids_of(
            tokenizer._engine, some
        )


def test_a_word_is_encoded_once_and_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(word_cache, "_KEPT_CHARACTERS", 10)
    asked = []

    def encode(words):
        asked.extend(words)
        return [[len(word)] * len(word) for word in words]

    cache = WordCache(str.split, encode)
    assert [x.tolist() for x in cache.encode_batch(["a bb a", "", "bb"])] == [
        [1, 2, 2, 1],
        [],
        [2, 2],
    ]
    assert sorted(asked) == ["a", "bb"]
    cache.encode_batch(["bb " + "c" * 20])
    assert sorted(asked) == ["a", "bb", "c" * 20]
    cache.encode_batch(["a"])
    assert len(asked) == 3
    cache.encode_batch(["new a"])
    assert len(asked) == 5 and set(cache._ids) == {"new", "a"}
    assert cache.encode_batch([]) == []
