"""How well scores rank."""

import numpy as np


def area_under_roc(scores_P: np.ndarray, labels_P: np.ndarray) -> float:
    """The share of pairs of a positive and a negative in which the positive has the higher score.

    Equal scores count half, which is the area under the receiver operating characteristic (Mann and
    Whitney 1947). Exact, from counts of each score.

    Args:
      scores_P: any numbers that can be ordered.
      labels_P: bool, which are positive.

    Returns:
      0 to 1; 0.5 where all are of one kind.
    """
    values_U, which_P = np.unique(scores_P, return_inverse=True)
    positives_U = np.bincount(which_P[labels_P], minlength=len(values_U)).astype(np.float64)
    negatives_U = np.bincount(which_P[~labels_P], minlength=len(values_U)).astype(np.float64)
    pairs = positives_U.sum() * negatives_U.sum()
    if not pairs:
        return 0.5
    lower_U = np.cumsum(negatives_U) - negatives_U
    return float((positives_U * (lower_U + negatives_U / 2)).sum() / pairs)
