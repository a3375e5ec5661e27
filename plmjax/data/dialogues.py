"""Dialogues as text: turns, each beginning with the role of who speaks."""

from collections.abc import Sequence
from typing import Any

QUERY, RESPONSE = "Q:", "R:"
"""What the turns of both roles begin with, as they are stored."""

_ROLES = {"Q": QUERY, "R": RESPONSE}


def turns_of(value: Sequence[Any]) -> list[str]:
    """The turns of a record as they are stored.

    Args:
      value: texts, of both in turn, beginning with a query; or objects with `role`, Q or R, and
        `text`.

    Raises:
      ValueError: for anything else.
    """
    if all(isinstance(turn, str) for turn in value):
        return [f"{(QUERY, RESPONSE)[n % 2]} {text}" for n, text in enumerate(value)]
    turns = []
    for number, turn in enumerate(value):
        role, text = (turn.get(key) if isinstance(turn, dict) else None for key in ("role", "text"))
        if role not in _ROLES or not isinstance(text, str):
            raise ValueError(
                f"turn {number} is neither a text nor an object with role (Q or R) and text"
            )
        turns.append(f"{_ROLES[role]} {text}")
    return turns
