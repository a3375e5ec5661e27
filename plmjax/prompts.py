"""Prompts as they are given: on the command line, in a file, through a pipe."""

import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from plmjax.data.tokenizers.written import read_prompt
from plmjax.decoding.batches import check_prompts
from plmjax.errors import UserError
from plmjax.loaded import Loaded
from plmjax.settings import kind_name

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
_FIELDS = ("prompt", "tokens")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt.

    where: as the user knows it: `--prompt`, `FILE, line 3`.
    text: None where it is given as tokens. tokens: ids, where it is given as such.
    besides: other fields of its line, which go to the output.
    """

    where: str
    text: str | None
    tokens: tuple[int, ...] | None = None
    besides: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def given(texts: Sequence[str], path: str) -> list[Prompt]:
    """The prompts of flags and of a file.

    Args:
      texts: of `--prompt`.
      path: of `--prompts`; empty for none.

    Raises:
      UserError: for a file that is missing or damaged, with the number of the line.
    """
    found = [Prompt("--prompt", text) for text in texts]
    if path:
        try:
            with open(os.path.expanduser(path), "rb") as file:
                found += read(file, path, path.endswith(JSON_ENDINGS))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise UserError(f"--prompts={path}: there is no such file") from None
        if len(found) == len(texts):
            raise UserError(f"--prompts={path} is empty; expected a prompt in each line")
    return found


def piped(file: BinaryIO | None = None) -> list[Prompt]:
    """The prompts that standard input has; JSON where its first line is an object.

    Raises:
      UserError: as `given`.
    """
    content = (file or sys.stdin.buffer).read()
    found = list(read(io.BytesIO(content), "standard input", content.lstrip().startswith(b'{"')))
    if not found:
        raise UserError(
            "there is no prompt: give --prompt=TEXT, --prompts=FILE, or lines on standard input"
        )
    return found


def read(file: BinaryIO, name: str, is_json: bool) -> Iterator[Prompt]:
    """The prompts of lines: text, or JSON objects with `prompt`, or `tokens`, a list of ids.

    Args:
      file: of bytes.
      name: of the file, for messages.
      is_json: whether the lines are JSON.

    Raises:
      UserError: for a line that is none.
    """
    lines = file.read().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        where = f"{name}, line {number}"
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UserError(f"{where} is not UTF-8 ({error.reason}); convert the file") from None
        if not text.strip():
            raise UserError(f"{where} is empty; expected a prompt in each line")
        yield _of_json(where, text) if is_json else Prompt(where, text)


def _of_json(where: str, line: str) -> Prompt:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); expected {_EXAMPLE}") from None
    if not isinstance(fields, dict) or len(fields.keys() & set(_FIELDS)) != 1:
        raise UserError(f"{where} has no field prompt; expected {_EXAMPLE}")
    besides = {key: value for key, value in fields.items() if key not in _FIELDS}
    if "prompt" in fields:
        if not isinstance(fields["prompt"], str):
            kind = kind_name(type(fields["prompt"]))
            raise UserError(f"{where}: prompt is {kind}, expected a text")
        return Prompt(where, fields["prompt"], besides=besides)
    tokens = fields["tokens"]
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise UserError(f"{where}: tokens are no list of ids, such as [464, 3290]")
    return Prompt(where, None, tuple(tokens), besides)


_EXAMPLE = 'an object such as {"prompt": "Once upon a time"}'


def encoded(loaded: Loaded, prompts: Sequence[Prompt], new: int) -> list[list[int]]:
    """What the model reads of each prompt.

    Args:
      loaded: the model.
      prompts: of any number.
      new: how many tokens are to follow.

    Raises:
      UserError: for a prompt without a token, with one that the model does not know, or too long.
    """
    found = []
    for prompt in prompts:
        ids = prompt.tokens
        if ids is None:
            ids = read_prompt(loaded.tokenizer, prompt.text)
        if not ids:
            raise UserError(f"{prompt.where} is empty{_instead(loaded)}")
        after = loaded.framing.after if loaded.is_seq2seq else ()
        ids = [*loaded.framing.before, *ids, *after]
        try:
            check_prompts([ids], loaded.model.vocab_size, loaded.context, new, loaded.is_seq2seq)
        except UserError as error:
            raise UserError(str(error).replace("prompt 1 of 1", prompt.where, 1)) from None
        found.append(ids)
    return found


def _instead(loaded: Loaded) -> str:
    if loaded.is_seq2seq or loaded.begin is None:
        return "; give a text"
    token = loaded.tokenizer.vocabulary[loaded.begin]
    return f"; give a text, or --prompt='{token}' for one from its beginning"
