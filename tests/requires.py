"""What a test needs that users do not."""

import importlib
import os
from types import ModuleType

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
        message = f"needs {module}: {install}"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message, allow_module_level=True)
