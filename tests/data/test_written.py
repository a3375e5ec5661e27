"""What people write for a model, and what a model writes, piece by piece."""

import random

import pytest

from plmjax.data.tokenizers import SPECIAL_TOKENS, WordPiece, train_tokenizer
from plmjax.data.tokenizers.published import write_tokenizer
from plmjax.data.tokenizers.written import Stream, Writing, read_prompt, stopped
from tests.requires import need

TEXT = "The cat's hat isn't on the mat. 渐近故乡时，天气又阴晦了。 Ein Käse 🧀 für 5 €!"
MORE = ("the cat sat on the hat", "a hat, a cat and a mat", "Das ist ein Käse.", "天气 阴晦 故乡")
MORE += ("when the weather was bad the cats sat still", "where are the others? on the other mat")
TEXTS = (TEXT, *MORE) * 4
SIZES = {"gpt2": 300, "roberta": 300, "t5": 155, "sentencepiece": 60, "cpm": 60, "wordpiece": 90}


@pytest.fixture(scope="module")
def tokenizers():
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = train_tokenizer(kind, lambda: TEXTS, SIZES[kind])
        return made[kind]

    return get


@pytest.mark.parametrize("kind", SIZES)
def test_pieces_join_to_the_text_and_no_character_is_cut(kind, tokenizers):
    if kind == "cpm":
        need("jieba", "pip install jieba")
    tokenizer = tokenizers(kind)
    (ids,) = tokenizer.encode_batch([TEXT])
    rng = random.Random(0)
    for goes_on in (True, False):
        writing = Writing(tokenizer, goes_on)
        for _ in range(5):
            stream, pieces, rest = Stream(writing), [], ids.tolist()
            while rest:
                count = rng.randint(1, 4)
                pieces.append(stream.add(rest[:count]))
                rest = rest[count:]
            pieces.append(stream.end())
            assert "".join(pieces) == writing.text(ids)
            assert not any("\ufffd" in piece for piece in pieces)
            assert sum(bool(piece) for piece in pieces) > 5


@pytest.mark.parametrize("kind", ["gpt2", "t5", "sentencepiece", "wordpiece"])
def test_what_goes_on_with_a_text_begins_with_its_space(kind, tokenizers):
    tokenizer = tokenizers(kind)
    whole = tokenizer.encode_batch(["the cat"])[0].tolist()
    begun = tokenizer.encode_batch(["the"])[0].tolist()
    assert whole[: len(begun)] == begun
    written = whole[len(begun) :]
    assert Writing(tokenizer, goes_on=True).text(written) == " cat"
    assert Writing(tokenizer, goes_on=False).text(written).strip() == "cat"


def test_chinese_words_have_no_spaces_between_them():
    words = ("我", "们", "去", "家", "，", "go", "##ing", "home")
    tokenizer = WordPiece((*SPECIAL_TOKENS, *words))
    ids = [
        tokenizer.ids[word] for word in ("我", "们", "，", "going", "我") if word in tokenizer.ids
    ]
    assert Writing(tokenizer, goes_on=False).text(ids) == "我们，我"
    mixed = [tokenizer.ids[word] for word in ("去", "go", "##ing", "home", "家", "我")]
    assert Writing(tokenizer, goes_on=False).text(mixed) == "去 going home 家我"


def test_what_surrounds_a_text_and_ids_without_a_token_are_left_out(tokenizers):
    tokenizer = tokenizers("roberta")
    ids = tokenizer.encode_batch(["the hat"])[0].tolist()
    framed = [tokenizer.bos_id, *ids, tokenizer.vocab_size + 3, tokenizer.eos_id, tokenizer.pad_id]
    assert Writing(tokenizer, goes_on=False).text(framed) == "the hat"
    sentinel = tokenizers("t5").sentinel_ids[1]
    assert Writing(tokenizers("t5"), goes_on=False).text([sentinel]) == "<extra_id_1>"


@pytest.mark.parametrize("stop", ["mat", "t. ", "天气", "isn't on"])
def test_a_text_ends_before_the_first_stop_and_shows_nothing_of_it(stop, tokenizers):
    tokenizer = tokenizers("gpt2")
    ids, text = tokenizer.encode_batch([TEXT])[0].tolist(), TEXT
    writing, stops = Writing(tokenizer, goes_on=False), ("never", stop)
    kept = stopped(writing, stops, ids)
    assert stop in writing.text(ids[:kept])
    assert stop not in writing.text(ids[: kept - 1])
    assert stopped(writing, ("never",), ids) is None
    stream = Stream(writing, stops)
    shown = "".join(stream.add([number]) for number in ids[:kept])
    assert shown + stream.end() == text[: text.index(stop)]


CASES = {
    "gpt2": ["the cat<|endoftext|>The hat", "the<|endoftext|>"],
    "t5": ["the <extra_id_0> hat", "the hat", "<extra_id_1> cat <extra_id_0>"],
    "roberta": ["the <mask> hat", "a<mask>", "the cat <mask>."],
}


@pytest.mark.parametrize("kind", CASES)
def test_special_tokens_in_prompts_are_read_as_transformers_reads_them(kind, tokenizers, tmp_path):
    transformers = need("transformers", "pip install -r requirements-ci.txt")
    tokenizer = tokenizers(kind)
    write_tokenizer(tokenizer, tmp_path, 100)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text in CASES[kind]:
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert read_prompt(tokenizer, text) == expected, text
    assert read_prompt(tokenizer, "") == []
