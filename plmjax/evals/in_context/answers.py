"""How a written answer is compared with the right ones."""

import collections
import re
import string
import unicodedata
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def parts(text: str, language: str) -> list[str]:
    """What of an answer is compared: words in English, characters in Chinese.

    English: lower case, no punctuation, no articles, as SQuAD's official script (Rajpurkar et al.
    2016). Chinese: lower case, no punctuation of any script, no white space, each character a part
    and Latin words and numbers one each.
    """
    text = text.lower()
    if language == "zh":
        bare = "".join(" " if _is_sign(letter) else letter for letter in text)
        return re.findall(r"[a-z0-9]+|[^\s]", bare)
    bare = "".join(letter for letter in text if letter not in string.punctuation)
    return _ARTICLES.sub(" ", bare).split()


def measured(metric: str, text: str, answers: Sequence[str], language: str) -> float:
    """A metric of `tasks.METRICS`, of a written text and the answers that are right."""
    if metric == "exact":
        return float(text.strip() in [answer.strip() for answer in answers])
    return {"em": exact_match, "f1": f1}[metric](text, answers, language)


def exact_match(text: str, answers: Sequence[str], language: str) -> float:
    """1 if it is one of the answers, 0 if not."""
    return float(any(parts(text, language) == parts(answer, language) for answer in answers))


def f1(text: str, answers: Sequence[str], language: str) -> float:
    """The F1 of its parts and those of the nearest answer, counted as in a bag."""
    return max(_f1(parts(text, language), parts(answer, language)) for answer in answers)


def _f1(found: list[str], gold: list[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    common = sum((collections.Counter(found) & collections.Counter(gold)).values())
    return 2 * common / (len(found) + len(gold))


def _is_sign(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "PSZ"
