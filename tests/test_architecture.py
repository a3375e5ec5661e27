"""Who may import whom. Rooms know those below them, and only the experiment knows them all."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "plmjax"
BASE = {"errors", "settings", "types"}  # what every room may use
MAY_IMPORT = {
    "errors": set(),
    "settings": {"errors"},
    "types": set(),
    "parallel": BASE,
    "nn": BASE | {"parallel"},
    "models": BASE | {"parallel", "nn"},
    "objectives": BASE | {"parallel", "nn"},
    "data": BASE,
    "train": BASE | {"parallel"},
    "compression": BASE | {"parallel", "nn"},
    "decoding": BASE | {"parallel", "nn"},
    "probing": BASE | {"parallel", "nn"},
    "evals": BASE | {"parallel", "nn"},
    "huggingface": BASE | {"models", "nn"},
    # Plans whole runs, as the verbs do.
    "planning": BASE
    | {"parallel", "nn", "objectives", "decoding", "data", "train"}
    | {"phases", "checks", "experiment"},
}
# The experiment and the verbs beside it may import every room.
ROOT_FILES = {path.stem for path in PACKAGE.glob("*.py")} - MAY_IMPORT.keys()
FILES = sorted(PACKAGE.rglob("*.py"))


def waits(node: ast.AST) -> bool:
    """Whether what is inside runs only when called, or only for a type checker."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).endswith("TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Full names a file imports, `a.b.c` for `from a.b import c`, and whether it waits."""
    tree = ast.parse(source)
    inner = {node for f in ast.walk(tree) if waits(f) for node in ast.walk(f)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports inside plmjax are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((name, node in inner) for name in names)


def offences(room: str, source: str) -> list[str]:
    found = []
    for name, waiting in imports(source):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        allowed = MAY_IMPORT.get(room)
        if top == "plmjax" and allowed is not None and other not in allowed | {room}:
            found.append(f"{room} must not import {name}")
        if top in ("jax", "jaxlib", "flax", "optax") and room in ("data", "errors", "settings"):
            found.append(f"{room} must do without {top}")
        if top in ("tensorflow", "torch", "transformers") and not waiting:
            found.append(f"{top} may be missing: import it in the function that needs it")
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(PACKAGE)) for p in FILES])
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in MAY_IMPORT or room in ROOT_FILES, f"say what the room {room} may import"
    assert offences(room, path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("nn", "from plmjax.models.bert import Bert"),
        ("train", "import plmjax.data.store"),
        ("models", "from plmjax import experiment"),
        ("data", "import jax.numpy as jnp"),
        ("data", "def f():\n    from jax import numpy"),
        ("data", "import tensorflow as tf"),
    ],
)
def test_a_forbidden_import_is_found(room, source):
    assert offences(room, source)


def test_data_does_without_jax_and_tensorflow_in_fact():
    """No import of an import brings them in: workers that prepare text have neither."""
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in (PACKAGE / "data").rglob("*.py")
    ]
    code = f"import sys, {', '.join(modules)}; print({{'jax', 'tensorflow'}} & sys.modules.keys())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_allowed_imports_are_allowed():
    assert not offences("data", "def f():\n    import tensorflow as tf")
    assert not offences("data", "if typing.TYPE_CHECKING:\n    import tensorflow as tf")
    assert not offences("experiment", "from plmjax.data import plan")
    assert not offences("nn", "import jax\nfrom plmjax import types\nfrom plmjax.nn import norms")
