"""What is known of tags without a pretrained model: a linear-chain CRF of the words around each."""

import itertools
import os
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

MOST_WORDS = 500_000
"""Words that the model is fitted to, at most, in sentences spread over the set."""

MOST_STEPS = 250_000_000
"""Words times pairs of tags, at most: the steps of an iteration."""

ITERATIONS = 100
"""Of L-BFGS, at most."""

WINDOW = 2
"""How many words to each side a word is told by."""

LONGEST_AFFIX = 4


class Tagged(NamedTuple):
    """tags: of each sentence that was asked. words, of: to how many words the model was fitted, of
    how many."""

    tags: list[list[str]]
    words: int
    of: int

    @property
    def name(self) -> str:
        """What a report calls the model, which says where it has not seen the whole set."""
        if self.words == self.of:
            return "CRF of the words"
        return f"CRF of {self.words:,} of {self.of:,} words"


def of_words(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    asked: Sequence[Sequence[str]],
) -> Tagged:
    """What a linear-chain CRF of `features` says, fitted by CRFsuite's L-BFGS with an L2 penalty.

    A minute or two at most: of sets with more words or tags than that, sentences are left out.

    Args:
      sentences, tags: of the training set, lists of words and of as many tags.
      asked: the sentences that are answered.
    """
    import pycrfsuite

    count = sum(map(len, sentences))
    kinds = len({tag for some in tags for tag in some})
    most = min(MOST_WORDS, max(1, MOST_STEPS // kinds**2))
    stride = -(-count // most)
    trainer = pycrfsuite.Trainer("lbfgs", {"c2": 0.1, "max_iterations": ITERATIONS}, verbose=False)
    fitted = 0
    for words, some in zip(sentences[::stride], tags[::stride], strict=True):
        trainer.append(pycrfsuite.ItemSequence(features(words)), list(some))
        fitted += len(words)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        found = [tagger.tag(pycrfsuite.ItemSequence(features(words))) for words in asked]
        tagger.close()
    return Tagged(found, fitted, count)


def features(words: Sequence[str]) -> list[list[str]]:
    """What each word of a sentence is told by: the words and the pairs of neighbours around it with
    their places, the shapes of the nearest, and its own beginnings and ends."""
    begin, end = ["<s>"] * WINDOW, ["</s>"] * WINDOW
    around = [*begin, *(word.lower() for word in words), *end]
    shapes = [*begin, *map(shape, words), *end]
    found = []
    for at, word in enumerate(around[WINDOW:-WINDOW]):
        seen = around[at : at + 2 * WINDOW + 1]
        some = [f"{place}={other}" for place, other in enumerate(seen, -WINDOW)]
        pairs = itertools.pairwise(seen)
        some += [f"{place}={a} {b}" for place, (a, b) in enumerate(pairs, -WINDOW)]
        some.append(f"-1,1={seen[WINDOW - 1]} {seen[WINDOW + 1]}")
        near = shapes[at + WINDOW - 1 : at + WINDOW + 2]
        some += [f"shape {place}={other}" for place, other in enumerate(near, -1)]
        for length in range(1, min(LONGEST_AFFIX, len(word) - 1) + 1):
            some += [f"begins={word[:length]}", f"ends={word[-length:]}"]
        found.append(some)
    return found


def shape(word: str) -> str:
    """The kinds of a word's letters, a row of one kind written once: `Xx`, `0`, `0-0`; letters
    without capitals, ideographs among them, are `o`."""
    kinds = itertools.groupby(map(_kind, word))
    return "".join(kind for kind, _ in kinds)


def _kind(letter: str) -> str:
    if letter.isdigit():
        return "0"
    if letter.isupper():
        return "X"
    if letter.islower():
        return "x"
    return "o" if letter.isalpha() else letter
