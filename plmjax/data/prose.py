"""From a docstring in reStructuredText, numpydoc or Google style to plain sentences."""

import inspect
import re

from plmjax.data.sentences import split_sentences

_UNDERLINE = re.compile(r"^\s*([-=~^*#+\"'`.:_])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"^\s*\.\.\s+(?:[\w-]+:)?([\w-]+)::\s*(.*)$")
_COMMENT_OR_TARGET = re.compile(r"^\s*\.\.(\s|$)")
_ADMONITIONS = re.compile(
    "note|warning|tip|hint|important|caution|attention|danger|admonition|seealso"
)
_DROPPED_SECTIONS = frozenset(("references", "reference", "see also", "citations"))
_HEADER = re.compile(r"^[A-Z][\w ]{1,30}:?$")
_BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)]|#\.)\s+")
_NAMED_TYPE = re.compile(r"^\*{0,2}[\w.,*{}\[\]'| ()=-]{1,60}\s:(\s.*)?$")
_GOOGLE_ARGUMENT = re.compile(r"^\*{0,2}\w+(?:\s*\([^)]*\))?:\s+(?=\S)")
_FIELD = re.compile(r"^:(?:param|arg|type|rtype|returns?|raises?|keyword|var|ivar)\b[^:]*:\s*")

_INLINE = (
    (re.compile(r":math:`[^`]*`"), r"\\"),  # a backslash marks the sentence for dropping
    (re.compile(r"\$[^$]+\$"), r"\\"),
    (re.compile(r":[\w:+-]+:`[~!]?([^`<]*?)\s*(?:<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{1,2}"), r"\1"),
    (re.compile(r"\s*\[[\w#*]{1,12}\]_"), ""),
    (re.compile(r"``([^`]*)``|`([^`]*)`_{0,2}"), lambda m: m[1] or m[2] or ""),
    (re.compile(r"\*\*(\w[^*]*)\*\*|(?<![\w*])\*(\w[^*\s]*)\*(?![\w*])"), lambda m: m[1] or m[2]),
    (re.compile(r"\(?<?https?://\S+"), ""),
    (re.compile(r"\|(\w+)\|"), r"\1"),
    (re.compile(r"\s+([.,;)])(?!\S)"), r"\1"),
)

_FUNCTION_WORD = re.compile(
    r"\b(?:a|an|and|are|as|at|be|by|can|for|from|has|have|if|in|into|is|it|its|may|must|not|of|on|or"
    r"|should|than|that|the|then|this|to|used|was|when|where|which|will|with|you)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}|[aAI]\b")
_BEGINNING = re.compile(r"""["'“‘(]?\w""")
_SYMBOLS = re.compile(
    r"[\\{}<>|^~@$`]|::|==|->|\s=\s|\.\.\.\s*$|\]\[|%\(|[+*/-]{2,}|(?:\(.*){4}|\s#\s|\bdef \w"
)


def paragraphs_of(docstring: str) -> list[list[str]]:
    """The prose of a docstring: paragraphs of sentences, in order.

    Doctests, literal blocks, tables, section headers, parameter names with their types, reference
    lists and mathematics are left out; markup is reduced to its text. A sentence is kept if it
    reads as English: at least three words, a function word among them, few symbols.
    """
    paragraphs = []
    for block in _blocks(inspect.cleandoc(docstring).expandtabs().splitlines()):
        text = " ".join(block)
        for pattern, replacement in _INLINE:
            text = pattern.sub(replacement, text)
        kept = [sentence for sentence in split_sentences(text) if is_prose(sentence)]
        if kept:
            paragraphs.append(kept)
    return paragraphs


def is_prose(sentence: str) -> bool:
    """Whether a sentence reads as English rather than as code, a table or a formula."""
    words = _WORD.findall(sentence)
    if len(words) < 3 or _SYMBOLS.search(sentence):
        return False
    letters = sum(character.isalpha() or character == " " for character in sentence)
    if letters < 0.8 * len(sentence) or not _BEGINNING.match(sentence):
        return False
    return _FUNCTION_WORD.search(sentence) is not None


def _blocks(lines: list[str]) -> list[list[str]]:
    """The docstring's text blocks: stripped lines that belong together."""
    blocks: list[list[str]] = [[]]
    skipped_above = None  # lines indented deeper than this are skipped
    in_doctest = False
    section_dropped = False
    for index, line in enumerate(lines):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if not stripped:
            in_doctest = False
            blocks.append([])
            continue
        if skipped_above is not None:
            if indent > skipped_above:
                continue
            skipped_above = None
        if stripped.startswith((">>>", "...  ", "$ ", "In [")):
            in_doctest = True
        if in_doctest or _UNDERLINE.match(line):
            continue
        header = _section_header(stripped, following)
        if header is not None:
            section_dropped = header in _DROPPED_SECTIONS
            blocks.append([])
            continue
        if section_dropped:
            continue
        directive = _DIRECTIVE.match(line)
        if directive and _ADMONITIONS.fullmatch(directive[1]):
            blocks.append([directive[2]] if directive[1] != "admonition" else [])
            continue
        if directive or _COMMENT_OR_TARGET.match(line):
            skipped_above = indent
            continue
        _add_line(blocks, stripped)
        if stripped.endswith("::"):
            skipped_above = indent
    return [block for block in blocks if block]


def _section_header(stripped: str, following: str) -> str | None:
    """The lower-case name of the section that starts here, or None."""
    if _UNDERLINE.match(following) and len(stripped) < 60:
        return stripped.lower().rstrip(":")
    if stripped.endswith(":") and _HEADER.match(stripped):
        return stripped.lower().rstrip(":")
    return None


def _add_line(blocks: list[list[str]], stripped: str) -> None:
    """Appends one line of text to the last block, or to a new one where an item begins."""
    if stripped.endswith("::"):
        stripped = stripped[:-1]
    if _NAMED_TYPE.match(stripped):
        blocks.append([])
        return
    for marker in (_BULLET, _FIELD, _GOOGLE_ARGUMENT):
        match = marker.match(stripped)
        if match:
            blocks.append([stripped[match.end() :]])
            return
    blocks[-1].append(stripped)
