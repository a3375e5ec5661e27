"""Traditional to simplified script."""

from collections.abc import Callable

from plmjax.errors import UserError

SCRIPTS = ("simplified", "as_is")


def converter(script: str) -> Callable[[str], str]:
    """What turns a text into the script: `simplified`, by OpenCC's t2s, or `as_is`.

    Raises:
      UserError: where OpenCC is needed and missing.
    """
    if script == "as_is":
        return lambda text: text
    try:
        import opencc
    except ImportError:
        raise UserError(
            "--script=simplified needs OpenCC, which is not installed:"
            " pip install opencc; or give --script=as_is"
        ) from None
    return opencc.OpenCC("t2s").convert
