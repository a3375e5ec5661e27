"""Activations by their names here and at Hugging Face."""

from plmjax.errors import UserError
from plmjax.settings import nearest

TO_THEIRS = {
    "gelu_tanh": "gelu_new",
    "gelu": "gelu",
    "relu": "relu",
    "tanh": "tanh",
}
"""Our names (`plmjax.nn.activations`) to theirs, one each."""

_SAME = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_python": "gelu"}
"""Further names of theirs, of the same functions."""

TO_OURS = {theirs: ours for ours, theirs in TO_THEIRS.items()} | _SAME


def to_theirs(name: str) -> str:
    """Hugging Face's name of an activation.

    Raises:
      UserError: where they have none.
    """
    if name not in TO_THEIRS:
        raise UserError(
            f"config.model.activation='{name}' has no name at Hugging Face"
            f"{nearest(name, TO_THEIRS)}"
        )
    return TO_THEIRS[name]


def to_ours(name: str, field: str = "hidden_act") -> str:
    """Our name of an activation; `field` of config.json has theirs.

    Raises:
      UserError: where we have none.
    """
    if name not in TO_OURS:
        raise UserError(
            f"config.json has {field}='{name}', an activation that plmjax does not have"
            f"{nearest(name, TO_OURS)}"
        )
    return TO_OURS[name]
