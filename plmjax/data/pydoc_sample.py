"""`sample:pydoc`: the English prose inside the Python packages that every installation has.

The documentation that ships with Python (`pydoc_data.topics`) and the docstrings and long messages
of the standard library and of the installed numpy, scipy and jax. Sources are parsed with `ast` as
text; nothing is imported.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator

from plmjax.data.prose import paragraphs_of

_PACKAGES = ("numpy", "scipy", "jax")
_SKIPPED_FOLDERS = frozenset(
    ("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__")
)
_TOPICS = os.path.join("pydoc_data", "topics.py")
_SHORTEST_TEXT = 60  # characters; shorter string constants are mostly keys and formats
_FEWEST_SENTENCES = 3  # a document with less gives no pair of neighbours to learn from


class PydocSample:
    """The source `sample:pydoc`; a document is a source file, or a topic of the language reference.

    Order is that of sorted paths. A paragraph that occurred before, but for case and punctuation,
    is left out, so that held-out text does not repeat training text.
    """

    name = "sample:pydoc"
    between = " "

    def __init__(self):
        self._cleaned: list[list[str]] | None = None

    @functools.cached_property
    def _files(self) -> list[tuple[str, str]]:
        """Pairs (path within its package's parent folder, path)."""
        roots = [("stdlib", sysconfig.get_path("stdlib"))]
        for package in _PACKAGES:
            spec = importlib.util.find_spec(package)
            if spec is not None and spec.origin is not None:
                roots.append((package, os.path.dirname(spec.origin)))
        files = []
        for package, root in roots:
            for folder, folders, names in os.walk(root):
                folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
                for name in sorted(names):
                    if name.endswith(".py"):
                        path = os.path.join(folder, name)
                        files.append((os.path.join(package, os.path.relpath(path, root)), path))
        return files

    @functools.cached_property
    def total_bytes(self) -> int:
        """Bytes of source code that `documents` goes through."""
        return sum(os.path.getsize(path) for _, path in self._files)

    def fingerprint(self) -> str:
        """Hex digest over the names and the contents of all source files."""
        digest = hashlib.sha256()
        for name, path in self._files:
            with open(path, "rb") as file:
                content = file.read()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def documents(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[list[str]]:
        """Yields each document as a list of sentences; `advance` is told of the bytes gone by.

        The documents (some megabytes) are kept, because cleaning them takes seconds.
        """
        if self._cleaned is None:
            cleaned = []
            for document in self._clean(advance):
                cleaned.append(document)
                yield document
            self._cleaned = cleaned
        else:
            advance(self.total_bytes)
            yield from self._cleaned

    def entities(self) -> list[str]:
        """None are marked."""
        return []

    def _clean(self, advance: Callable[[int], None]) -> Iterator[list[str]]:
        seen: set[bytes] = set()
        for name, path in self._files:
            with open(path, "rb") as file:
                content = file.read()
            texts = _texts(content)
            groups = [[text] for text in texts] if name.endswith(_TOPICS) else [texts]
            for group in groups:
                sentences = _unseen_sentences(group, seen)
                if len(sentences) >= _FEWEST_SENTENCES:
                    yield sentences
            advance(len(content))


@functools.cache
def pydoc_sample() -> PydocSample:
    """The one sample of this process: cleaning it takes seconds."""
    return PydocSample()


def _unseen_sentences(texts: list[str], seen: set[bytes]) -> list[str]:
    """The sentences of those paragraphs that are not in `seen` yet; they are added to it."""
    sentences = []
    for text in texts:
        for paragraph in paragraphs_of(text):
            normal = re.sub(r"[\W_]+", "", "".join(paragraph)).lower()
            key = hashlib.sha256(normal.encode()).digest()[:12]
            if key not in seen:
                seen.add(key)
                sentences.extend(paragraph)
    return sentences


def _texts(content: bytes) -> list[str]:
    """Docstrings and other long string constants of a source file, in source order."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(content)
    except (SyntaxError, ValueError):  # templates and files for other Python versions
        return []
    texts: list[tuple[int, int, str]] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.JoinedStr):  # f-strings are sentences with holes
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            shortest = 0  # a docstring, or the text under an assignment that documents it
        else:
            shortest = _SHORTEST_TEXT
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.Constant):
                pending.append(child)
            elif isinstance(child.value, str) and len(child.value) >= shortest:
                texts.append((child.lineno, child.col_offset, child.value))
    return [text for _, _, text in sorted(texts)]
