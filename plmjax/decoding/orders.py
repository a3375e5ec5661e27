"""In which order blanks are filled, and with which settings."""

import dataclasses

from plmjax.decoding.settings import DecodingConfig
from plmjax.errors import UserError
from plmjax.settings import nearest

ORDERS = ("left", "right", "random")
"""From the left, from the right, or in an order of each text's own."""

RELEASED = {"sample": True, "top_k": 40}
"""How the released code writes."""

_SETTINGS = ("sample", "temperature", "top_k", "top_p", "top_p_rule", "typical_p", "samples")
_SETTINGS += ("seed", "repetition_penalty", "banned_tokens", "logprobs")


def parsed_order(text: str) -> str | tuple[int, ...]:
    """One of ORDERS, or the numbers of the blanks, from 0, in the order of filling: `2,0,1`.

    Raises:
      UserError: for what is neither.
    """
    if text in ORDERS:
        return text
    numbers = text.split(",")
    if not all(number.strip().isdigit() for number in numbers):
        close = nearest(text, ORDERS)
        raise UserError(
            f"--order={text} is none{close}, or the blanks' numbers in the order of filling, such"
            " as 2,0,1"
        )
    found = tuple(map(int, numbers))
    if sorted(found) != list(range(len(found))):
        raise UserError(
            f"--order={text} is no permutation: give each number from 0 to {len(found) - 1} once"
        )
    return found


def check_fills(config: DecodingConfig) -> None:
    """Raises a UserError for settings that have no meaning where blanks are filled."""
    default = DecodingConfig()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in _SETTINGS and value != getattr(default, field.name):
            hint = "; [MASK]s and --slots say how many" if "new_tokens" in field.name else ""
            raise UserError(
                f"--{field.name}={value} is of writing on, and does nothing with --order; leave it"
                f" out{hint}"
            )
