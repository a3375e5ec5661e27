"""What is known of labelled texts without a pretrained model: their words."""

from collections.abc import Sequence

import numpy as np

MOST_ROWS = 50_000
"""Examples that the model of words is fitted to, at most, spread over the set."""

KINDS = ("classification", "multi_label", "regression")
"""Of tasks that a model of words learns."""

_IDEOGRAPHS = (0x3400, 0x9FFF)


def of_words(
    kind: str,
    texts: Sequence[Sequence[str]],
    asked: Sequence[Sequence[str]],
    targets: np.ndarray,
) -> np.ndarray | None:
    """What a linear model of the words says: TF-IDF of words and pairs of them, in Chinese and
    Japanese of one to three characters, of each text of a pair for itself; logistic regression, for
    numbers ridge regression.

    Args:
      kind: classification, multi_label or regression.
      texts: of the training set, each a tuple of one text or two.
      asked: the texts that are answered, M of them.
      targets: [N, ...], the labels of the training set.

    Returns:
      The classes, int [M]; of multi_label the probability of each class, float [M, C]; of
      regression the numbers, float [M]. None where there are no words, or classes, to tell apart.
    """
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    stride = -(-len(texts) // MOST_ROWS)
    texts, targets = texts[::stride], targets[::stride]
    if _is_ideographic(texts):
        form = {"analyzer": "char", "ngram_range": (1, 3)}
    else:
        form = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
    if kind == "classification" and len(np.unique(targets)) < 2:
        return None
    fitted, given = [], []
    for number in range(len(texts[0])):
        words = TfidfVectorizer(sublinear_tf=True, max_features=200_000, **form)
        try:
            fitted.append(words.fit_transform([some[number] for some in texts]))
        except ValueError:  # "empty vocabulary": texts of signs alone
            return None
        given.append(words.transform([some[number] for some in asked]))
    known, new = sparse.hstack(fitted).tocsr(), sparse.hstack(given).tocsr()
    if kind == "regression":
        return Ridge().fit(known, targets).predict(new)
    model = LogisticRegression(max_iter=1000, C=10.0)
    if kind == "multi_label":
        return OneVsRestClassifier(model).fit(known, targets.astype(int)).predict_proba(new)
    return model.fit(known, targets).predict(new)


def _is_ideographic(texts: Sequence[Sequence[str]]) -> bool:
    some = "".join(text for pair in texts[:1000] for text in pair)
    first, last = _IDEOGRAPHS
    return sum(first <= ord(letter) <= last for letter in some) > 0.3 * len(some)
