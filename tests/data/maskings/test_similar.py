import dataclasses
from collections import Counter

import numpy as np
import pytest

from plmjax.data.counter_random import draw
from plmjax.data.flags import WORD
from plmjax.data.maskings import NgramMasking, SimilarWordMasking, SimilarWords, make_similar_words
from plmjax.data.maskings.similar_words import MOST_TOKENS, read_vectors
from plmjax.errors import UserError
from tests.data.maskings.helpers import run, selected, used, words_of

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


@pytest.fixture(scope="module")
def full_table(english, tmp_path_factory):
    """Random vectors for all words of the text but one in a hundred; the path of the table."""
    folder = tmp_path_factory.mktemp("full")
    cuts = np.flatnonzero(english.flags & WORD)[1:]
    words = list(dict.fromkeys(tuple(word.tolist()) for word in np.split(english.ids, cuts)))
    words = [word for index, word in enumerate(words) if index % 100 != 50]
    rng = np.random.default_rng(0)
    lines = [f"{index} {' '.join(map(str, rng.normal(size=8)))}" for index in range(len(words))]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")

    def encode(names):
        return [np.array(words[int(name)], np.int32) for name in names]

    size = english.vocabulary.vocab_size
    table = make_similar_words(folder / "vectors.txt", encode, size)
    table.save(folder / "table.npz")
    return str(folder / "table.npz")


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


def random_shares(tokens, unknown):
    """How often words without and with a similar one become random: 10% of all tokens in all."""
    if 0.9 * unknown >= 0.1 * tokens:
        return 0.1 * tokens / unknown, 0.0
    return 0.9, (0.1 * tokens - 0.9 * unknown) / (tokens - unknown)


@pytest.mark.parametrize(("kind", "fates"), [("small", 4), ("full", 5)])
def test_every_word_is_shown_as_its_draw_says(english, masking, full_table, kind, fates):
    """A plain program: what is shown by the draw at the slot of the word's first token."""
    features = english.features(600, L)
    masking = masking if kind == "small" else SimilarWordMasking(full_table)
    bound = masking.bind(english.vocabulary, L)
    similar, by_length = as_dict(SimilarWords.load(masking.words)), {}
    result = run(bound, features)
    for key in similar:
        by_length.setdefault(len(key), set()).add(key)
    slots = bound.spec["masked_positions"][0][0]
    chosen, found = selected(result), Counter()
    for row in range(600):
        bits = draw(features["seeds"][row : row + 1], "replacement of words", slots)[0]
        positions = result["masked_positions"][row].tolist()
        picked = [word for word in words_of(features, row) if chosen[row, word].any()]
        ids = [tuple(features["tokens"][row, word].tolist()) for word in picked]
        unknown = sum(len(own) for own in ids if own not in similar)
        of_unknown, of_known = random_shares(chosen[row].sum(), unknown)
        for word, own in zip(picked, ids, strict=True):
            assert chosen[row, word].all()
            drawn = (int(bits[positions.index(word[0])]) >> 32) / 2**32
            shown = tuple(result["tokens"][row, word].tolist())
            if own in similar and drawn < 0.9 - of_known:
                fate = "similar"
                assert shown == similar[own]
            elif drawn < (0.9 if own in similar else of_unknown):
                fate = "random"
                if len(own) in by_length:
                    assert shown in by_length[len(own)]
                assert not np.isin(shown, english.vocabulary.special_ids).any()
            else:
                fate = "itself"
                assert shown == own
            found[fate, own in similar] += 1
    # Where many words are not known, no word that is becomes a random one.
    assert len(found) >= fates and found.total() > 5000, found


def test_shares_budget_and_no_mask(english, table, masking):
    """A table that lacks much: random words are still 10% of what is picked."""
    features = english.features(9000, L)
    result = run(masking.bind(english.vocabulary, L), features)
    budget = int(0.15 * L)
    assert used(result).sum(1).max() == budget and (used(result).sum(1) == budget).mean() > 0.99
    assert used(result).sum() >= 10**5
    assert not (result["tokens"] == english.vocabulary.mask_id).any()
    fates, tokens, error = shares_shown(features, result, as_dict(table))
    assert tokens >= 10**5
    assert abs(fates["random"] / tokens - 0.1) < 3 * error * 0.3
    assert fates["itself"] / tokens > 0.15


def shares_shown(features, result, similar):
    """Tokens by how their words are shown, corrected for random words that are it by chance.

    Returns:
      The tokens by fate, all of them, and the standard error of a share of 0 or 1 a token: draws
      are those of words.
    """
    chosen, fates, squares = selected(result), Counter(), 0
    counts = Counter(map(len, similar))
    for row in range(len(chosen)):
        for word in words_of(features, row):
            if not chosen[row, word[0]]:
                continue
            n = len(word)
            own = tuple(features["tokens"][row, word].tolist())
            shown = tuple(result["tokens"][row, word].tolist())
            other = "itself" if shown == own else "random"
            fates["similar" if shown == similar.get(own) else other] += n
            if own in similar:
                chance = 0.1 * n / counts[n]
                fates.update({"itself": -chance, "similar": -chance, "random": 2 * chance})
            squares += n * n
    tokens = int(chosen.sum())
    return fates, tokens, np.sqrt(squares) / tokens


def test_eighty_ten_ten_with_a_table_of_nearly_all_words(english, full_table):
    features = english.features(9000, L)
    result = run(SimilarWordMasking(full_table).bind(english.vocabulary, L), features)
    similar = as_dict(SimilarWords.load(full_table))
    fates, tokens, error = shares_shown(features, result, similar)
    assert tokens >= 10**5
    for fate, share in (("similar", 0.8), ("random", 0.1), ("itself", 0.1)):
        assert abs(fates[fate] / tokens - share) < 3 * error * np.sqrt(share * (1 - share)), fates


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


def test_the_corpus_has_a_table_of_its_own(english, table, masking, tmp_path):
    """An empty path means it; while there is no corpus yet, one of nothing stands for it."""
    table.save(tmp_path / "own.npz")
    own = dataclasses.replace(english.vocabulary, similar_words=str(tmp_path / "own.npz"))
    features = english.features(50, L)
    found = run(SimilarWordMasking().bind(own, L), features)
    expected = run(masking.bind(english.vocabulary, L), features)
    assert all(np.array_equal(found[key], x) for key, x in expected.items())
    bound = SimilarWordMasking().bind(english.vocabulary, L)
    assert bound.spec == masking.bind(english.vocabulary, L).spec and not bound.shows_mask
    assert set(run(bound, features)) == set(bound.spec)


def test_words_of_a_vector_file_may_have_spaces(tmp_path):
    """As GloVe's largest and Tencent's have some."""
    (tmp_path / "headed.txt").write_text("3 2\nnew york 1 2\nbread 3 4\n12 5 6\n")
    words, rows = read_vectors(tmp_path / "headed.txt", 10)
    assert words == ["new york", "bread", "12"] and rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    (tmp_path / "plain.txt").write_text("bread 3 4\n. . 5 6\n")
    words, rows = read_vectors(tmp_path / "plain.txt", 10)
    assert words == ["bread", ". ."] and rows.tolist() == [[3, 4], [5, 6]]
