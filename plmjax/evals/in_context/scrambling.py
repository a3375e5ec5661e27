"""GPT-3's five tasks of scrambled words, generated as its release has them.

Source: Brown et al. 2020, section 3.9.2; openai/gpt-3 data/*.jsonl.gz. The words are the 10,000
most frequent ones of a text: the paper takes those of more than 4 and fewer than 15 letters, and
the release has 6 to 15, and from 5 on for A1.
"""

import collections
import pydoc_data.topics
import re

import numpy as np

TASKS = {
    "CL": "cycle letters in word",
    "A1": "anagrams of all but the first and last characters",
    "A2": "anagrams of all but the first and last two characters",
    "RI": "random insertion in word",
    "RW": "reversed words",
}
MOST_WORDS = 10_000
_SHORTEST, _LONGEST = 6, 15
_INSERTED = [" ", ".", "/", "!"]


def frequent_words(text: str | None) -> list[str]:
    """The most frequent words of a text, of at most 15 letters, the most frequent first.

    Args:
      text: in English; None for the documentation that comes with Python.
    """
    if text is None:
        text = " ".join(map(str, pydoc_data.topics.topics.values()))
    counted = collections.Counter(re.findall(r"[a-z]+", text.lower()))
    fitting = [word for word in counted if _SHORTEST - 1 <= len(word) <= _LONGEST]
    # Of equally frequent ones the order is that of the alphabet, the same on every machine.
    return sorted(fitting, key=lambda word: (-counted[word], word))[:MOST_WORDS]


def scrambling(name: str, words: list[str], seed: int) -> list[dict[str, str]]:
    """A problem for each fitting word, in random order, with `context` and `completion`.

    Args:
      name: of TASKS.
      words: see `frequent_words`.
      seed: of the draws.
    """
    random = np.random.default_rng([seed, list(TASKS).index(name)])
    least = _SHORTEST - (name == "A1")
    fitting = [word for word in words if len(word) >= least]
    return [
        {"context": f"\n{_scrambled(name, word, random)} =", "completion": f" {word}"}
        for word in random.permutation(fitting).tolist()
    ]


def _scrambled(name: str, word: str, random: np.random.Generator) -> str:
    if name == "RW":
        return word[::-1]
    if name == "CL":
        by = int(random.integers(1, len(word)))
        return word[by:] + word[:by]
    if name == "RI":
        signs = [*random.choice(_INSERTED, len(word) - 1), ""]
        return "".join(letter + sign for letter, sign in zip(word, signs, strict=True))
    kept = int(name[1])
    middle = word[kept:-kept]
    return word[:kept] + _shuffled(middle, random) + word[-kept:]


def _shuffled(letters: str, random: np.random.Generator) -> str:
    """Another order of the letters, where there is one."""
    while True:
        shuffled = "".join(random.permutation(list(letters)))
        if shuffled != letters or len(set(letters)) == 1:
            return shuffled
