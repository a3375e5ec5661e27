"""Figures of choices: one option of several, and the idioms of a passage, each at most once.

Suffixes: B questions or blanks, C options.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

UNASSIGNED = -1


def choice_accuracy(labels_B: np.ndarray, scores_BC: Sequence[np.ndarray] | np.ndarray) -> float:
    """The share of questions whose best option is the right one (COPA, SWAG, RACE, C3, C4).

    Args:
      labels_B: int, the right option, from 0.
      scores_BC: float, higher is better: an array, or a row for each question where they have not
        all as many options. Of equal ones the first is taken.

    Returns:
      0 to 1.

    Raises:
      ValueError: for another number of rows, no rows, and a score that is not a number.
    """
    if len(labels_B) != len(scores_BC) or not len(labels_B):
        raise ValueError(f"{len(labels_B)} labels and {len(scores_BC)} rows of scores")
    rows = zip(labels_B, scores_BC, strict=True)
    return float(np.mean([best(scores_C) == label for label, scores_C in rows]))


def best(scores_C: np.ndarray) -> int:
    """The option with the highest score, of equal ones the first.

    Raises:
      ValueError: where a score is not a number: numpy would take it for the highest.
    """
    scores_C = np.asarray(scores_C)
    if np.isnan(scores_C).any():
        raise ValueError("a score is not a number")
    return int(np.argmax(scores_C))


def independent_assignment(scores_BC: np.ndarray) -> np.ndarray:
    """Each blank its best candidate, which two blanks may share.

    Args:
      scores_BC: float, higher is better.

    Returns:
      int [B], the candidates.
    """
    return np.array([best(scores_C) for scores_C in scores_BC], dtype=np.int64)


def greedy_assignment(scores_BC: np.ndarray) -> np.ndarray:
    """No candidate twice, the best score first: what CLUE's baseline does for ChID.

    The highest score of all blanks and candidates is taken, its row and column are struck out, and
    so on (CLUEbenchmark/CLUE, CHID_preprocess.py). Of equal scores the earlier candidate comes
    first, and with it the earlier blank. The baseline compares logits across blanks, as they are.

    Args:
      scores_BC: float, higher is better: the blanks that share candidates, in CLUE those of all
        texts of one line of the file.

    Returns:
      int [B], the candidates; `UNASSIGNED` for blanks that are left when no candidate is.

    Raises:
      ValueError: for a score that is not a number.
    """
    scores_BC = _checked(scores_BC)
    blanks, candidates = scores_BC.shape
    assigned_B = np.full(blanks, UNASSIGNED)
    taken = set()
    # A stable sort of the columns one behind the other is the order of ties that the baseline has.
    for flat in np.argsort(-scores_BC.T.ravel(), kind="stable"):
        candidate, blank = divmod(int(flat), blanks)
        if candidate not in taken and assigned_B[blank] == UNASSIGNED:
            assigned_B[blank] = candidate
            taken.add(candidate)
        if len(taken) == min(blanks, candidates):
            break
    return assigned_B


def optimal_assignment(scores_BC: np.ndarray) -> np.ndarray:
    """No candidate twice, the highest sum of scores (`scipy.optimize.linear_sum_assignment`).

    With log probabilities that is the likeliest assignment; with logits it is the same one while
    there are at least as many candidates as blanks, because a constant for each blank cancels.

    Args:
      scores_BC: float, higher is better, finite.

    Returns:
      int [B], the candidates; `UNASSIGNED` for blanks that are left when no candidate is.

    Raises:
      ValueError: for a score that is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    scores_BC = _checked(scores_BC)
    if not np.isfinite(scores_BC).all():
        raise ValueError("a score is not finite")
    blanks_A, candidates_A = linear_sum_assignment(scores_BC, maximize=True)
    assigned_B = np.full(len(scores_BC), UNASSIGNED)
    assigned_B[blanks_A] = candidates_A
    return assigned_B


ASSIGNMENTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "chid": greedy_assignment,
        "chid_optimal": optimal_assignment,
        "chid_independent": independent_assignment,
    }
)
"""By the names of the metrics that use them."""


def _checked(scores_BC: np.ndarray) -> np.ndarray:
    scores_BC = np.asarray(scores_BC, dtype=np.float64)
    if scores_BC.ndim != 2:
        raise ValueError(f"scores of blanks and candidates are {list(scores_BC.shape)}")
    if np.isnan(scores_BC).any():
        raise ValueError("a score is not a number")
    return scores_BC


def chid_accuracy(
    references: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    assignment: Callable[[np.ndarray], np.ndarray] = greedy_assignment,
) -> float:
    """The share of all blanks with the right idiom: ChID's accuracy (Zheng et al. 2019).

    Args:
      references: for each list of candidates, the right ones of its blanks, int [B].
      predictions: for each, the scores, float [B, C].
      assignment: which candidates a [B, C] of scores chooses: `greedy_assignment` is CLUE's.

    Returns:
      0 to 1.

    Raises:
      ValueError: for another number of lists or blanks, and for no blanks.
    """
    right = blanks = 0
    for labels_B, scores_BC in zip(references, predictions, strict=True):
        assigned_B = assignment(scores_BC)
        if len(assigned_B) != len(labels_B):
            raise ValueError(f"{len(labels_B)} blanks and {len(assigned_B)} rows of scores")
        right += int(np.sum(assigned_B == np.asarray(labels_B)))
        blanks += len(labels_B)
    if not blanks:
        raise ValueError("there are no blanks to score")
    return right / blanks
