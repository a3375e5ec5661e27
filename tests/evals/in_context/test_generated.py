"""Generated tasks against what is published of them."""

import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from plmjax.evals.in_context import arithmetic, scrambling
from plmjax.evals.in_context.splits import Options, find_task, splits

SIGNS = {"plus": "+", "minus": "-", "times": "*"}
# Of the release: the first lines of its files.
PUBLISHED = {
    "2D+": ("\n\nQ: What is 98 plus 45?\n\nA:", " 143"),
    "4D-": ("\n\nQ: What is 8503 minus 8820?\n\nA:", " -317"),
    "2Dx": ("\n\nQ: What is 95 times 45?\n\nA:", " 4275"),
    "1DC": ("\n\nQ: What is (9 + 8) * 2?\n\nA:", " 34"),
}


def form(context: str) -> str:
    return re.sub(r"\d+", "N", context)


@pytest.mark.parametrize("name", arithmetic.TASKS)
def test_arithmetic_is_right_and_has_the_published_form(name):
    items = arithmetic.arithmetic(name, 500, seed=0)
    assert len({item["context"] for item in items}) == 500
    for item in items:
        question = re.fullmatch(r"\n\nQ: What is (.*)\?\n\nA:", item["context"])[1]
        for word, sign in SIGNS.items():
            question = question.replace(word, sign)
        assert item["completion"] == f" {eval(question)}"
    if name in PUBLISHED:
        context, completion = PUBLISHED[name]
        forms = {form(item["context"]) for item in items}
        assert form(context) in forms and (len(forms) == 1 or name == "1DC")
        assert completion.startswith(" ")
    assert items == arithmetic.arithmetic(name, 500, seed=0)
    assert items != arithmetic.arithmetic(name, 500, seed=1)


def test_operands_are_uniform_from_zero_and_operations_in_1dc_too():
    found = arithmetic.arithmetic("3D-", 2000, 0)
    operands = [int(n) for item in found for n in re.findall(r"\d+", item["context"])]
    counts = np.histogram(operands, bins=10, range=(0, 1000))[0]
    assert chisquare(counts).pvalue > 0.01 and max(operands) < 1000
    composite = arithmetic.arithmetic("1DC", 2000, 0)
    forms = Counter(re.sub(r"\d", "d", item["context"]) for item in composite)
    digits = Counter(d for item in composite for d in re.findall(r"\d", item["context"]))
    assert len(forms) == 9 and sorted(digits) == list("123456789")
    assert chisquare(list(forms.values())).pvalue > 0.01
    assert chisquare(list(digits.values())).pvalue > 0.01


WORDS = ["simplicity", "inevitably", "opponent", "succession", "objects", "cat", "mouse", "yellow"]


@pytest.mark.parametrize("name", scrambling.TASKS)
def test_words_are_scrambled_as_published(name):
    words = [*WORDS, "a" * 16]
    found = scrambling.scrambling(name, [w for w in words if 5 <= len(w) <= 15], seed=0)
    expected = {w for w in WORDS if len(w) >= (5 if name == "A1" else 6)}
    assert {item["completion"][1:] for item in found} == expected
    for item in found:
        scrambled, word = item["context"][1:-2], item["completion"][1:]
        assert item["context"] == f"\n{scrambled} =" and item["completion"] == f" {word}"
        if name == "RW":
            assert scrambled == word[::-1]
        elif name == "CL":
            assert scrambled in word + word and scrambled != word
        elif name == "RI":
            assert scrambled[::2] == word and set(scrambled[1::2]) <= set(" ./!")
            assert len(scrambled) == 2 * len(word) - 1
        else:
            kept = int(name[1])
            assert sorted(scrambled) == sorted(word)
            assert (scrambled[:kept], scrambled[-kept:]) == (word[:kept], word[-kept:])
            # As in the release, where nothing but one letter is left to be moved.
            assert (scrambled == word) == (name == "A2" and word == "yellow")


def test_words_are_the_most_frequent_of_a_text():
    text = "Apples apples APPLES, bananas and bananas; cherry dates! an internationalization."
    assert scrambling.frequent_words(text) == ["apples", "bananas", "cherry", "dates"]
    own = scrambling.frequent_words(None)
    assert 1000 < len(own) <= 10_000 and len(set(own)) == len(own)


def test_an_item_is_none_of_its_examples_and_problems_are_not_told_before(tmp_path):
    data = splits(find_task("5D+"), Options())
    assert len(data.test) == len(data.train) == 2000
    assert not {x.shown for x in data.test} & {x.shown for x in data.train}
    assert data.test[0].shown.startswith("\n\nQ: What is ")
    text = tmp_path / "words.txt"
    text.write_text("several different words for a test")
    data = splits(find_task("RW"), Options(words=str(text), limit=1))
    assert data.shared and len(data.test) == 1 and len(data.train) == 2
