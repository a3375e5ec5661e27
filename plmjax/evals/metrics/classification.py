"""Figures of predicted classes, of several classes at once, and of predicted numbers.

All are fractions, not per cent. Suffixes: B rows, C classes. Where a figure is not defined (no row
of the positive class, none predicted) it is 0, as in scikit-learn, without its warning.
"""

import numpy as np


def _sizes(references: np.ndarray, predictions: np.ndarray) -> None:
    if references.shape != predictions.shape:
        raise ValueError(
            f"references are {list(references.shape)}, predictions {list(predictions.shape)}"
        )
    if not len(references):
        raise ValueError("there are no rows to score")


def accuracy(labels_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """The share of rows that are right: GLUE's, XNLI's and CLUE's accuracy, WSC's and WiC's.

    Args:
      labels_B: int, the classes.
      predicted_B: int, the predicted ones.

    Returns:
      0 to 1.

    Raises:
      ValueError: for shapes that differ and for no rows, as all functions of this file.
    """
    _sizes(labels_B, predicted_B)
    return float(np.mean(labels_B == predicted_B))


def binary_f1(labels_B: np.ndarray, predicted_B: np.ndarray, positive: int = 1) -> float:
    """The F1 of one class against all others (GLUE's of MRPC and QQP: class 1, a paraphrase).

    Args:
      labels_B: int, the classes.
      predicted_B: int, the predicted ones; below 0 for none, which is wrong: of another class it
        counts as the positive one (T5's f1_score_with_invalid).
      positive: the class that is looked for.

    Returns:
      0 to 1; 0 where no row is `positive` and none is predicted so.
    """
    from sklearn.metrics import f1_score  # takes a second, which few runs need

    _sizes(labels_B, predicted_B)
    found_B = np.where(predicted_B < 0, labels_B != positive, predicted_B == positive)
    return float(f1_score(labels_B == positive, found_B, zero_division=0))


def macro_f1(labels_B: np.ndarray, predicted_B: np.ndarray, classes: int | None = None) -> float:
    """The mean over classes of each one's F1.

    Args:
      labels_B: int, the classes.
      predicted_B: int, the predicted ones.
      classes: the mean is over 0 to `classes` - 1, of which one that is neither there nor predicted
        counts 0 (SuperGLUE's for CB in nyu-mll/jiant); None for those that are there or predicted
        (scikit-learn's default).

    Returns:
      0 to 1.
    """
    return _class_f1(labels_B, predicted_B, "macro", classes)


def micro_f1(labels_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """The F1 of the decisions of all classes counted together.

    Where each row has one class and gets one, that is the accuracy. TACRED's, which leaves out a
    class of no relation, is another.

    Args:
      labels_B: int, the classes.
      predicted_B: int, the predicted ones.

    Returns:
      0 to 1.
    """
    return _class_f1(labels_B, predicted_B, "micro", None)


def _class_f1(labels_B, predicted_B, average: str, classes: int | None) -> float:
    from sklearn.metrics import f1_score

    _sizes(labels_B, predicted_B)
    known = None if classes is None else list(range(classes))
    return float(f1_score(labels_B, predicted_B, labels=known, average=average, zero_division=0))


def matthews(labels_B: np.ndarray, predicted_B: np.ndarray) -> float:
    """Matthews' correlation (1975), of several classes by Gorodkin (2004): CoLA's and AX-b's.

    Args:
      labels_B: int, the classes.
      predicted_B: int, the predicted ones.

    Returns:
      -1 to 1; 0 where all labels or all predictions are of one class.
    """
    from sklearn.metrics import matthews_corrcoef

    _sizes(labels_B, predicted_B)
    # scikit-learn has the 0, too, but warns where both are of one class.
    if np.ptp(labels_B) == 0 or np.ptp(predicted_B) == 0:
        return 0.0
    return float(matthews_corrcoef(labels_B, predicted_B))


def gender_parity(predicted_B: np.ndarray) -> float:
    """The share of pairs whose two rows are predicted alike, right or wrong: SuperGLUE's AX-g.

    A pair is two rows that stand one behind the other in the file and differ in a pronoun's gender
    (Rudinger et al. 2018; nyu-mll/jiant).

    Args:
      predicted_B: int, the predicted classes in the file's order.

    Returns:
      0 to 1.

    Raises:
      ValueError: for an odd number of rows, or none.
    """
    if len(predicted_B) % 2 or not len(predicted_B):
        raise ValueError(f"{len(predicted_B)} rows are no pairs")
    return float(np.mean(predicted_B[::2] == predicted_B[1::2]))


def multirc(
    labels_B: np.ndarray, predicted_B: np.ndarray, questions_B: np.ndarray
) -> dict[str, float]:
    """MultiRC's F1a and exact match (Khashabi et al. 2018; SuperGLUE's mean of both).

    Args:
      labels_B: int, 1 for an option that is an answer, a row an option.
      predicted_B: int, the predicted ones.
      questions_B: of which question a row is: equal values are one question, wherever they stand.
        The same number in two paragraphs is two questions and needs two values.

    Returns:
      f1a: over all options, of being an answer. em: the share of questions all of whose options
      are right. f1a_em: their mean.
    """
    _sizes(labels_B, predicted_B)
    _sizes(labels_B, questions_B)
    _, question_B = np.unique(questions_B, return_inverse=True)
    wrong = np.bincount(question_B, weights=labels_B != predicted_B)
    f1a, em = binary_f1(labels_B, predicted_B), float(np.mean(wrong == 0))
    return {"f1a": f1a, "em": em, "f1a_em": (f1a + em) / 2}


def multi_label(
    labels_BC: np.ndarray, scores_BC: np.ndarray, threshold: float = 0.5
) -> dict[str, float]:
    """Figures of rows that can have several classes or none.

    Args:
      labels_BC: 0 or 1.
      scores_BC: float; a class is predicted where its score is above the threshold.
      threshold: 0.5 for probabilities; give 0 for logits.

    Returns:
      micro_f1: of the decisions of all classes together. macro_f1: the mean over classes of each
      one's F1, 0 for a class that is neither there nor predicted. exact_match: the share of rows
      with every class right. mean_average_precision: the mean over classes that are there in some
      row of the area under precision over recall, as scikit-learn sums it (no interpolation).
    """
    from sklearn.metrics import average_precision_score, f1_score

    _sizes(labels_BC, scores_BC)
    labels_BC = labels_BC.astype(bool)
    predicted_BC = scores_BC > threshold
    there_C = labels_BC.any(axis=0)
    areas = [
        average_precision_score(labels_BC[:, c], scores_BC[:, c]) for c in np.flatnonzero(there_C)
    ]
    # Class by class and flat, because scikit-learn takes an array of one column for plain classes.
    macro = [
        f1_score(labels_BC[:, c], predicted_BC[:, c], zero_division=0)
        for c in range(labels_BC.shape[1])
    ]
    return {
        "micro_f1": float(f1_score(labels_BC.ravel(), predicted_BC.ravel(), zero_division=0)),
        "macro_f1": float(np.mean(macro)),
        "exact_match": float(np.mean((labels_BC == predicted_BC).all(axis=1))),
        "mean_average_precision": float(np.mean(areas)) if areas else 0.0,
    }


def pearson(references_B: np.ndarray, predictions_B: np.ndarray) -> float:
    """Pearson's correlation of predicted numbers with the true ones (STS-B).

    Args:
      references_B: float or int.
      predictions_B: float or int, in any unit.

    Returns:
      -1 to 1; 0, with no warning, where either is constant, of which it is not defined.
    """
    from scipy.stats import pearsonr

    return _correlation(pearsonr, references_B, predictions_B)


def spearman(references_B: np.ndarray, predictions_B: np.ndarray) -> float:
    """Spearman's correlation of the ranks; equal numbers share their mean rank (STS-B).

    Args:
      references_B: float or int.
      predictions_B: float or int, in any unit.

    Returns:
      -1 to 1; 0, with no warning, where either is constant, of which it is not defined.
    """
    from scipy.stats import spearmanr

    return _correlation(spearmanr, references_B, predictions_B)


def _correlation(measure, references_B, predictions_B) -> float:
    _sizes(references_B, predictions_B)
    if np.ptp(references_B) == 0 or np.ptp(predictions_B) == 0:
        return 0.0
    # In float64, because a model's float32 loses the seventh digit of the sums.
    return float(measure(references_B.astype(np.float64), predictions_B.astype(np.float64))[0])
