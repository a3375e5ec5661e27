"""Classes and numbers as words, and back."""

import collections
import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np

from plmjax.data.tokenizers import Tokenizer
from plmjax.data.tokenizers.written import Writing
from plmjax.errors import UserError


def number_as_text(number: float, step: float) -> str:
    """A number in words: as the nearest multiple of `step`, with as many digits; 0 for all of it.

    Source: text-to-text-transfer-transformer, `stsb` of t5/data/preprocessors.py, for 0.2.
    """
    if not step:
        return f"{number:g}"
    per = np.float32(1 / step)
    digits = max(-Decimal(str(step)).as_tuple().exponent, 0)
    return f"{np.round(np.float32(number) * per) / per:.{digits}f}"


def number_in(text: str, before: str = "", after: str = "") -> float | None:
    """The number that stands between two texts; None where there is none."""
    if not (text.startswith(before) and text.endswith(after)):
        return None
    try:
        found = float(text.removeprefix(before).removesuffix(after))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def class_reader(
    spoken: Sequence[str], classes: Sequence[str], tokenizer: Tokenizer, goes_on: bool
) -> Callable[[str], int | None]:
    """From a text to the number of the class that is told by it, letter for letter; None for none.

    Args:
      spoken: the text of each class, which is compared as the tokenizer writes it.
      classes: their names.
      tokenizer: of the model.
      goes_on: as of `Writing`.

    Raises:
      UserError: where the tokenizer writes two of them alike, or nothing.
    """
    writing = Writing(tokenizer, goes_on)
    seen = [writing.text(ids.tolist()).strip() for ids in tokenizer.encode_batch(list(spoken))]
    for text, count in collections.Counter(seen).items():
        if count > 1 or not text:
            same = [name for name, each in zip(classes, seen, strict=True) if each == text]
            raise UserError(
                f"the tokenizer writes {text!r} for {' and '.join(same)}, which a model cannot tell"
                " apart; give config.task.words that it knows"
            )
    return {text: number for number, text in enumerate(seen)}.get
