"""How well scores rank."""

import numpy as np


def area_under_roc(scores_P: np.ndarray, labels_P: np.ndarray) -> float:
    """The share of pairs of a positive and a negative in which the positive has the higher score.

    Equal scores count half, which is the area under the receiver operating characteristic (Mann and
    Whitney 1947), by their ranks.

    Args:
      scores_P: any numbers that can be ordered.
      labels_P: bool, which are positive.

    Returns:
      0 to 1; 0.5 where all are of one kind.
    """
    from scipy.stats import rankdata  # half a second, which few runs need

    positives, negatives = int(labels_P.sum()), int((~labels_P).sum())
    if not positives or not negatives:
        return 0.5
    higher = rankdata(scores_P)[labels_P].sum() - positives * (positives + 1) / 2
    return float(higher / (positives * negatives))
