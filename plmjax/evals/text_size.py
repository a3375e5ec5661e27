"""How much text the predicted tokens are: what makes losses of different tokenizers comparable."""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_CHINESE}]|[^\s{_CHINESE}]+")
_LARGEST_EXPONENT = 700.0  # beyond it a float64 is infinite, which JSON has no number for


@dataclasses.dataclass(frozen=True)
class TextSize:
    """What stands in the predicted tokens.

    tokens: all that are predicted, those that mark the end of a document, too. bytes: of their text
    in UTF-8. words: between white space; a Chinese character is one.
    """

    tokens: int
    bytes: int
    words: int

    def measures(self, scores: Mapping[str, float], term: str) -> dict[str, float]:
        """Bits per byte and perplexity per word of these scores' loss; empty without text.

        The loss is a mean over tokens, so what the whole text costs is loss * tokens; that over
        bytes, and exp of that over words: Megatron-LM's "adjusted" perplexity, as WikiText-103's is
        reported for models of subwords (tasks/zeroshot_gpt/evaluate.py).
        """
        loss = scores.get(f"{term}_loss")
        if loss is None or not self.bytes or not self.words:
            return {}
        total = loss * self.tokens
        return {
            f"{term}_bits_per_byte": total / math.log(2) / self.bytes,
            f"{term}_word_perplexity": math.exp(min(total / self.words, _LARGEST_EXPONENT)),
        }


def text_size(
    tokens_T: np.ndarray,
    predicted_T: np.ndarray,
    decode: Callable[[np.ndarray], str],
    special_ids: Collection[int],
) -> TextSize:
    """The size of a text's predicted tokens.

    It is that of what the tokens say: of the text itself where the tokenizer keeps all of it, as
    byte-level BPE does; else of what is left of it.

    Args:
      tokens_T: int ids. predicted_T: bool.
      decode: from ids to text.
      special_ids: of tokens that are no text.
    """
    is_text_T = predicted_T & ~np.isin(tokens_T, list(special_ids))
    borders = np.flatnonzero(np.diff(is_text_T, prepend=False, append=False))
    texts = [decode(tokens_T[a:b]) for a, b in zip(borders[::2], borders[1::2], strict=True)]
    return TextSize(
        int(predicted_T.sum()),
        sum(len(text.encode()) for text in texts),
        sum(len(words(text)) for text in texts),
    )


def words(text: str) -> list[str]:
    """What is between white space, Chinese characters one by one."""
    return _WORD.findall(text)


def joined_rows(
    batches: Iterable[Mapping[str, np.ndarray]],
    histories: Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of batches as one text.

    Rows that go on with the last token of the row before are joined.

    Args:
      batches: as the objective reads them, in the order of the text.
      histories: of an objective: tokens of a batch [B, L], which of them are predicted from what is
        to their left, and which are no padding.

    Returns:
      Tokens [T], where what is before is not seen, and which tokens are predicted.
    """
    tokens, starts, wanted = [np.zeros(0, np.int64)], [np.zeros(0, bool)], [np.zeros(0, bool)]
    last = -1
    for batch in batches:
        for row, is_predicted, is_token in zip(*histories(batch), strict=True):
            row, is_predicted = row[is_token], is_predicted[is_token]
            if not is_predicted.any():
                continue
            goes_on = int(row[0] == last)
            last = row[-1]
            tokens.append(row[goes_on:])
            wanted.append(is_predicted[goes_on:])
            starts.append(np.arange(len(row) - goes_on) < 1 - goes_on)
    return np.concatenate(tokens), np.concatenate(starts), np.concatenate(wanted)
