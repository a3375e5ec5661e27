"""What a test needs that users do not."""

import importlib
import os
from types import ModuleType
from typing import NoReturn

import pytest


def need(module: str, install: str) -> ModuleType:
    """The imported module; without it the test is skipped, or fails where CI is set.

    Args:
      module: its import name.
      install: the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        missing(f"needs {module}: {install}")


def missing(what: str) -> NoReturn:
    """Skips the test for want of what it needs, or fails it where CI is set."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what, allow_module_level=True)
