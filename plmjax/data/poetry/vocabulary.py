"""A vocabulary of characters, as BERT's Chinese one is for Chinese text."""

import collections
from collections.abc import Iterable
from pathlib import Path

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_vocabulary(path: Path, poems: Iterable[str], general: Iterable[str], size: int) -> int:
    """Writes a vocab.txt of the characters of the poems and then of general text, commonest first.

    Args:
      path: of the file.
      poems, general: texts.
      size: entries, at most.

    Returns:
      How many entries it has.
    """
    chosen = dict.fromkeys(SPECIAL_TOKENS)
    for texts in (poems, general):
        counts = collections.Counter()
        for text in texts:
            counts.update(text.lower())
        common = sorted(counts.items(), key=lambda found: (-found[1], found[0]))
        for character, count in common:
            # What stands once teaches nothing.
            if len(chosen) < size and count > 1 and not character.isspace():
                chosen.setdefault(character)
    path.write_text("".join(f"{token}\n" for token in chosen), encoding="utf-8")
    return len(chosen)
