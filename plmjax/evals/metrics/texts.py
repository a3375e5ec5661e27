"""Figures of texts that are written: BLEU of translations, ROUGE of summaries.

Both are fractions, where the packages that compute them print BLEU from 0 to 100.
"""

import re
from collections.abc import Sequence

import numpy as np

from plmjax.evals.metrics.answers import Answers

ROUGE = ("rouge1", "rouge2", "rougeLsum")
_IDEOGRAPHS = r"\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(f"[{_IDEOGRAPHS}]|[^\\W{_IDEOGRAPHS}]+")


def bleu(
    references: Sequence[Answers], predictions: Sequence[str], tokenize: str = "13a"
) -> dict[str, float]:
    """The BLEU of a whole set by sacrebleu (Post 2018), with its smoothing `exp`.

    Args:
      references: the right texts of each example, at least one.
      predictions: the text that was written for each.
      tokenize: sacrebleu's: `13a` is WMT's, `intl` T5's (t5/evaluation/metrics.py), `zh` of
        Chinese.

    Returns:
      bleu, 0 to 1.

    Raises:
      ValueError: for another number of predictions, no examples, and one without a right text.
    """
    import sacrebleu

    _check(references, predictions)
    most = max(map(len, references))
    columns = [[some[n] if n < len(some) else None for some in references] for n in range(most)]
    found = sacrebleu.corpus_bleu(list(predictions), columns, tokenize=tokenize)
    return {"bleu": found.score / 100}


def rouge(
    references: Sequence[Answers], predictions: Sequence[str], of_letters: bool = False
) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and summary-level ROUGE-L by rouge-score, as T5 measures (`rouge_mean`).

    Sentences are told apart by line ends, and by a full stop between blanks. There is no stemming.

    Args:
      references: the right texts of each example, at least one; the best counts.
      predictions: the text that was written for each.
      of_letters: whether each Chinese character is a word. Without, all but ASCII's letters and
        digits are left out.

    Returns:
      rouge1, rouge2, rougeLsum: means of F1, 0 to 1.

    Raises:
      ValueError: as `bleu`.
    """
    from rouge_score import rouge_scorer

    _check(references, predictions)
    scorer = rouge_scorer.RougeScorer(ROUGE, tokenizer=_Letters() if of_letters else None)
    found = [
        scorer.score_multi([_sentences(text) for text in some], _sentences(prediction))
        for some, prediction in zip(references, predictions, strict=True)
    ]
    return {name: float(np.mean([each[name].fmeasure for each in found])) for name in ROUGE}


class _Letters:
    """What rouge-score takes for a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        """Chinese characters one by one, and words of what is between them, in lower case."""
        return _WORDS.findall(text.lower())


def _sentences(text: str) -> str:
    return text.replace(" . ", " .\n")


def _check(references: Sequence[Answers], predictions: Sequence[str]) -> None:
    if len(references) != len(predictions) or not len(references):
        raise ValueError(f"{len(references)} examples and {len(predictions)} predictions")
    if any(not some for some in references):
        raise ValueError("an example has no right text")
