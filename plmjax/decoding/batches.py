"""Prompts in batches of few shapes, so that few are compiled."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from plmjax.errors import UserError

SHORTEST = 16


def bucket(size: int, least: int = SHORTEST) -> int:
    """The smallest of `least` times 1, 2, 3, 4, 6, 8, 12, ... that is at least `size`."""
    found = least
    while found < size:
        found = found * 3 // 2 if found & (found - 1) == 0 and found > 1 else (found // 3) * 4
    return found


def row_bucket(rows: int, parts: int) -> int:
    """The smallest of `parts` times a power of two that is at least `rows`."""
    found = parts
    while found < rows:
        found *= 2
    return found


@dataclasses.dataclass(frozen=True)
class Batch:
    """Prompts that are decoded together; those behind the last of `indexes` are empty.

    indexes: which of the prompts that were given.
    tokens_BP: int32, padded in front. lengths_B: int32. source_BS, source_mask_BS: int32, what the
      encoder reads, padded behind; None for a decoder alone.
    """

    indexes: tuple[int, ...]
    tokens_BP: np.ndarray
    lengths_B: np.ndarray
    source_BS: np.ndarray | None = None
    source_mask_BS: np.ndarray | None = None

    def mask_BM(self, new: int) -> np.ndarray:
        """1 for all places but padding: int32 [B, P + new]."""
        length = self.tokens_BP.shape[1]
        places_M = np.arange(length + new)
        return (places_M >= length - self.lengths_B[:, None]).astype(np.int32)


def batched(
    prompts: Sequence[Sequence[int]], begin: Sequence[int] | None, most_rows: int, parts: int
) -> list[Batch]:
    """Batches of prompts of similar lengths.

    Args:
      prompts: tokens; none of them empty.
      begin: what a decoder begins with, where the prompts are for the encoder; None for a decoder
        alone.
      most_rows: of a batch.
      parts: into how many parts the mesh splits a batch, which divides the rows.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    most_rows = max(most_rows // parts, 1) * parts
    batches = []
    for first in range(0, len(order), most_rows):
        indexes = tuple(order[first : first + most_rows])
        rows = row_bucket(len(indexes), parts)
        longest = bucket(max(len(prompts[index]) for index in indexes))
        lengths_B = np.zeros(rows, np.int32)
        lengths_B[: len(indexes)] = [len(prompts[index]) for index in indexes]
        tokens_BL = np.zeros((rows, longest), np.int32)
        for row, index in enumerate(indexes):
            end = longest if begin is None else len(prompts[index])
            tokens_BL[row, end - len(prompts[index]) : end] = prompts[index]
        if begin is None:
            batches.append(Batch(indexes, tokens_BL, lengths_B))
            continue
        mask_BS = (np.arange(longest) < lengths_B[:, None]).astype(np.int32)
        tokens_BP = np.tile(np.asarray(begin, np.int32), (rows, 1))
        begun_B = np.full(rows, len(begin), np.int32)
        batches.append(Batch(indexes, tokens_BP, begun_B, tokens_BL, mask_BS))
    return batches


def check_prompts(
    prompts: Sequence[Sequence[int]], vocab_size: int, longest: int, new: int, is_source: bool
) -> None:
    """Raises a UserError for a prompt that cannot be decoded.

    Args:
      prompts: tokens.
      vocab_size: of the model.
      longest: the longest row it can read.
      new: how many tokens follow; not of an encoder's prompts, where is_source.
    """
    for number, prompt in enumerate(prompts):
        which = f"prompt {number + 1} of {len(prompts)}"
        if not len(prompt):
            raise UserError(
                f"{which} is empty, and this model has no token that begins a text; give at least"
                " one token"
            )
        outside = [token for token in prompt if not 0 <= token < vocab_size]
        if outside:
            raise UserError(
                f"{which} has the token {outside[0]}, and the model's vocabulary has {vocab_size};"
                " use the tokenizer that the model was trained with"
            )
        if is_source and len(prompt) > longest:
            raise UserError(
                f"{which} has {len(prompt)} tokens, and the model reads {longest}; shorten it"
            )
        if not is_source and len(prompt) + new > longest:
            raise UserError(
                f"{which} is {len(prompt)} tokens long, which with max_new_tokens={new} is more"
                f" than the model's {longest} places; shorten it{_or_fewer(longest - len(prompt))}"
            )


def _or_fewer(left: int) -> str:
    return f", or set max_new_tokens to at most {left}" if left > 0 else ""
