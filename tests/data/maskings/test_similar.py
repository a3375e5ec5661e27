import numpy as np
import pytest

from plmjax.data.counter_random import draw
from plmjax.data.maskings import NgramMasking, SimilarWordMasking, SimilarWords, make_similar_words
from plmjax.data.maskings.similar_words import MOST_TOKENS, read_vectors
from plmjax.errors import UserError
from tests.data.maskings.helpers import assert_share, run, selected, used, words_of

L = 128


@pytest.fixture(scope="module")
def vectors(english, tmp_path_factory):
    """Random vectors for two thirds of the words of the text, and for words of several tokens."""
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    rng = np.random.default_rng(0)
    words = sorted(t for t in english.tokenizer.vocabulary if t.isalpha())
    words = [word for index, word in enumerate(words) if index % 3]
    words += [f"{a}{b}" for a, b in zip(words[:200], words[200:400], strict=True)]
    rows = rng.normal(size=(len(words), 8)).round(4)
    lines = [" ".join([word, *map(str, row)]) for word, row in zip(words, rows, strict=True)]
    path.write_text(f"{len(words)} 8\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def table(english, vectors):
    return make_similar_words(
        vectors, english.tokenizer.encode_batch, english.vocabulary.vocab_size
    )


@pytest.fixture(scope="module")
def masking(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "similar.npz"
    table.save(path)
    return SimilarWordMasking(words=str(path))


def as_dict(table):
    """Each word's similar word, as tuples of ids."""
    rows = zip(table.words_KT.tolist(), table.similar_KT.tolist(), strict=True)
    return {tuple(t for t in a if t >= 0): tuple(t for t in b if t >= 0) for a, b in rows}


def test_the_nearest_word_of_as_many_tokens_is_found(english, vectors, table):
    words, rows = read_vectors(vectors, 10**6)
    ids = [tuple(row.tolist()) for row in english.tokenizer.encode_batch(words)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similar, first = as_dict(table), {}
    for index, key in enumerate(ids):
        first.setdefault(key, index)
    lengths = {len(key) for key in similar}
    assert lengths >= {1, 2} and max(lengths) <= MOST_TOKENS
    for key, other in list(similar.items())[::7]:
        assert len(key) == len(other) and key != other
        peers = [i for peer, i in first.items() if len(peer) == len(key) and peer != key]
        cosines = unit[peers] @ unit[first[key]]
        assert cosines.max() == pytest.approx(unit[first[other]] @ unit[first[key]], abs=1e-5)


def test_a_least_cosine_leaves_words_out(english, vectors, table):
    size = english.vocabulary.vocab_size
    strict = make_similar_words(vectors, english.tokenizer.encode_batch, size, least_cosine=0.9)
    assert 0 < len(strict.hashes_K) < len(table.hashes_K)


def test_saved_and_loaded(table, tmp_path):
    table.save(tmp_path / "table.npz")
    loaded = SimilarWords.load(tmp_path / "table.npz")
    assert loaded.vocab_size == table.vocab_size
    assert np.array_equal(loaded.hashes_K, table.hashes_K)
    assert (np.diff(loaded.hashes_K) > 0).all()
    assert np.array_equal(loaded.similar_KT, table.similar_KT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no word vectors"),
        ("2 3\na 1 2 3\nb 1 2\n", "line 3: expected a word and 3 numbers"),
        ("a 1 two 3\n", "line 1: expected a word and numbers"),
        ("a 1 2\n", "no word has a similar one"),
    ],
)
def test_bad_vectors_get_one_clear_line(english, tmp_path, content, message):
    (tmp_path / "bad.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        make_similar_words(tmp_path / "bad.txt", english.tokenizer.encode_batch, 100)
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="is no table of similar words"):
        SimilarWords.load(tmp_path / "bad.npz")
    with pytest.raises(UserError, match="does not exist"):
        make_similar_words(tmp_path / "none.txt", english.tokenizer.encode_batch, 100)


def test_every_word_is_shown_as_its_draw_says(english, table, masking):
    """A plain program: kind by the draw at the slot of the word's first token."""
    features = english.features(300, L)
    bound = masking.bind(english.vocabulary, L)
    result, similar, by_length = run(bound, features), as_dict(table), {}
    for key in similar:
        by_length.setdefault(len(key), set()).add(key)
    slots = bound.spec["masked_positions"][0][0]
    chosen, known, unknown = selected(result), 0, 0
    for row in range(300):
        bits = draw(features["seeds"][row : row + 1], "replacement of words", slots)[0]
        positions = result["masked_positions"][row].tolist()
        for word in words_of(features, row):
            if not chosen[row, word].any():
                continue
            assert chosen[row, word].all()
            kind = (int(bits[positions.index(word[0])]) >> 32) / 2**32
            own = tuple(features["tokens"][row, word].tolist())
            shown = tuple(result["tokens"][row, word].tolist())
            if kind >= 0.9:
                assert shown == own
            elif kind < 0.8 and own in similar:
                assert shown == similar[own]
                known += 1
            elif len(own) in by_length:
                assert shown in by_length[len(own)]
                unknown += kind < 0.8
            else:
                assert not np.isin(shown, english.vocabulary.special_ids).any()
    assert known > 1000 and unknown > 300


def test_shares_budget_and_no_mask(english, table, masking):
    features = english.features(9000, L)
    result = run(masking.bind(english.vocabulary, L), features)
    budget = int(0.15 * L)
    assert used(result).sum(1).max() == budget and (used(result).sum(1) == budget).mean() > 0.99
    assert used(result).sum() >= 10**5
    assert not (result["tokens"] == english.vocabulary.mask_id).any()
    similar = as_dict(table)
    words, counts, fates = 0, 0, np.zeros(3)
    chosen = selected(result)
    for row in range(2500):
        for word in words_of(features, row):
            own = tuple(features["tokens"][row, word].tolist())
            if not chosen[row, word].all() or own not in similar:
                continue
            words += 1
            shown = tuple(result["tokens"][row, word].tolist())
            fates += [shown == similar[own], shown == own, shown not in (own, similar[own])]
            counts += 2 / sum(len(key) == len(own) for key in similar)
    # A random word is now and then the similar one, or the word itself.
    chance = 0.1 * counts / words / 2
    assert_share(fates[0], words, 0.8 + chance, least=10**4)
    assert_share(fates[1], words, 0.1 + chance, least=10**4)
    assert_share(fates[2], words, 0.1 - 2 * chance, least=10**4)


def test_words_are_picked_as_ngrams(english, masking):
    """The same as n-gram masking with MacBERT's weights and a budget that is rounded down."""
    features = english.features(200, L)
    macbert = NgramMasking(weights=(0.4, 0.3, 0.2, 0.1), max_predictions=int(0.15 * L))
    expected = run(macbert.bind(english.vocabulary, L), features)
    result = run(masking.bind(english.vocabulary, L), features)
    assert np.array_equal(selected(result), selected(expected))


def test_equal_hashes_are_not_mistaken(english, table, masking, tmp_path):
    """Another word's row under a word's hash is found out: the word has no similar one."""
    wrong = SimilarWords(
        table.vocab_size,
        table.hashes_K,
        np.roll(table.words_KT, 1, axis=0),
        np.full_like(table.similar_KT, english.vocabulary.mask_id),
    )
    wrong.save(tmp_path / "wrong.npz")
    features = english.features(300, L)
    result = run(
        SimilarWordMasking(str(tmp_path / "wrong.npz")).bind(english.vocabulary, L), features
    )
    assert not (result["tokens"] == english.vocabulary.mask_id).any()
